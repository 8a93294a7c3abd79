"""Minutes become hours; no tick is lost or doubled on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from gpufleet.hub.store.database import Database
from gpufleet.hub.store.grid import SubjectSamples
from gpufleet.hub.store.merge import GRACE_MS, merge_some
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS
from support.stored import HOUR, flush, minutes, said, spans, stored

LATER = HOUR + HOUR_MS + GRACE_MS


def an_hour(subject_id: int, step: int = 60) -> list[SubjectSamples]:
    return minutes(subject_id, [HOUR + 1000 * second for second in range(0, 3600, step)])


def test_an_hour_of_minutes_becomes_one_chunk(database: Database) -> None:
    flush(database, an_hour(7, 10))
    before = said(stored(database, 7))
    assert merge_some(database, LATER) is False
    assert spans(database) == [(7, HOUR, HOUR_MS)]
    assert said(stored(database, 7)) == before
    assert len(before) == 360


def test_an_hour_waits_for_its_end_and_the_grace(database: Database) -> None:
    flush(database, an_hour(7))
    assert merge_some(database, LATER - 1) is False
    assert len(spans(database)) == 60
    merge_some(database, LATER)
    assert len(spans(database)) == 1


def test_the_running_hour_is_left_alone(database: Database) -> None:
    flush(database, [*an_hour(7), *minutes(7, [HOUR + HOUR_MS])])
    merge_some(database, LATER)
    assert spans(database) == [(7, HOUR, HOUR_MS), (7, HOUR + HOUR_MS, MINUTE_MS)]


def test_a_call_does_no_more_than_its_budget_and_says_that_there_is_more(
    database: Database,
) -> None:
    for subject_id in range(5):
        flush(database, an_hour(subject_id, 600))
    calls = []
    while merge_some(database, LATER, budget=2):
        calls.append(sum(span == HOUR_MS for _, _, span in spans(database)))
    assert calls == [2, 4]
    assert [span for _, _, span in spans(database)] == [HOUR_MS] * 5


def test_hours_are_merged_oldest_first(database: Database) -> None:
    flush(database, minutes(7, [HOUR + HOUR_MS + 1000]))
    flush(database, minutes(8, [HOUR + 1000]))
    assert merge_some(database, LATER + HOUR_MS, budget=1) is True
    assert spans(database) == [(7, HOUR + HOUR_MS, MINUTE_MS), (8, HOUR, HOUR_MS)]


class LateFlush(Database):
    """A database into which a flush comes just before the next transaction begins."""

    def __init__(self, database: Database, chunks: list[SubjectSamples]) -> None:
        super().__init__(database.engine)
        self._database = database
        self._chunks = chunks

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        chunks, self._chunks = self._chunks, []
        flush(self._database, chunks)
        with super().writing() as connection:
            yield connection


def test_a_subject_that_changes_meanwhile_is_merged_later(database: Database) -> None:
    flush(database, [*an_hour(7), *an_hour(8)])
    late = LateFlush(database, minutes(7, [HOUR + 30_000]))
    assert merge_some(late, LATER) is True
    assert len(stored(database, 7).ticks) == 61
    assert [span for subject, _, span in spans(database) if subject == 8] == [HOUR_MS]
    assert merge_some(late, LATER) is False
    assert spans(database) == [(7, HOUR, HOUR_MS), (8, HOUR, HOUR_MS)]
    assert len(stored(database, 7).ticks) == 61


def test_nothing_to_merge_is_nothing_to_do(database: Database) -> None:
    assert merge_some(database, LATER) is False


def test_merged_chunks_are_not_looked_for_among_all_samples(database: Database) -> None:
    query = "SELECT min(start) FROM samples WHERE span_ms = 60000 AND start < 1"
    with database.reading() as connection:
        if database.is_postgresql:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = connection.exec_driver_sql(f"EXPLAIN {query}").scalars().all()
        else:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()
            plan = [row.detail for row in rows]
    assert "samples_to_merge" in "".join(plan)
