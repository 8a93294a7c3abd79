"""Answers history questions: series of a range in at most so many points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gpufleet.hub.store.buckets import (
    Points,
    Values,
    bucket_width,
    buckets,
    single_samples,
    source_step,
)
from gpufleet.hub.store.chunk import Chunk, Column, Ints, between, union
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import HistoryError
from gpufleet.hub.store.samples import read_samples
from gpufleet.proto.catalog import BY_NAME, Metric

MAX_POINTS = 20_000
MAX_RANGE_MS = 400 * 86_400_000
MAX_TIME_MS = 253_402_300_800_000
"""The year 10000: later times have no RFC 3339 form."""

_USED, _TOTAL = BY_NAME["memory_used_bytes"].id, BY_NAME["memory_total_bytes"].id
_USED_RATIO = BY_NAME["memory_used_ratio"].id


@dataclass(frozen=True, slots=True)
class Request:
    """One series that is asked for."""

    subject_id: int
    metric: Metric


Tail = Chunk
"""Samples of a subject that are in the hub's memory and may not be stored yet."""


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one request; ``points.columns`` depend on the metric's kind."""

    subject_id: int
    metric: Metric
    points: Points


@dataclass(frozen=True, slots=True)
class History:
    """Series in the order of the requests.

    ``step_ms`` is the width of buckets; with ``raw`` every point is a sample and ``step_ms`` the
    usual distance of samples.
    """

    start_ms: int
    end_ms: int
    step_ms: int
    raw: bool
    series: tuple[Series, ...]


def query_history(
    database: Database,
    requests: Sequence[Request],
    start_ms: int,
    end_ms: int,
    points: int,
    tail: Mapping[int, Tail] | None = None,
) -> History:
    """Series of [start_ms, end_ms) in at most ``points`` points each; HistoryError says why not.

    Where every series' samples fit they come as they are, otherwise in buckets of one width for
    all series. ``tail`` gives samples by subject id that may not be stored yet; of a tick that is
    stored as well the stored sample counts.
    """
    _check(start_ms, end_ms, points)
    wanted: dict[int, set[int]] = {}
    for request in requests:
        wanted.setdefault(request.subject_id, set()).update(_sources(request.metric))
    chunks: dict[int, Chunk] = {}
    with database.reading() as connection:
        for subject_id, metrics in wanted.items():
            chunks[subject_id] = read_samples(connection, subject_id, start_ms, end_ms, metrics)
    for subject_id, unstored in (tail or {}).items():
        if subject_id in chunks:
            fresh = between(unstored, start_ms, end_ms)
            metrics = wanted[subject_id]
            columns = {m: column for m, column in fresh.columns.items() if m in metrics}
            chunks[subject_id] = union(chunks[subject_id], Chunk(fresh.ticks, columns))
    step_ms = source_step(chunk.ticks for chunk in chunks.values())
    raw = all(len(chunk.ticks) <= points for chunk in chunks.values())
    width = step_ms if raw else bucket_width(start_ms, end_ms, points, step_ms)
    series = []
    for request in requests:
        values = _values(chunks[request.subject_id], request.metric)
        if raw:
            answer = single_samples(request.metric, values, step_ms)
        else:
            answer = buckets(request.metric, values, start_ms, end_ms, width, step_ms)
        series.append(Series(request.subject_id, request.metric, answer))
    return History(start_ms, end_ms, width, raw, tuple(series))


def _check(start_ms: int, end_ms: int, points: int) -> None:
    if not 1 <= points <= MAX_POINTS:
        raise HistoryError(f"points must be between 1 and {MAX_POINTS}, not {points}.")
    if start_ms >= end_ms:
        raise HistoryError("The range is empty: its start must be before its end.")
    if start_ms < 0 or end_ms > MAX_TIME_MS:
        raise HistoryError("The range must lie between the years 1970 and 9999.")
    if end_ms - start_ms > MAX_RANGE_MS:
        raise HistoryError(
            f"The range is longer than {MAX_RANGE_MS // 86_400_000} days; ask for a shorter one."
        )


def _sources(metric: Metric) -> tuple[int, ...]:
    """Ids of the columns from which a metric's values come."""
    return (_USED, _TOTAL) if metric.id == _USED_RATIO else (metric.id,)


def _values(chunk: Chunk, metric: Metric) -> Values:
    if metric.id == _USED_RATIO:
        return _used_ratio(chunk)
    column = _column(chunk, metric.id)
    return Values(chunk.ticks, column.values, column.present)


def _used_ratio(chunk: Chunk) -> Values:
    used, total = _column(chunk, _USED), _column(chunk, _TOTAL)
    known = total.values > 0
    for present in (used.present, total.present):
        known = known if present is None else known & present
    ratio = np.zeros(len(chunk.ticks))
    np.divide(used.values, total.values, out=ratio, where=known)
    return Values(chunk.ticks, ratio, known)


def _column(chunk: Chunk, metric: int) -> Column:
    """The column, or one without any value."""
    if metric in chunk.columns:
        return chunk.columns[metric]
    nothing: Ints = np.zeros(len(chunk.ticks), np.int64)
    return Column(nothing, np.zeros(len(chunk.ticks), np.bool_))
