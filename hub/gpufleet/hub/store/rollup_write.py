"""Writes rows of ``minutes`` and ``hours``, with the growth of counters since the row before.

A row is written anew from all its samples whenever one of them comes. Only its counters' increase
depends on another row, the one before; a row that comes late therefore also changes the one after.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Table, bindparam, select, text, update

from gpufleet.hub.store.bulk import Row, upsert_rows
from gpufleet.hub.store.dialect import batches
from gpufleet.hub.store.rollup import BITS, COUNTERS, NUMBERS, ROLLUPS, Summary, summarise_chunk
from gpufleet.hub.store.samples import read_samples
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS, hours

Key = tuple[int, int]
"""Subject and start."""

Lasts = dict[int, float]
"""Counters' last values by place in COUNTERS, in base units."""

_LAST = [NUMBERS.index((metric, "last")) for metric in COUNTERS]
_INCREASE = [NUMBERS.index((metric, "increase")) for metric in COUNTERS]
_BIT_COUNTS = [ROLLUPS.index(metric) for metric in BITS]


@dataclass(frozen=True, slots=True)
class _Before:
    """What a subject has in the table: its newest row, and the one before those to be written."""

    newest: int | None
    start: int | None
    lasts: Lasts


def write_rollups(connection: Connection, table: Table, rows: Mapping[Key, Summary]) -> None:
    """Put these rows into ``minutes`` or ``hours``, each in the place of an older one."""
    if not rows:
        return
    by_subject: dict[int, list[int]] = {}
    for subject_id, start in sorted(rows):
        by_subject.setdefault(subject_id, []).append(start)
    before = _before(connection, table, {key: starts[0] for key, starts in by_subject.items()})
    increases: dict[Key, list[float]] = {}
    late: list[int] = []
    for subject_id, starts in by_subject.items():
        found = before.get(subject_id, _Before(None, None, {}))
        if found.newest is not None and found.newest > starts[0]:
            late.append(subject_id)
            continue
        lasts = found.lasts
        if found.start is not None:
            _look_further(connection, table, subject_id, found, rows, starts)
        for start in starts:
            increases[subject_id, start] = _grow(rows[subject_id, start], lasts)
    upsert_rows(connection, table, list(_rows(rows, increases)))
    for subject_id in late:  # seen on its own: clocks set back, ticks of two epochs
        _settle(connection, table, subject_id, by_subject[subject_id], rows)


def _grow(summary: Summary, lasts: Lasts) -> list[float]:
    """The increase of each counter since ``lasts``, which become the summary's."""
    out = []
    for place, metric in enumerate(COUNTERS):
        increase = float(summary.numbers[_INCREASE[place]])
        first = float(summary.firsts[place])
        if not math.isnan(first):
            if place in lasts:
                step = metric.raw(first) - metric.raw(lasts[place])
                grown = 0.0 if math.isnan(increase) else increase
                increase = grown + max(step, 0) * metric.multiplier / metric.divisor
            lasts[place] = float(summary.numbers[_LAST[place]])
        out.append(increase)
    return out


def _before(connection: Connection, table: Table, starts: Mapping[int, int]) -> dict[int, _Before]:
    """By subject id the row before ``starts``, for all of them in a few statements."""
    names = ", ".join(f"t.{metric.name}_last" for metric in COUNTERS)
    found: dict[int, _Before] = {}
    for some in batches(starts.items()):
        wanted = ", ".join(f"({subject_id:d}, {start:d})" for subject_id, start in some)
        # Seeks on the primary key: GROUP BY would read every row of these subjects.
        query = (
            f"WITH wanted(id, below) AS (VALUES {wanted}) SELECT wanted.id, "
            f"(SELECT max(start) FROM {table.name} WHERE subject_id = wanted.id), "
            f"t.start, {names} FROM wanted LEFT JOIN {table.name} t "
            f"ON t.subject_id = wanted.id AND t.start = (SELECT max(start) FROM {table.name} "
            "WHERE subject_id = wanted.id AND start < wanted.below)"
        )
        for subject_id, newest, start, *values in connection.execute(text(query)):
            lasts = {place: value for place, value in enumerate(values) if value is not None}
            found[subject_id] = _Before(newest, start, lasts)
    return found


