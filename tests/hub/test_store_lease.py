"""The lease: one hub at a time writes, however the others fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from gpufleet.hub.store.database import Database, open_database
from gpufleet.hub.store.errors import StoreFailed, StoreLeaseLost
from gpufleet.hub.store.lease import HELD_SECONDS, LeaseRow, Watch
from gpufleet.hub.store.tenure import Tenure
from support.postgres_cluster import Cluster
from support.stored import HOUR, flush, minutes, spans

pytestmark = pytest.mark.own_database


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def hub(url: str, clock: Clock) -> Iterator[tuple[Database, Tenure]]:
    database = open_database(url)
    try:
        yield database, Tenure(database, clock)
    finally:
        database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_row_that_does_not_change_for_three_seconds_is_free() -> None:
    watch = Watch()
    assert not watch.free(LeaseRow(4, "a", 17), 100.0)
    assert not watch.free(LeaseRow(4, "a", 17), 100.0 + HELD_SECONDS - 0.01)
    assert watch.free(LeaseRow(4, "a", 17), 100.0 + HELD_SECONDS)


def test_every_renewal_and_every_holder_begins_the_wait_anew() -> None:
    watch = Watch()
    for second in range(20):
        assert not watch.free(LeaseRow(4, "a", second), 100.0 + 2 * second)
    assert not watch.free(LeaseRow(5, "b", 19), 145.0)


def test_a_lease_given_back_and_a_database_of_ones_own_are_free_at_once() -> None:
    assert Watch().free(LeaseRow(4, "", 17), 100.0)
    assert Watch().free(LeaseRow(4, "a", 17), 100.0, alone=True)


def test_a_sqlite_hub_takes_the_lease_of_a_dead_one_at_once(tmp_path: Path, clock: Clock) -> None:
    url = f"sqlite:///{tmp_path / 'gpufleet.db'}"
    for epoch in (1, 2):
        with hub(url, clock) as (database, tenure):
            assert not tenure.active
            assert tenure.step()
            assert database.lease is not None
            assert database.lease.epoch == epoch
            assert tenure.step()
            flush(database, minutes(epoch, [HOUR]))


def test_nothing_is_written_before_the_lease_is_taken_and_after_it_is_given_back(
    database_url: str, clock: Clock
) -> None:
    with hub(database_url, clock) as (database, tenure):
        with pytest.raises(StoreLeaseLost, match="stands by"):
            flush(database, minutes(7, [HOUR]))
        assert tenure.step()
        flush(database, minutes(7, [HOUR]))
        tenure.release()
        with pytest.raises(StoreLeaseLost, match="stands by"):
            flush(database, minutes(7, [HOUR + 1000]))
        assert tenure.step()  # given back: no wait
        assert len(spans(database)) == 1


def test_of_two_hubs_one_has_the_lease_while_it_renews(postgres_url: str, clock: Clock) -> None:
    with hub(postgres_url, clock) as (one, first), hub(postgres_url, clock) as (_, second):
        for _ in range(10):
            assert first.step()
            assert not second.step()
            clock.now += 1
        assert second.other == one.holder


def test_a_hub_that_stops_renewing_is_followed_and_can_write_no_more(
    postgres_url: str, clock: Clock
) -> None:
    with hub(postgres_url, clock) as (old, first), hub(postgres_url, clock) as (new, second):
        assert first.step()
        assert not second.step()
        clock.now += HELD_SECONDS
        assert second.step()
        flush(new, minutes(7, [HOUR]))
        assert first.active  # it does not know
        with pytest.raises((StoreLeaseLost, StoreFailed)):  # its sessions were ended as well
            flush(old, minutes(8, [HOUR]))
        with pytest.raises(StoreLeaseLost, match="Another hub has taken over"):
            flush(old, minutes(8, [HOUR]))
        assert [subject for subject, _, _ in spans(new)] == [7]
        assert not first.step()
        assert not first.active
        assert not first.step()
        clock.now += HELD_SECONDS
        assert first.step()


def test_two_hubs_that_find_it_free_at_once_do_not_both_take_it(
    postgres_url: str, clock: Clock
) -> None:
    with hub(postgres_url, clock) as (_, first), hub(postgres_url, clock) as (_, second):
        taken: list[bool] = []
        together = threading.Barrier(2)

        def step(tenure: Tenure) -> None:
            together.wait()
            taken.append(tenure.step())

        threads = [threading.Thread(target=step, args=(each,)) for each in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(taken) == [False, True]


def test_an_answer_that_was_lost_is_not_a_lease_that_was_lost(
    postgres_url: str, clock: Clock
) -> None:
    with hub(postgres_url, clock) as (database, tenure):
        assert tenure.step()
        database.stand_by()  # as if the commit's answer had never come
        assert tenure.step()
        assert database.lease is not None
        assert database.lease.epoch == 1
        flush(database, minutes(7, [HOUR]))


def test_renewals_pass_by_a_write_that_is_under_way(postgres_url: str, clock: Clock) -> None:
    with hub(postgres_url, clock) as (database, tenure):
        assert tenure.step()
        with database.writing() as connection:
            connection.execute(text("SELECT 1"))
            assert tenure.step()


def test_a_lease_is_kept_while_the_database_cannot_be_reached(
    postgres_url: str, postgres: Cluster, clock: Clock
) -> None:
    with hub(postgres_url, clock) as (database, tenure):
        assert tenure.step()
        postgres.stop()
        try:
            with pytest.raises(StoreFailed, match="cannot reach"):
                tenure.step()
            assert tenure.active
        finally:
            postgres.start()
        assert tenure.step()
        flush(database, minutes(7, [HOUR]))


FROZEN = """
import sys
from sqlalchemy import text
from gpufleet.hub.store.database import open_database
from gpufleet.hub.store.errors import StoreError
from gpufleet.hub.store.tenure import Tenure
database = open_database(sys.argv[1])
assert Tenure(database).step()
try:
    with database.writing() as connection:
        connection.execute(text("INSERT INTO meta VALUES ('frozen', '1')"))
        print("writing", flush=True)
        sys.stdin.readline()
