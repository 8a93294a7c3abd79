"""Points of a series onto the columns of a chart, and words for the time axis. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gpufleet.tui.picture import Point


@dataclass(frozen=True, slots=True)
class Resampled:
    """Per column of a chart the mean and the greatest value; ``None`` where nothing is known."""

    means: Sequence[float | None]
    highs: Sequence[float | None]


def resample(
    points: Sequence[Point], step_ms: int, start_ms: int, end_ms: int, columns: int
) -> Resampled:
    """A point fills the columns that its bucket touches; several in a column are averaged."""
    sums = [0.0] * columns
    weights = [0] * columns
    highs: list[float | None] = [None] * columns
    if columns <= 0 or end_ms <= start_ms:
        return Resampled((), ())
    per_ms = columns / (end_ms - start_ms)
    for point in points:
        if point.mean is None:
            continue
        first = math.floor((point.time_ms - start_ms) * per_ms)
        last = max(math.ceil((point.time_ms + step_ms - start_ms) * per_ms), first + 1)
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
