"""Summaries of samples: what a row of ``minutes`` or ``hours`` says, made from samples alone. Pure.

Of each metric that the catalogue marks for rollup: ``n`` samples with a value, and by its kind

- gauge: ``avg``, ``min``, ``max``
- counter: ``last``, ``increase`` (a smaller value is a new baseline and adds nothing)
- state: ``last``, ``min``, ``max``
- bits: ``bits`` (the OR of all), ``active_seconds`` (the time in which any was set)

in base units. ``health`` is no sample (the hub derives it; its changes are events), so it has none.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.hub.store.buckets import INTERVALS_MS, Floats
from gpufleet.hub.store.chunk import Bools, Chunk, Ints
from gpufleet.proto.catalog import BY_NAME, Kind, Metric, Source, metrics

USED_RATIO = BY_NAME["memory_used_ratio"]
USED, TOTAL = BY_NAME["memory_used_bytes"].id, BY_NAME["memory_total_bytes"].id

ROLLUPS: tuple[Metric, ...] = tuple(
    metric
    for metric in metrics()
    if metric.rollup and (metric.source is Source.AGENT or metric is USED_RATIO)
)
"""Metrics with columns in ``minutes`` and ``hours``."""

PARTS: dict[Kind, tuple[str, ...]] = {
    Kind.GAUGE: ("avg", "min", "max"),
    Kind.COUNTER: ("last", "increase"),
    Kind.STATE: ("last", "min", "max"),
    Kind.BITS: ("bits", "active_seconds"),
}
"""What is kept of a metric beside ``n``: the same names as in buckets.Points."""

NUMBERS: tuple[tuple[Metric, str], ...] = tuple(
    (metric, part) for metric in ROLLUPS for part in PARTS[metric.kind] if part != "bits"
)
"""Columns of float64, in order."""
BITS: tuple[Metric, ...] = tuple(metric for metric in ROLLUPS if metric.kind is Kind.BITS)
COUNTERS: tuple[Metric, ...] = tuple(metric for metric in ROLLUPS if metric.kind is Kind.COUNTER)

SOURCES = frozenset({metric.id for metric in ROLLUPS} - {USED_RATIO.id} | {USED, TOTAL})
"""Catalogue ids from which all of it is made."""

_INT = np.iinfo(np.int64)
_number = {(metric.id, part): place for place, (metric, part) in enumerate(NUMBERS)}
_count = {metric.id: place for place, metric in enumerate(ROLLUPS)}
_bit = {metric.id: place for place, metric in enumerate(BITS)}
_counter = {metric.id: place for place, metric in enumerate(COUNTERS)}


def sources_of(metric: Metric) -> tuple[int, ...]:
    """Ids of the columns from which a metric's values come."""
    return (USED, TOTAL) if metric is USED_RATIO else (metric.id,)


@dataclass(frozen=True, slots=True)
class Summary:
    """One subject's samples of a minute or an hour."""

    n: int
    """Ticks at which the subject answered."""
    numbers: Floats
    """By NUMBERS; NaN where there is none. ``increase`` is the growth within."""
    counts: Ints
    """By ROLLUPS: samples with a value."""
    bits: Ints
    """By BITS; nothing where the count is 0."""
    step_ms: int
    """Each sample speaks for that long."""
    firsts: Floats
    """By COUNTERS: the first value in base units, NaN where there is none."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns of one kind of several subjects: where they are, whose, and of which metric."""

    source: NDArray[np.intp]
    subject: NDArray[np.intp]
    metrics: tuple[Metric, ...]
    scale: Floats

    def place(self, part: str) -> NDArray[np.intp]:
        return np.array([_number[m.id, part] for m in self.metrics], np.intp)

    @property
    def count(self) -> NDArray[np.intp]:
        return np.array([_count[m.id] for m in self.metrics], np.intp)


@dataclass(frozen=True, slots=True)
class _Plan:
    kinds: dict[Kind, _Columns]
    used: _Columns
    total: _Columns
    whose: NDArray[np.intp]
    """Each column's subject."""
    some: tuple[bool, ...]
    """Whether a subject has anything to summarise."""