def _look_further(
    connection: Connection,
    table: Table,
    subject_id: int,
    before: _Before,
    rows: Mapping[Key, Summary],
    starts: Sequence[int],
) -> None:
    """Counters that come now and had no value in the row before: their last in an older one."""
    assert before.start is not None
    for place in range(len(COUNTERS)):
        if place not in before.lasts and any(
            not math.isnan(rows[subject_id, start].firsts[place]) for start in starts
        ):
            found = _last_before(connection, table, subject_id, before.start, place)
            if found is not None:
                before.lasts[place] = found


def _last_before(
    connection: Connection, table: Table, subject_id: int, start: int, place: int
) -> float | None:
    last = table.c[f"{COUNTERS[place].name}_last"]
    query = (
        select(last)
        .where(table.c.subject_id == subject_id, table.c.start < start, last.is_not(None))
        .order_by(table.c.start.desc())
        .limit(1)
    )
    value: float | None = connection.execute(query).scalar()
    return value


def _settle(
    connection: Connection,
    table: Table,
    subject_id: int,
    starts: Sequence[int],
    rows: Mapping[Key, Summary],
) -> None:
    """Increases of rows that came late, and of those that follow them, when all are written."""
    width = HOUR_MS if table is hours else MINUTE_MS
    summaries = {start: rows[subject_id, start] for start in starts}
    for start in starts:
        for place in _counted(summaries[start]):
            after = _next_start(connection, table, subject_id, start, place)
            if after is None or after in summaries:
                continue
            whole = read_samples(connection, subject_id, after, after + width)
            summary = summarise_chunk(whole)
            if summary is not None:  # its samples may be past their retention
                summaries[after] = summary
    changes = []
    for start, summary in summaries.items():
        lasts: Lasts = {}
        for place in _counted(summary):
            last = _last_before(connection, table, subject_id, start, place)
            if last is not None:
                lasts[place] = last
        increases = (None if math.isnan(value) else value for value in _grow(summary, lasts))
        changes.append(
            {"subject": subject_id, "at": start}
            | {f"new_{place}": value for place, value in enumerate(increases)}
        )
    statement = (
        update(table)
        .where(table.c.subject_id == bindparam("subject"), table.c.start == bindparam("at"))
        .values(
            {
                f"{metric.name}_increase": bindparam(f"new_{place}")
                for place, metric in enumerate(COUNTERS)
            }
        )
    )
    connection.execute(statement, changes)


def _counted(summary: Summary) -> list[int]:
    """Places of the counters that have values."""
    return np.flatnonzero(~np.isnan(summary.firsts)).tolist()


def _next_start(
    connection: Connection, table: Table, subject_id: int, start: int, place: int
) -> int | None:
    query = (
        select(table.c.start)
        .where(
            table.c.subject_id == subject_id,
            table.c.start > start,
            table.c[f"{COUNTERS[place].name}_last"].is_not(None),
        )
        .order_by(table.c.start)
        .limit(1)
    )
    value: int | None = connection.execute(query).scalar()
    return value


def _rows(rows: Mapping[Key, Summary], increases: Mapping[Key, list[float]]) -> Iterator[Row]:
    """Whole rows in the order of the table's columns, NULL for what is not there."""
    keys = list(rows)
    numbers = np.stack([rows[key].numbers for key in keys])
    for row, key in enumerate(keys):
        if key in increases:
            numbers[row, _INCREASE] = increases[key]
    plain: Any = numbers.astype(object)
    plain[np.isnan(numbers)] = None
    counts = np.stack([rows[key].counts for key in keys])
    bits: Any = np.stack([rows[key].bits for key in keys]).astype(object)
    bits[counts[:, _BIT_COUNTS] == 0] = None
    for key, values, flags, n in zip(
        keys, plain.tolist(), bits.tolist(), counts.tolist(), strict=True
    ):
        yield (*key, *values, *flags, rows[key].n, *n)
