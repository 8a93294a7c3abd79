"""What is old is forgotten in small steps; nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, event, func, select

from gpufleet.hub.store.chunk import Chunk, Column
from gpufleet.hub.store.codec import encode_chunk
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.grid import SubjectSamples
from gpufleet.hub.store.merge import merge_some
from gpufleet.hub.store.registry import NodeFacts, SubjectFacts, register_nodes, register_subjects
from gpufleet.hub.store.retention import (
    DAY_MS,
    MAX_CHUNKS,
    PERIOD_MS,
    Retention,
    Sweeper,
    samples_from,
    stored_bytes,
)
from gpufleet.hub.store.tables import HOUR_MS, events, hours, samples
from gpufleet.hub.store.tables import minutes as minutes_table
from gpufleet.hub.store.upkeep import Upkeep
from gpufleet.hub.store.write import EventRow
from support.stored import HOUR, flush, minutes, temporary_database


def gpus(database: Database, count: int = 1) -> list[int]:
    with database.writing() as connection:
        (node,) = register_nodes(connection, [NodeFacts("n1")], HOUR)
        facts = [SubjectFacts("gpu", f"GPU-{number}", node.id) for number in range(count)]
        return [record.id for record in register_subjects(connection, facts, HOUR)]


def starts(database: Database, table: object) -> list[int]:
    with database.reading() as connection:
        column = table.c.time_ms if table is events else table.c.start  # type: ignore[attr-defined]
        return list(connection.execute(select(column).order_by(column)).scalars())


def sweep(sweeper: Sweeper, now_ms: int) -> int:
    steps = 1
    while sweeper.step(now_ms):
        steps += 1
    return steps


def xid(time_ms: int) -> EventRow:
    return EventRow(1, time_ms, 1, 1, time_ms, 0, "xid", "critical", "Xid 79")


def test_everything_is_kept_for_its_time_and_no_longer(database: Database) -> None:
    (gpu,) = gpus(database)
    ages = [1, 14, 16, 29, 31, 700, 800]
    now = HOUR + 900 * DAY_MS
    times = [now - days * DAY_MS for days in ages]
    for at in sorted(times):
        flush(database, minutes(gpu, [at]), events=[xid(at)])
    while merge_some(database, now):
        pass
    sweep(Sweeper(database, Retention()), now)
    assert starts(database, samples) == times[1::-1]
    assert starts(database, minutes_table) == times[3::-1]
    assert starts(database, hours) == times[5::-1]
    assert starts(database, events) == times[5::-1]


def test_many_old_rows_go_in_small_steps(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database:
        (gpu,) = gpus(database)
        flush(database, minutes(gpu, [HOUR + 60_000 * n for n in range(3 * MAX_CHUNKS + 5)]))
        sizes = []
        most = select(func.count()).select_from(samples)
        event.listen(
            database.engine, "commit", lambda c: sizes.append(c.execute(most).scalar_one())
        )
        sweep(Sweeper(database, Retention()), HOUR + 20 * DAY_MS)
        assert sizes[-1] == 0
        assert max(np.abs(np.diff(sizes))) == MAX_CHUNKS


def test_a_pass_is_followed_by_a_rest(database: Database) -> None:
    (gpu,) = gpus(database)
    sweeper = Sweeper(database, Retention())
    now = HOUR + 20 * DAY_MS
    sweep(sweeper, now)
    flush(database, minutes(gpu, [now - 15 * DAY_MS + PERIOD_MS]))
    assert not sweeper.step(now + PERIOD_MS - 1)
    assert sweeper.step(now + PERIOD_MS)


def test_samples_that_come_after_their_retention_change_nothing(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    (gpu,) = gpus(database)
    flush(database, minutes(gpu, [HOUR + 1000 * n for n in range(60)]))
    sweep(Sweeper(database, Retention()), HOUR + 16 * DAY_MS)
    assert starts(database, samples) == []
    flush(database, [*minutes(gpu, [HOUR + 60_000]), *minutes(gpu, [HOUR + 10 * DAY_MS])])
    assert starts(database, samples) == [HOUR + 10 * DAY_MS]
    with database.reading() as connection:
        assert samples_from(connection) == HOUR + DAY_MS
        kept = connection.execute(select(minutes_table.c.n)).scalars().all()
    assert sorted(kept) == [1, 60]
    assert "samples came after their retention chunks=1" in caplog.text


def noise(gpu: int, hour: int, size: int) -> SubjectSamples:
    """A chunk of about ``size`` bytes."""
    rng = np.random.default_rng(hour)
    count = size // 8
    ticks = HOUR + hour * HOUR_MS + np.arange(count)
    values = rng.integers(-(1 << 62), 1 << 62, count)
    return SubjectSamples(gpu, int(ticks[0]), encode_chunk(Chunk(ticks, {1000: Column(values)})))


def test_bytes_are_bounded_by_forgetting_the_oldest_samples(database: Database) -> None:
    one, two = gpus(database, 2)
    with database.reading() as connection:
        empty = stored_bytes(connection)
    for hour in range(20):
        flush(database, [noise(one, hour, 50_000), noise(two, hour, 50_000)])
    bound = empty + 1_000_000
    now = HOUR + 20 * HOUR_MS
    sweep(Sweeper(database, Retention(max_bytes=bound)), now)
    with database.reading() as connection:
        assert bound - 250_000 < stored_bytes(connection) <= bound
    kept = starts(database, samples)
    assert kept == [HOUR + h * HOUR_MS for h in range(20 - len(kept) // 2, 20) for _ in (one, two)]
    sweep(Sweeper(database, Retention(max_bytes=bound)), now)
    assert starts(database, samples) == kept


def test_a_bound_that_is_too_small_is_told_once_and_spares_the_running_hour(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    (gpu,) = gpus(database)
    flush(database, [noise(gpu, 0, 5000), noise(gpu, 1, 5000)])
    sweeper = Sweeper(database, Retention(max_bytes=1))
    for _ in range(2):
        sweep(sweeper, HOUR + HOUR_MS + 60_000)
        sweeper._next_ms = 0
    assert starts(database, samples) == [HOUR + HOUR_MS]
    assert caplog.text.count("over its bound without any old samples") == 1


@pytest.mark.own_database
def test_a_sqlite_file_shrinks_and_keeps_some_free_pages(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database:
        (gpu,) = gpus(database)
        for hour in range(20):
            flush(database, [noise(gpu, hour, 500_000)])
        file = tmp_path / "gpufleet.db"

        def size() -> int:
            with database.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
            return file.stat().st_size

        before = size()
        sweep(Sweeper(database, Retention()), HOUR + 20 * DAY_MS)
        assert size() < before - 5_000_000
        with database.reading() as connection:
            free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        assert free == 1000


def test_the_hubs_turn_merges_and_forgets(database: Database) -> None:
    (gpu,) = gpus(database)
    now = HOUR + 16 * DAY_MS
    flush(database, [*minutes(gpu, [HOUR]), *minutes(gpu, [HOUR + 10 * DAY_MS])])
    upkeep = Upkeep(database, Retention())
    for _ in range(20):
        upkeep.turn(now)
    assert starts(database, samples) == [HOUR + 10 * DAY_MS]
    assert starts(database, hours) == [HOUR, HOUR + 10 * DAY_MS]


class Broken(Database):
    """A database whose next transaction fails."""

    broken = True

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        if self.broken:
            self.broken = False
            raise OSError
        with super().writing() as connection:
            yield connection


def test_a_pass_that_failed_begins_anew(database: Database) -> None:
    (gpu,) = gpus(database)
    flush(database, minutes(gpu, [HOUR]))
    sweeper = Sweeper(Broken(database.engine), Retention())
    with pytest.raises(OSError):  # noqa: PT011
        sweeper.step(HOUR + 20 * DAY_MS)
    sweep(sweeper, HOUR + 20 * DAY_MS)
    assert starts(database, samples) == []