@functools.lru_cache(maxsize=4096)
def _plan(subjects: tuple[tuple[int, ...], ...]) -> _Plan:
    found: dict[Kind, list[tuple[int, int, Metric]]] = {kind: [] for kind in Kind}
    used: list[tuple[int, int, Metric]] = []
    total: list[tuple[int, int, Metric]] = []
    whose: list[int] = []
    known = {metric.id: metric for metric in ROLLUPS}
    for subject, ids in enumerate(subjects):
        first = len(whose)
        for column, metric_id in enumerate(ids, first):
            if metric_id in known:
                found[known[metric_id].kind].append((column, subject, known[metric_id]))
        if USED in ids and TOTAL in ids:
            used.append((first + ids.index(USED), subject, USED_RATIO))
            total.append((first + ids.index(TOTAL), subject, USED_RATIO))
        whose.extend([subject] * len(ids))
    return _Plan(
        {kind: _columns(entries) for kind, entries in found.items() if entries},
        _columns(used),
        _columns(total),
        np.array(whose, np.intp),
        tuple(bool(SOURCES.intersection(ids)) for ids in subjects),
    )


def _columns(entries: Sequence[tuple[int, int, Metric]]) -> _Columns:
    return _Columns(
        np.array([column for column, _, _ in entries], np.intp),
        np.array([subject for _, subject, _ in entries], np.intp),
        tuple(metric for _, _, metric in entries),
        np.array([metric.multiplier / metric.divisor for _, _, metric in entries]),
    )


def summarise_node(
    values: Ints,
    present: Bools | None,
    taken: Bools | None,
    subjects: Sequence[Sequence[int]],
    step_ms: int,
) -> list[Summary | None]:
    """A summary of all the ticks for each subject of a node (arguments as codec.encode_node's).

    ``None`` for a subject that was read at none of them or has no metric with rollups. ``step_ms``
    is the distance of samples, each of which speaks for that long.
    """
    plan = _plan(tuple(tuple(ids) for ids in subjects))
    count = len(subjects)
    n = np.full(count, len(values)) if taken is None else taken.sum(axis=0)
    shown = present
    if taken is not None and not taken.all():
        read = taken[:, plan.whose]
        shown = read if shown is None else shown & read
    numbers = np.full((count, len(NUMBERS)), np.nan)
    counts = np.zeros((count, len(ROLLUPS)), np.int64)
    bits = np.zeros((count, len(BITS)), np.int64)
    firsts = np.full((count, len(COUNTERS)), np.nan)
    for kind, columns in plan.kinds.items():
        raw = values[:, columns.source]
        mask = np.ones(raw.shape, np.bool_) if shown is None else shown[:, columns.source]
        filled = mask.sum(axis=0)
        rows = columns.subject
        counts[rows, columns.count] = filled
        if kind is Kind.GAUGE:
            _gauges(numbers, columns, raw, mask, filled)
        elif kind is Kind.BITS:
            at = np.array([_bit[m.id] for m in columns.metrics], np.intp)
            bits[rows, at] = np.bitwise_or.reduce(np.where(mask, raw, 0), axis=0)
            active = (mask & (raw != 0)).sum(axis=0) * (step_ms / 1000)
            numbers[rows, columns.place("active_seconds")] = np.where(filled > 0, active, np.nan)
        elif kind is Kind.STATE:
            _extremes(numbers, columns, raw, mask, filled)
            numbers[rows, columns.place("last")] = _scaled(_last(raw, mask), filled, columns)
        else:
            at = np.array([_counter[m.id] for m in columns.metrics], np.intp)
            numbers[rows, columns.place("last")] = _scaled(_last(raw, mask), filled, columns)
            firsts[rows, at] = _scaled(_first(raw, mask), filled, columns)
            numbers[rows, columns.place("increase")] = _growth(raw, mask, filled) * columns.scale
    if len(plan.used.source):
        used, total = values[:, plan.used.source], values[:, plan.total.source]
        mask = total > 0
        if shown is not None:
            mask &= shown[:, plan.used.source] & shown[:, plan.total.source]
        ratio = np.zeros(used.shape)
        np.divide(used, total, out=ratio, where=mask)
        filled = mask.sum(axis=0)
        counts[plan.used.subject, plan.used.count] = filled
        _gauges(numbers, plan.used, ratio, mask, filled)
    return [
        Summary(int(n[s]), numbers[s], counts[s], bits[s], step_ms, firsts[s])
        if n[s] and plan.some[s]
        else None
        for s in range(count)
    ]


