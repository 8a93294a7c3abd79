"""Flushes: written once however often they come, together or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpufleet.hub.store.chunk import Chunk, Column
from gpufleet.hub.store.codec import EncodedChunk, encode_chunk
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.events import query_events
from gpufleet.hub.store.grid import SubjectSamples, minute_chunks
from gpufleet.hub.store.merge import merge_some
from gpufleet.hub.store.registry import NodeFacts, load_nodes, register_nodes
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS
from gpufleet.hub.store.write import EventRow, NodeFlush, write_flushes
from support.stored import HOUR, flush, minutes, said, spans, stored


def value_at(subject_id: int, tick: int, value: int) -> SubjectSamples:
    chunk = encode_chunk(Chunk(np.array([tick]), {20: Column(np.array([value]))}))
    return SubjectSamples(subject_id, tick - tick % MINUTE_MS, chunk)


def event(ordinal: int = 0, message: str = "Xid 79") -> EventRow:
    return EventRow(7, HOUR, 1, 5, 3, ordinal, "xid", "critical", message, 79, {"count": 1})


def test_samples_lie_in_minutes_of_the_grid(database: Database) -> None:
    ticks = [HOUR + 58_000, HOUR + 59_999, HOUR + 60_000, HOUR + 3_599_000]
    flush(database, minutes(7, ticks))
    assert spans(database) == [
        (7, HOUR, MINUTE_MS),
        (7, HOUR + 60_000, MINUTE_MS),
        (7, HOUR + 3_540_000, MINUTE_MS),
    ]
    assert stored(database, 7).ticks.tolist() == ticks


def test_a_tick_joins_the_chunk_of_its_minute(database: Database) -> None:
    flush(database, minutes(7, [HOUR, HOUR + 2000]))
    flush(database, minutes(7, [HOUR + 1000, HOUR + 3000]))
    assert spans(database) == [(7, HOUR, MINUTE_MS)]
    assert stored(database, 7).ticks.tolist() == [HOUR + n * 1000 for n in range(4)]


def test_the_first_stored_sample_of_a_tick_wins(database: Database) -> None:
    flush(database, [value_at(7, HOUR, 61)])
    flush(database, [value_at(7, HOUR, 99)])
    assert said(stored(database, 7)) == {HOUR: {20: 61}}


def test_of_two_samples_of_a_tick_in_one_flush_the_first_wins(database: Database) -> None:
    flush(database, [value_at(7, HOUR, 61), value_at(7, HOUR, 99)])
    assert said(stored(database, 7)) == {HOUR: {20: 61}}


def test_a_subject_that_was_not_read_has_no_sample(database: Database) -> None:
    ticks = HOUR + 1000 * np.arange(3)
    taken = np.array([[True, False], [True, True], [True, False]])
    chunks = minute_chunks([7, 8], ticks, np.full((3, 2), 5, np.int64), None, taken, [[20], [20]])
    flush(database, chunks)
    assert stored(database, 7).ticks.tolist() == ticks.tolist()
    assert stored(database, 8).ticks.tolist() == [HOUR + 1000]


def test_a_late_minute_joins_its_merged_hour(database: Database) -> None:
    flush(database, minutes(7, [HOUR + 60_000, HOUR + 180_000]))
    merge_some(database, HOUR + 2 * HOUR_MS)
    flush(database, minutes(7, [HOUR, HOUR + 60_000, HOUR + 120_000, HOUR + 3_600_000]))
    assert spans(database) == [(7, HOUR, HOUR_MS), (7, HOUR + HOUR_MS, MINUTE_MS)]
    assert stored(database, 7).ticks.tolist() == [
        HOUR,
        HOUR + 60_000,
        HOUR + 120_000,
        HOUR + 180_000,
        HOUR + 3_600_000,
    ]


def test_minute_zero_joins_the_hour_that_begins_with_it(database: Database) -> None:
    flush(database, minutes(7, [HOUR + 1000]))
    merge_some(database, HOUR + 2 * HOUR_MS)
    flush(database, minutes(7, [HOUR + 2000]))
    assert spans(database) == [(7, HOUR, HOUR_MS)]
    assert stored(database, 7).ticks.tolist() == [HOUR + 1000, HOUR + 2000]


def test_a_stored_chunk_that_is_damaged_does_not_stop_the_flush(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    flush(database, [SubjectSamples(7, HOUR, EncodedChunk(b"rubbish", 1))])
    caplog.clear()
    flush(database, minutes(7, [HOUR + 1000]))
    assert stored(database, 7).ticks.tolist() == [HOUR + 1000]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "subject_id=7" in caplog.text


def test_events_come_in_once(database: Database) -> None:
    flush(database, events=[event(0), event(1)])
    flush(database, events=[event(1, "changed"), event(2)])
    with database.reading() as connection:
        page = query_events(connection)
    assert [(e.ordinal, e.message) for e in page.events] == [
        (2, "Xid 79"),
        (1, "Xid 79"),
        (0, "Xid 79"),
    ]
    assert page.events[0] == event(2)


def test_watermarks_only_rise(database: Database) -> None:
    with database.writing() as connection:
        (node,) = register_nodes(connection, [NodeFacts("n1")], HOUR)
    marks = []
    for epoch, seq in ((5, 3), (5, 2), (4, 9), (5, 4), (6, 1), (0, 0)):
        flush(database, node_id=node.id, epoch=epoch, seq=seq, last_seen_ms=HOUR + seq)
        with database.reading() as connection:
            (record,) = load_nodes(connection)
        marks.append((record.epoch, record.seq, record.last_seen_ms - HOUR))
    assert marks == [(5, 3, 3), (5, 3, 3), (5, 3, 9), (5, 4, 9), (6, 1, 9), (6, 1, 9)]


def test_many_nodes_commit_together_or_not_at_all(database: Database) -> None:
    good = NodeFlush(1, 1, 1, HOUR, minutes(7, [HOUR]))
    bad = NodeFlush(2, 1, 1, HOUR, (), [event(message=None)])  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"(?i)not.null"), database.writing() as connection:
        write_flushes(connection, [good, bad])
    assert spans(database) == []


def test_more_subjects_than_one_statement_takes(database: Database) -> None:
    for ticks in ([HOUR], [HOUR, HOUR + 1000]):
        flush(database, [chunk for subject in range(1, 1203) for chunk in minutes(subject, ticks)])
    assert len(spans(database)) == 1202
    assert len(stored(database, 1202).ticks) == 2


@given(
    batches=st.lists(
        st.lists(st.integers(0, 3 * 3600 - 1), min_size=1, max_size=20, unique=True).map(sorted),
        min_size=1,
        max_size=6,
    ),
    merges=st.sets(st.integers(0, 5)),
    twice=st.sets(st.integers(0, 5)),
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_order_and_repetition_every_tick_is_there_once(
    database: Database, batches: list[list[int]], merges: set[int], twice: set[int]
) -> None:
    with database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM samples")
    for number, batch in enumerate(batches):
        chunks = minutes(7, [HOUR + 1000 * second for second in batch])
        for _ in range(2 if number in twice else 1):
            flush(database, chunks)
        if number in merges:
            while merge_some(database, HOUR + 2 * HOUR_MS + 600_000):
                pass
    expected = {
        HOUR + 1000 * second: {20: (HOUR // 1000 + second) % 1000}
        for batch in batches
        for second in batch
    }
    assert said(stored(database, 7)) == expected
    with database.reading() as connection:
        counted = connection.exec_driver_sql("SELECT sum(count) FROM samples").scalar()
    assert counted == len(expected)
