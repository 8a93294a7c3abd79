"""Reads events, newest first, page by page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, literal, select, tuple_

from gpufleet.hub.store.errors import NO_CURSOR, HistoryError
from gpufleet.hub.store.tables import events
from gpufleet.hub.store.write import EventRow

MAX_LIMIT = 1000
_KEY = ("time_ms", "subject_id", "node_id", "epoch", "seq", "ordinal")


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first; ``cursor`` asks for the next page, ``None``: there is none."""

    events: tuple[EventRow, ...]
    cursor: str | None


def query_events(
    connection: Connection,
    *,
    subject_ids: Collection[int] | None = None,
    node_id: int | None = None,
    start_ms: int | None = None,
    end_ms: int | None = None,
    kinds: Collection[str] | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> EventPage:
    """Events with start_ms <= time < end_ms that meet every condition that is given.

    Events that come in while one turns the pages neither repeat nor hide others. HistoryError for
    a limit or a cursor that is none.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise HistoryError(f"limit must be between 1 and {MAX_LIMIT}, not {limit}.")
    conditions: list[ColumnElement[bool]] = []
    if subject_ids is not None:
        conditions.append(events.c.subject_id.in_(sorted(subject_ids)))
    if node_id is not None:
        conditions.append(events.c.node_id == node_id)
    if start_ms is not None:
        conditions.append(events.c.time_ms >= start_ms)
    if end_ms is not None:
        conditions.append(events.c.time_ms < end_ms)
    if kinds is not None:
        conditions.append(events.c.kind.in_(sorted(kinds)))
    key = tuple_(*(events.c[name] for name in _KEY))
    if cursor is not None:
        conditions.append(key < tuple_(*(literal(part) for part in _parse_cursor(cursor))))
    query = (
        select(events)
        .where(*conditions)
        .order_by(*(events.c[name].desc() for name in _KEY))
        .limit(limit + 1)
    )
    rows = [_row(row) for row in connection.execute(query)]
    if len(rows) <= limit:
        return EventPage(tuple(rows), None)
    last = rows[limit - 1]
    return EventPage(tuple(rows[:limit]), "-".join(str(getattr(last, name)) for name in _KEY))


def events_since(connection: Connection, kind: str, since_ms: int) -> list[EventRow]:
    """Every event of a kind from a time on, in no order."""
    query = select(events).where(events.c.time_ms >= since_ms, events.c.kind == kind)
    return [_row(row) for row in connection.execute(query)]


def _row(row: Row[Any]) -> EventRow:
    return EventRow(
        subject_id=row.subject_id,
        time_ms=row.time_ms,
        node_id=row.node_id,
        epoch=row.epoch,
        seq=row.seq,
        ordinal=row.ordinal,
        kind=row.kind,
        severity=row.severity,
        message=row.message,
        code=row.code,
        data=row.data,
    )


def _parse_cursor(cursor: str) -> list[int]:
    parts = cursor.split("-")
    if len(parts) != len(_KEY) or not all(
        p.isascii() and p.isdigit() and len(p) < 20 for p in parts
    ):
        raise HistoryError(NO_CURSOR)
    return [int(part) for part in parts]