def summarise_chunk(chunk: Chunk, step_ms: int | None = None) -> Summary | None:
    """The summary of all samples of one subject.

    ``step_ms`` is the distance of samples where it is known; the smallest that is seen may be
    smaller still, and counts then.
    """
    ids = tuple(metric for metric in chunk.columns if metric in SOURCES)
    if not ids or not len(chunk.ticks):
        return None
    columns = [chunk.columns[metric] for metric in ids]
    present: Bools | None = None
    if any(column.present is not None for column in columns):
        full = np.ones(len(chunk.ticks), np.bool_)
        present = np.stack([full if c.present is None else c.present for c in columns], axis=1)
    values = np.stack([column.values for column in columns], axis=1)
    steps = [] if step_ms is None else [step_ms]
    if len(chunk.ticks) > 1:
        nearest = int(np.diff(chunk.ticks).min())
        steps.append(next((i for i in INTERVALS_MS if i >= nearest), INTERVALS_MS[-1]))
    return summarise_node(values, present, None, (ids,), min(steps, default=1000))[0]


def _gauges(
    numbers: Floats, columns: _Columns, raw: NDArray[Any], mask: Bools, filled: Ints
) -> None:
    with np.errstate(invalid="ignore"):
        average = np.where(mask, raw, 0).sum(axis=0, dtype=np.float64) / filled
    scale = columns.scale if raw.dtype == np.int64 else 1.0
    numbers[columns.subject, columns.place("avg")] = average * scale
    _extremes(numbers, columns, raw, mask, filled)


def _extremes(
    numbers: Floats, columns: _Columns, raw: NDArray[Any], mask: Bools, filled: Ints
) -> None:
    low, high = (_INT.max, _INT.min) if raw.dtype == np.int64 else (np.inf, -np.inf)
    for part, edge in (
        ("min", np.where(mask, raw, low).min(axis=0)),
        ("max", np.where(mask, raw, high).max(axis=0)),
    ):
        numbers[columns.subject, columns.place(part)] = _scaled(edge, filled, columns)


def _scaled(raw: NDArray[Any], filled: Ints, columns: _Columns) -> Floats:
    """In base units, NaN where nothing was there. What is float64 already is in base units."""
    if raw.dtype == np.float64:
        return np.where(filled > 0, raw, np.nan)
    multiplier = np.array([metric.multiplier for metric in columns.metrics])
    divisor = np.array([metric.divisor for metric in columns.metrics])
    return np.where(filled > 0, raw.astype(np.float64) * multiplier / divisor, np.nan)


def _first(raw: Ints, mask: Bools) -> Ints:
    rows = mask.argmax(axis=0)[np.newaxis]
    values: Ints = np.take_along_axis(raw, rows, axis=0)[0]
    return values


def _last(raw: Ints, mask: Bools) -> Ints:
    rows = len(raw) - 1 - mask[::-1].argmax(axis=0)[np.newaxis]
    values: Ints = np.take_along_axis(raw, rows, axis=0)[0]
    return values


def _growth(raw: Ints, mask: Bools, filled: Ints) -> Floats:
    """Growth from each value to the next, in raw units; NaN for fewer than two values."""
    out = np.full(raw.shape[1], np.nan)
    whole = filled == len(raw)
    if len(raw) > 1 and whole.any():
        out[whole] = _gains(raw[:, whole])
    for column in np.flatnonzero(~whole & (filled > 1)).tolist():
        out[column] = _gains(raw[mask[:, column], column][:, np.newaxis])[0]
    return out


def _gains(raw: Ints) -> Floats:
    steps = np.diff(raw, axis=0)  # exact as uint64 wherever it is not negative
    grew = raw[1:] >= raw[:-1]
    gains: Floats = np.where(grew, steps.view(np.uint64), np.uint64(0)).astype(np.float64)
    return np.asarray(gains.sum(axis=0))
