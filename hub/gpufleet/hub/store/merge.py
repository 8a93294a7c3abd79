"""Merges minutes of past hours into one chunk and one row of ``hours``, some at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, literal_column, select

from gpufleet.hub.store import tables
from gpufleet.hub.store.bulk import upsert_rows
from gpufleet.hub.store.codec import EncodedChunk
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.dialect import batches
from gpufleet.hub.store.grid import hour_of
from gpufleet.hub.store.rollup import summarise_chunk
from gpufleet.hub.store.rollup_write import write_rollups
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS, samples
from gpufleet.hub.store.write import chunk_row, joined

GRACE_MS = 5 * MINUTE_MS
"""An hour is merged this long after its end: what comes later is joined one by one."""


@dataclass(frozen=True, slots=True)
class _Stored:
    span_ms: int
    chunk: EncodedChunk


_Hour = dict[int, _Stored]
"""Rows of one subject and hour by start."""


def merge_some(database: Database, now_ms: int, budget: int = 16, grace_ms: int = GRACE_MS) -> bool:
    """Merge at most ``budget`` subjects' minutes of the oldest hour that waits; True: more wait.

    Chunks are joined outside of the transaction. Inside it the rows must still be those that were
    read (rows only ever grow, so starts and counts tell); a subject that changed is left for the
    next call. A crash leaves all minutes of a subject, or the hour.
    """
    cutoff_ms = hour_of(now_ms - grace_ms)
    with database.reading() as connection:
        hour_ms, subject_ids = _waiting(connection, cutoff_ms, budget)
        hours = _rows(connection, hour_ms, subject_ids)
    if not hours:
        return False
    merged = {
        subject_id: joined((subject_id, hour_ms), _in_order(rows))
        for subject_id, rows in hours.items()
    }
    summaries = {subject_id: summarise_chunk(whole) for subject_id, (whole, _) in merged.items()}
    with database.writing() as connection:
        counts = _counts(connection, hour_ms, subject_ids)
        unchanged = [
            subject_id
            for subject_id, rows in hours.items()
            if counts.get(subject_id)
            == {start: (stored.span_ms, stored.chunk.count) for start, stored in rows.items()}
        ]
        _replace(
            connection, hour_ms, {subject_id: merged[subject_id][1] for subject_id in unchanged}
        )
        write_rollups(
            connection,
            tables.hours,
            {
                (subject_id, hour_ms): summary
                for subject_id in unchanged
                if (summary := summaries[subject_id]) is not None
            },
        )
    with database.reading() as connection:
        return bool(_waiting(connection, cutoff_ms, 1)[1])


def _waiting(connection: Connection, cutoff_ms: int, limit: int) -> tuple[int, list[int]]:
    """The oldest hour with minutes before ``cutoff_ms``, and some subjects that have them."""
    # A literal, or the planner cannot know that the index samples_to_merge has these rows.
    waits = samples.c.span_ms == literal_column(str(MINUTE_MS))
    oldest = connection.execute(
        select(func.min(samples.c.start)).where(waits, samples.c.start < cutoff_ms)
    ).scalar()
    if oldest is None:
        return 0, []
    hour_ms = hour_of(oldest)
    # In the order of the index, the first rows are mostly of different subjects.
    found = connection.execute(
        select(samples.c.subject_id)
        .where(waits, samples.c.start >= hour_ms, samples.c.start < hour_ms + HOUR_MS)
        .order_by(samples.c.start, samples.c.subject_id)
        .limit(limit)
    )
    return hour_ms, sorted({subject_id for (subject_id,) in found})


def _rows(connection: Connection, hour_ms: int, subject_ids: list[int]) -> dict[int, _Hour]:
    hours: dict[int, _Hour] = {}
    for some in batches(subject_ids):
        query = select(
            samples.c.subject_id,
            samples.c.start,
            samples.c.span_ms,
            samples.c.count,
            samples.c.data,
        ).where(
            samples.c.subject_id.in_(some),
            samples.c.start >= hour_ms,
            samples.c.start < hour_ms + HOUR_MS,
        )
        for subject_id, start, span_ms, count, data in connection.execute(query):
            stored = _Stored(span_ms, EncodedChunk(data, count))
            hours.setdefault(subject_id, {})[start] = stored
    return hours


def _in_order(rows: _Hour) -> list[EncodedChunk]:
    """Chunks by start, the merged hour (stored first) before its late minutes."""
    return [rows[start].chunk for start in sorted(rows)]


def _counts(
    connection: Connection, hour_ms: int, subject_ids: list[int]
) -> dict[int, dict[int, tuple[int, int]]]:
    found: dict[int, dict[int, tuple[int, int]]] = {}
    for some in batches(subject_ids):
        query = select(
            samples.c.subject_id, samples.c.start, samples.c.span_ms, samples.c.count
        ).where(
            samples.c.subject_id.in_(some),
            samples.c.start >= hour_ms,
            samples.c.start < hour_ms + HOUR_MS,
        )
        for subject_id, start, span_ms, count in connection.execute(query):
            found.setdefault(subject_id, {})[start] = span_ms, count
    return found


def _replace(connection: Connection, hour_ms: int, hours: Mapping[int, EncodedChunk]) -> None:
    if not hours:
        return
    for some in batches(hours):
        connection.execute(
            delete(samples).where(
                samples.c.subject_id.in_(some),
                samples.c.start > hour_ms,
                samples.c.start < hour_ms + HOUR_MS,
            )
        )
    upsert_rows(
        connection,
        samples,
        [chunk_row((subject_id, hour_ms), HOUR_MS, chunk) for subject_id, chunk in hours.items()],
    )