except StoreError:
    print("refused", flush=True)
try:
    with database.writing() as connection:
        connection.execute(text("INSERT INTO meta VALUES ('frozen', '1')"))
except StoreError as error:
    print(type(error).__name__, flush=True)
"""


def test_a_hub_frozen_in_the_middle_of_a_write_is_followed_and_does_no_harm_when_it_wakes(
    postgres_url: str, clock: Clock
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FROZEN, postgres_url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as frozen:
        try:
            assert frozen.stdout is not None
            assert frozen.stdout.readline() == "writing\n"
            frozen.send_signal(signal.SIGSTOP)
            with hub(postgres_url, clock) as (database, tenure):
                assert not tenure.step()
                clock.now += HELD_SECONDS
                assert tenure.step()
                with database.writing() as connection:
                    connection.execute(text("INSERT INTO meta VALUES ('frozen', '2')"))
                frozen.send_signal(signal.SIGCONT)
                out, _ = frozen.communicate("\n", timeout=60)
                assert out.split() == ["refused", "StoreLeaseLost"]
                with database.reading() as connection:
                    value = connection.execute(text("SELECT value FROM meta WHERE name = 'frozen'"))
                    assert value.scalar() == "2"
        finally:
            frozen.kill()


def test_a_row_that_could_not_be_seen_is_watched_anew() -> None:
    watch = Watch()
    assert not watch.free(LeaseRow(4, "a", 17), 100.0)
    watch.missed()
    assert not watch.free(LeaseRow(4, "a", 17), 160.0)
    assert watch.free(LeaseRow(4, "a", 17), 160.0 + HELD_SECONDS)


def test_a_database_that_was_away_does_not_change_hands(
    postgres_url: str, postgres: Cluster, clock: Clock
) -> None:
    with hub(postgres_url, clock) as (_, first), hub(postgres_url, clock) as (_, second):
        assert first.step()
        assert not second.step()
        postgres.stop()
        try:
            clock.now += 60
            with pytest.raises(StoreFailed):
                second.step()
        finally:
            postgres.start()
        assert not second.step()  # asked before the holder could renew
        assert first.step()
