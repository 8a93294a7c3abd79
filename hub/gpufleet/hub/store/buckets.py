"""Turns samples into the points of a chart: widths of buckets, and what each holds. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.hub.store.chunk import Bools, Ints
from gpufleet.proto.catalog import Kind, Metric

Floats = NDArray[np.float64]

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
WIDTHS_MS: tuple[int, ...] = (
    *(n * _SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 7, 14, 28)),
)
"""Widths that people read easily. All but the weeks divide a day."""

INTERVALS_MS: tuple[int, ...] = tuple(n * _SECOND for n in (1, 2, 5, 10, 15, 30, 60))
"""Intervals that agents may have; all divide a minute."""


@dataclass(frozen=True, slots=True)
class Values:
    """One metric of one subject: ascending ticks, raw scaled integers or float64 base units.

    ``raw`` is float64 for values that the hub derives (they have no scaled integers).
    """

    ticks: Ints
    raw: Ints | Floats
    present: Bools | None = None


@dataclass(frozen=True, slots=True)
class Points:
    """Buckets (or single samples) of one series, one entry a time.

    ``n`` counts samples that have a value. ``columns`` by the metric's kind, float64 in base
    units, NaN where ``n`` is 0:

    - gauge: ``avg``, ``min``, ``max``
    - counter: ``last``, and ``increase`` since the sample before within the series (a smaller
      value is a new baseline and adds nothing); NaN as well where no sample came before
    - state: ``last``, ``min``, ``max``
    - bits: ``bits``, the OR of all (int64, 0 where ``n`` is 0), and ``active_seconds``, the time
      in which any bit was set
    """

    times_ms: Ints
    n: Ints
    columns: dict[str, NDArray[Any]]


def source_step(series: Iterable[Ints]) -> int:
    """The usual distance of samples in milliseconds, such that buckets of it have no holes.

    The interval of agents that holds each series' median distance, and the least common multiple
    over all series; 1 s where no series has two samples.
    """
    steps = [_interval(np.diff(ticks)) for ticks in series if len(ticks) > 1]
    return math.lcm(*steps) if steps else _SECOND


def _interval(distances: Ints) -> int:
    middle = (len(distances) - 1) // 2
    median = int(np.partition(distances, middle)[middle])
    return next((interval for interval in INTERVALS_MS if interval >= median), INTERVALS_MS[-1])


def bucket_width(start_ms: int, end_ms: int, points: int, step_ms: int) -> int:
    """The smallest round multiple of ``step_ms`` that cuts [start, end) into <= ``points``."""
    for width in WIDTHS_MS:
        if width % step_ms == 0 and _count(start_ms, end_ms, width) <= points:
            return width
    width = WIDTHS_MS[-1]  # a multiple of every interval
    while _count(start_ms, end_ms, width) > points:
        width *= 2
    return width


def _count(start_ms: int, end_ms: int, width: int) -> int:
    return (end_ms - 1) // width - start_ms // width + 1


def single_samples(metric: Metric, values: Values, step_ms: int) -> Points:
    """Every tick as a point of its own."""
    return _points(metric, values, values.ticks, np.arange(len(values.ticks) + 1), step_ms)


def buckets(
    metric: Metric, values: Values, start_ms: int, end_ms: int, width: int, step_ms: int
) -> Points:
    """Buckets of ``width`` aligned to the epoch that cover [start, end), empty ones included."""
    edges = bucket_edges(start_ms, end_ms, width)
    return _points(metric, values, edges[:-1], np.searchsorted(values.ticks, edges), step_ms)


def bucket_edges(start_ms: int, end_ms: int, width: int) -> Ints:
    """Beginnings of the buckets that cover [start, end), and the end of the last."""
    first = start_ms // width
    return (first + np.arange(_count(start_ms, end_ms, width) + 1, dtype=np.int64)) * width


def _points(
    metric: Metric, values: Values, times_ms: Ints, cuts: NDArray[np.int64], step_ms: int
) -> Points:
    """Points at ``times_ms``; point i holds the samples cuts[i] to cuts[i + 1]."""
    raw = values.raw
    if values.present is not None:
        raw = raw[values.present]
        counted = np.cumsum(values.present, dtype=np.int64)
        cuts = np.concatenate((np.zeros(1, np.int64), counted))[cuts]
    n = np.diff(cuts).astype(np.int64)
    return Points(times_ms, n, _COLUMNS[metric.kind](metric, raw, cuts, n, step_ms))


def _gauge(
    metric: Metric, raw: Ints | Floats, cuts: Ints, n: Ints, step_ms: int
) -> dict[str, NDArray[Any]]:
    sums = _reduce(np.add, raw.astype(np.float64), cuts, n)
    with np.errstate(invalid="ignore"):
        avg = sums / n
    return {
        "avg": _scaled(metric, avg, raw),
        "min": _scaled(metric, _reduce(np.minimum, raw, cuts, n), raw),
        "max": _scaled(metric, _reduce(np.maximum, raw, cuts, n), raw),
    }


def _counter(
    metric: Metric, raw: Ints | Floats, cuts: Ints, n: Ints, step_ms: int
) -> dict[str, NDArray[Any]]:
    counts = raw.astype(np.int64, copy=False)
    gains = np.zeros(len(counts), np.float64)
    growth = np.diff(counts).view(np.uint64)  # exact wherever it is not negative
    gains[1:] = np.where(counts[1:] >= counts[:-1], growth, 0)
    increase = _reduce(np.add, gains, cuts, n)
    alone = np.flatnonzero(n)[:1]  # the series' first bucket: its first sample has none before it
    increase[alone[n[alone] == 1]] = np.nan
    return {
        "last": _scaled(metric, _last(raw, cuts, n), raw),
        "increase": _scaled(metric, increase, raw),
    }


def _state(
    metric: Metric, raw: Ints | Floats, cuts: Ints, n: Ints, step_ms: int
) -> dict[str, NDArray[Any]]:
    return {
        "last": _scaled(metric, _last(raw, cuts, n), raw),
        "min": _scaled(metric, _reduce(np.minimum, raw, cuts, n), raw),
        "max": _scaled(metric, _reduce(np.maximum, raw, cuts, n), raw),
    }


def _bits(
    metric: Metric, raw: Ints | Floats, cuts: Ints, n: Ints, step_ms: int
) -> dict[str, NDArray[Any]]:
    filled = np.flatnonzero(n)
    bits = np.zeros(len(n), np.int64)
    if len(filled):
        bits[filled] = np.bitwise_or.reduceat(raw.astype(np.int64), cuts[:-1][filled])
    active = _reduce(np.add, (raw != 0).astype(np.float64), cuts, n)
    return {"bits": bits, "active_seconds": active * step_ms / _SECOND}


_COLUMNS: dict[Kind, Callable[[Metric, Ints | Floats, Ints, Ints, int], dict[str, NDArray[Any]]]]
_COLUMNS = {
    Kind.GAUGE: _gauge,
    Kind.COUNTER: _counter,
    Kind.STATE: _state,
    Kind.BITS: _bits,
}


def _reduce(operation: np.ufunc, values: NDArray[Any], cuts: Ints, n: Ints) -> Floats:
    """``operation`` over each filled bucket's samples, NaN for empty ones."""
    out = np.full(len(n), np.nan)
    filled = np.flatnonzero(n)
    if len(filled):
        out[filled] = operation.reduceat(values, cuts[:-1][filled])
    return out


def _last(values: NDArray[Any], cuts: Ints, n: Ints) -> Floats:
    out = np.full(len(n), np.nan)
    filled = np.flatnonzero(n)
    out[filled] = values[cuts[1:][filled] - 1]
    return out


def _scaled(metric: Metric, values: Floats, raw: Ints | Floats) -> Floats:
    """Scaled integers in base units; what is float64 already is."""
    if raw.dtype == np.float64:
        return values
    return values * metric.multiplier / metric.divisor
