"""Events: newest first, page by page, each once."""

from __future__ import annotations

import pytest

from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import HistoryError
from gpufleet.hub.store.events import query_events
from gpufleet.hub.store.write import EventRow
from support.stored import HOUR, flush


def event(
    second: int, subject_id: int = 7, node_id: int = 1, kind: str = "xid", ordinal: int = 0
) -> EventRow:
    return EventRow(
        subject_id, HOUR + 1000 * second, node_id, HOUR, second + 1, ordinal, kind, "info", "text"
    )


def test_pages_follow_each_other_without_gap_or_repetition(database: Database) -> None:
    rows = [event(second // 4, ordinal=second % 4) for second in range(20)]
    flush(database, events=rows)
    pages, cursor = [], None
    while True:
        with database.reading() as connection:
            page = query_events(connection, limit=3, cursor=cursor)
        pages.append(len(page.events))
        rows = [row for row in rows if row not in page.events]
        flush(database, events=[event(500 + len(pages))])  # newer: no page may notice
        cursor = page.cursor
        if cursor is None:
            break
    assert pages == [3] * 6 + [2]
    assert rows == []


def test_conditions_narrow_what_is_shown(database: Database) -> None:
    flush(
        database,
        events=[
            event(1),
            event(2, subject_id=8),
            event(3, node_id=2, kind="gpu_moved"),
            event(4, subject_id=9, node_id=2),
        ],
    )

    def seconds(**conditions: object) -> list[int]:
        with database.reading() as connection:
            page = query_events(connection, **conditions)  # type: ignore[arg-type]
        return [(row.time_ms - HOUR) // 1000 for row in page.events]

    assert seconds() == [4, 3, 2, 1]
    assert seconds(subject_ids=[7]) == [3, 1]
    assert seconds(subject_ids=[]) == []
    assert seconds(node_id=2) == [4, 3]
    assert seconds(kinds=["gpu_moved"]) == [3]
    assert seconds(start_ms=HOUR + 2000, end_ms=HOUR + 4000) == [3, 2]
    assert seconds(node_id=2, kinds=["xid"]) == [4]


@pytest.mark.parametrize("cursor", ["", "x", "1-2-3-4-5", "1-2-3-4-5-²", "1-2-3-4-5-" + "9" * 20])
def test_a_cursor_of_ones_own_making_is_refused(database: Database, cursor: str) -> None:
    with (
        database.reading() as connection,
        pytest.raises(HistoryError, match="cursor is not one that this hub gave"),
    ):
        query_events(connection, cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_out_of_bounds_is_refused(database: Database, limit: int) -> None:
    with (
        database.reading() as connection,
        pytest.raises(HistoryError, match="limit must be between 1 and 1000"),
    ):
        query_events(connection, limit=limit)
