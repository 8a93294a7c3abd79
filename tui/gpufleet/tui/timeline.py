"""Points of a series onto the columns of a chart, and words for the time axis. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gpufleet.tui.picture import Point

GAP_MS = 45_000
"""Samples as far apart as this are still without a gap."""


@dataclass(frozen=True, slots=True)
class Resampled:
    """Per column of a chart the mean and the greatest value; ``None`` where nothing is known."""

    means: Sequence[float | None]
    highs: Sequence[float | None]


def resample(
    points: Sequence[Point], step_ms: int, start_ms: int, end_ms: int, columns: int
) -> Resampled:
    """A point fills the columns from its time to the next point's; several in one are averaged.

    Where the next point is farther away than a gap is (``GAP_MS``), it fills only its own bucket.
    """
    sums = [0.0] * columns
    weights = [0] * columns
    highs: list[float | None] = [None] * columns
    if columns <= 0 or end_ms <= start_ms:
        return Resampled((), ())
    per_ms = columns / (end_ms - start_ms)
    bridge = max(2.5 * step_ms, GAP_MS)
    for i, point in enumerate(points):
        if point.mean is None:
            continue
        until = points[i + 1].time_ms if i + 1 < len(points) else end_ms
        if until - point.time_ms > bridge:
            until = point.time_ms + step_ms
        first = math.floor((point.time_ms - start_ms) * per_ms)
        last = max(math.ceil((until - start_ms) * per_ms), first + 1)
        high = point.mean if point.high is None else point.high
        for column in range(max(first, 0), min(last, columns)):
            sums[column] += point.mean
            weights[column] += 1
            known = highs[column]
            highs[column] = high if known is None else max(known, high)
    means = [s / n if n else None for s, n in zip(sums, weights, strict=True)]
    return Resampled(means, highs)


def moment(time_ms: int, span_seconds: float) -> str:
    """A time on the axis, as fine as the span wants; the time zone is this machine's."""
    local = time.localtime(time_ms / 1000)
    if span_seconds <= 900:
        return time.strftime("%H:%M:%S", local)
    if span_seconds <= 86400:
        return time.strftime("%H:%M", local)
    return time.strftime("%a %d %b %H:%M" if span_seconds <= 7 * 86400 else "%d %b", local)
