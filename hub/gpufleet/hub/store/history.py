"""Answers history questions: series of a range in at most so many points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

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
from gpufleet.hub.store.history_cost import affordable_source
from gpufleet.hub.store.rollup import ROLLUPS, TOTAL, USED, USED_RATIO, sources_of
from gpufleet.hub.store.rollup_read import Rows, continued, read_rows, rebucket, rows_before
from gpufleet.hub.store.samples import read_samples
from gpufleet.hub.store.sources import Source
from gpufleet.hub.store.tables import MINUTE_MS
from gpufleet.proto.catalog import Metric

MAX_POINTS = 20_000
MAX_RANGE_MS = 800 * 86_400_000
MAX_TIME_MS = 253_402_300_800_000
"""The year 10000: later times have no RFC 3339 form."""


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
    usual distance of samples. ``source`` answered for metrics with rollups, samples for the others.
    """

    start_ms: int
    end_ms: int
    step_ms: int
    raw: bool
    series: tuple[Series, ...]
    source: Source = Source.SAMPLES


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
    all series. Long ranges, and those whose samples were forgotten, are answered from minutes or
    hours (sources.py), whose first row may begin before ``start_ms``; metrics without such rows
    always from samples. What would read too much is answered from the next source, or refused
    (history_cost.py). ``tail`` gives samples by subject id that may not be stored yet; of a tick
    that is stored as well the stored sample counts.
    """
    check_range(start_ms, end_ms, points)
    with database.reading() as connection:
        asked = [(request.subject_id, request.metric) for request in requests]
        source = affordable_source(connection, asked, start_ms, end_ms, points)
        if source is Source.SAMPLES or all(r.metric not in ROLLUPS for r in requests):
            return _of_samples(connection, requests, start_ms, end_ms, points, tail or {})
        return _of_rows(connection, source, requests, start_ms, end_ms, points, tail or {})


def _of_samples(
    connection: Connection,
    requests: Sequence[Request],
    start_ms: int,
    end_ms: int,
    points: int,
    tail: Mapping[int, Tail],
) -> History:
    chunks = _chunks(connection, requests, start_ms, end_ms, tail)
    step_ms = source_step(chunk.ticks for chunk in chunks.values())
    raw = all(len(chunk.ticks) <= points for chunk in chunks.values())
    width = step_ms if raw else bucket_width(start_ms, end_ms, points, step_ms)
    series = []
    for request in requests:
        values = values_of(chunks[request.subject_id], request.metric)
        if raw:
            answer = single_samples(request.metric, values, step_ms)
        else:
            answer = buckets(request.metric, values, start_ms, end_ms, width, step_ms)
        series.append(Series(request.subject_id, request.metric, answer))
    return History(start_ms, end_ms, width, raw, tuple(series))


def _of_rows(
    connection: Connection,
    source: Source,
    requests: Sequence[Request],
    start_ms: int,
    end_ms: int,
    points: int,
    tail: Mapping[int, Tail],
) -> History:
    plain = [request for request in requests if request.metric not in ROLLUPS]
    chunks = _chunks(connection, plain, start_ms, end_ms, tail)
    sample_step = source_step(chunk.ticks for chunk in chunks.values())
    width = bucket_width(start_ms, end_ms, points, source.value)  # any sample's step divides it
    metrics: dict[int, dict[int, Metric]] = {}
    for request in requests:
        if request.metric in ROLLUPS:
            metrics.setdefault(request.subject_id, {})[request.metric.id] = request.metric
    rows = {
        subject_id: _rows_and_tail(
            connection, source, subject_id, list(own.values()), start_ms, end_ms, tail
        )
        for subject_id, own in metrics.items()
    }
    series = []
    for request in requests:
        metric, subject_id = request.metric, request.subject_id
        if metric in ROLLUPS:
            answer = rebucket(metric, rows[subject_id][metric.id], start_ms, end_ms, width)
        else:
            values = values_of(chunks[subject_id], metric)
            answer = buckets(metric, values, start_ms, end_ms, width, sample_step)
        series.append(Series(subject_id, metric, answer))
    return History(start_ms, end_ms, width, False, tuple(series), source)


def _rows_and_tail(
    connection: Connection,
    source: Source,
    subject_id: int,
    metrics: Sequence[Metric],
    start_ms: int,
    end_ms: int,
    tail: Mapping[int, Tail],
) -> dict[int, Rows]:
    """Rows, and from the first that is not all stored such as are made of samples."""
    rows = read_rows(connection, source, subject_id, metrics, start_ms, end_ms)
    if subject_id not in tail:
        return rows
    unstored = between(tail[subject_id], start_ms, end_ms)
    if not len(unstored.ticks):
        return rows
    fresh_ms = int(unstored.ticks[0]) // source.value * source.value
    requests = [Request(subject_id, metric) for metric in metrics]
    chunk = _chunks(connection, requests, fresh_ms, end_ms, tail)[subject_id]
    step_ms = source_step([chunk.ticks])
    for metric in metrics:
        values = values_of(chunk, metric)
        points = buckets(metric, values, fresh_ms, end_ms, MINUTE_MS, step_ms)
        some = points.n > 0
        if not some.any():
            rows[metric.id] = rows_before(rows[metric.id], fresh_ms)
            continue
        made = Rows(
            points.times_ms[some],
            points.n[some],
            {name: column[some] for name, column in points.columns.items()},
        )
        at = 0 if values.present is None else int(values.present.argmax())
        first = float(metric.value(int(values.raw[at])))
        rows[metric.id] = continued(metric, rows_before(rows[metric.id], fresh_ms), made, first)
    return rows


def _chunks(
    connection: Connection,
    requests: Sequence[Request],
    start_ms: int,
    end_ms: int,
    tail: Mapping[int, Tail],
) -> dict[int, Chunk]:
    """Samples by subject id, those of the tail included, with the columns that are asked for."""
    wanted: dict[int, set[int]] = {}
    for request in requests:
        wanted.setdefault(request.subject_id, set()).update(sources_of(request.metric))
    chunks: dict[int, Chunk] = {}
    for subject_id, metrics in wanted.items():
        chunks[subject_id] = read_samples(connection, subject_id, start_ms, end_ms, metrics)
        if subject_id in tail:
            fresh = between(tail[subject_id], start_ms, end_ms)
            columns = {m: column for m, column in fresh.columns.items() if m in metrics}
            chunks[subject_id] = union(chunks[subject_id], Chunk(fresh.ticks, columns))
    return chunks


def check_range(start_ms: int, end_ms: int, points: int) -> None:
    """HistoryError says what is wrong with a range or a number of points."""
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


def values_of(chunk: Chunk, metric: Metric) -> Values:
    if metric is USED_RATIO:
        return _used_ratio(chunk)
    column = _column(chunk, metric.id)
    return Values(chunk.ticks, column.values, column.present)


def _used_ratio(chunk: Chunk) -> Values:
    used, total = _column(chunk, USED), _column(chunk, TOTAL)
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
