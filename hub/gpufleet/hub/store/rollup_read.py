"""Reads rows of ``minutes`` and ``hours`` as arrays, and cuts them into the points of a chart."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, func, select

from gpufleet.hub.store.buckets import Floats, Points, bucket_edges
from gpufleet.hub.store.chunk import Ints
from gpufleet.hub.store.grid import hour_of, minute_of
from gpufleet.hub.store.rollup import PARTS
from gpufleet.hub.store.sources import Source
from gpufleet.hub.store.tables import HOUR_MS, hours, minutes
from gpufleet.proto.catalog import Kind, Metric

Rows = Points
"""Rows of one metric that have a value: times are starts, columns as in Points."""


def read_rows(
    connection: Connection,
    source: Source,
    subject_id: int,
    metrics: Sequence[Metric],
    start_ms: int,
    end_ms: int,
) -> dict[int, Rows]:
    """Rows by metric id that touch [start, end); after the last merged hour those of minutes."""
    if source is Source.MINUTES:
        return read_table(connection, minutes, subject_id, metrics, minute_of(start_ms), end_ms)
    whole = read_table(connection, hours, subject_id, metrics, hour_of(start_ms), end_ms)
    last = connection.execute(
        select(func.max(hours.c.start)).where(hours.c.subject_id == subject_id)
    ).scalar()
    begin = hour_of(start_ms) if last is None else max(hour_of(start_ms), last + HOUR_MS)
    if begin >= end_ms:
        return whole
    fresh = read_table(connection, minutes, subject_id, metrics, begin, end_ms)
    return {metric.id: join_rows([whole[metric.id], fresh[metric.id]]) for metric in metrics}


def read_table(
    connection: Connection,
    table: Table,
    subject_id: int,
    metrics: Sequence[Metric],
    start_ms: int,
    end_ms: int,
) -> dict[int, Rows]:
    """Rows of one table that begin in [start, end), by metric id."""
    names = [[f"{m.name}_{part}" for part in ("n", *PARTS[m.kind])] for m in metrics]
    wanted = (table.c[name] for name in itertools.chain.from_iterable(names))
    query = (
        select(table.c.start, *wanted)
        .where(table.c.subject_id == subject_id, table.c.start >= start_ms, table.c.start < end_ms)
        .order_by(table.c.start)
    )
    found = connection.execute(query).all()
    columns = iter(zip(*found, strict=True)) if found else itertools.repeat(())
    starts = np.array(next(columns), np.int64)
    rows = {}
    for metric in metrics:
        n = np.array(next(columns), np.int64)
        some = n > 0
        parts: dict[str, NDArray[Any]] = {}
        for part in PARTS[metric.kind]:
            values = next(columns)
            if part == "bits":
                whole: NDArray[Any] = np.array([value or 0 for value in values], np.int64)
            else:
                whole = np.array(values, np.float64)  # None is NaN
            parts[part] = whole[some]
        rows[metric.id] = Rows(starts[some], n[some], parts)
    return rows


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Rows one after the other."""
    return Rows(
        np.concatenate([part.times_ms for part in parts]),
        np.concatenate([part.n for part in parts]),
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
    )


def rows_before(rows: Rows, time_ms: int) -> Rows:
    """Those that begin before."""
    count = int(np.searchsorted(rows.times_ms, time_ms))
    return Rows(
        rows.times_ms[:count], rows.n[:count], {k: v[:count] for k, v in rows.columns.items()}
    )


def rebucket(metric: Metric, rows: Rows, start_ms: int, end_ms: int, width: int) -> Points:
    """Buckets that cover [start, end), as buckets.buckets makes them of the samples."""
    edges = bucket_edges(start_ms, end_ms, width)
    cuts: Ints = np.searchsorted(rows.times_ms, edges).astype(np.int64)
    filled = np.flatnonzero(np.diff(cuts))
    begins = cuts[:-1][filled]
    count = len(edges) - 1

    def spread(values: NDArray[Any], fill: float = np.nan) -> Floats:
        out = np.full(count, fill)
        out[filled] = values
        return out

    def reduced(operation: Callable[..., Any], values: NDArray[Any]) -> NDArray[Any]:
        return operation(values, begins) if len(begins) else np.empty(0)

    n = spread(reduced(np.add.reduceat, rows.n), 0).astype(np.int64)
    columns: dict[str, NDArray[Any]] = {}
    for part, values in rows.columns.items():
        if part == "avg":
            columns[part] = spread(reduced(np.add.reduceat, values * rows.n) / n[filled])
        elif part == "last":
            columns[part] = spread(values[cuts[1:][filled] - 1])
        elif part == "bits":
            ored = np.zeros(count, np.int64)
            ored[filled] = reduced(np.bitwise_or.reduceat, values)
            columns[part] = ored
        elif part in ("min", "max"):
            operation = np.minimum if part == "min" else np.maximum
            columns[part] = spread(reduced(operation.reduceat, values))
        else:
            known = ~np.isnan(values)
            sums = spread(reduced(np.add.reduceat, np.where(known, values, 0)))
            sums[filled[reduced(np.add.reduceat, known.astype(np.int64)) == 0]] = np.nan
            columns[part] = sums
    return Points(edges[:-1], n, columns)


def continued(metric: Metric, rows: Rows, fresh: Rows, first: float) -> Rows:
    """``rows``, then ``fresh`` of samples alone, whose first value is ``first`` in base units.

    What a counter grew between the two is added.
    """
    if metric.kind is Kind.COUNTER and len(rows.n) and len(fresh.n):
        increase = fresh.columns["increase"].copy()
        step = max(first - float(rows.columns["last"][-1]), 0.0)
        increase[0] = step + (0.0 if np.isnan(increase[0]) else increase[0])
        fresh = Rows(fresh.times_ms, fresh.n, {**fresh.columns, "increase": increase})
    return join_rows([rows, fresh])
