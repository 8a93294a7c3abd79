"""Decides what a question of history is answered from: samples, minutes or hours. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gpufleet.hub.store.buckets import bucket_width
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS

SAMPLES_RANGE_MS = 24 * HOUR_MS
"""Up to this long samples answer, which are exact to the second: a day takes some milliseconds."""
MINUTES_RANGE_MS = 7 * 24 * HOUR_MS


class Source(Enum):
    """The value is the width of a row in milliseconds; of samples their own distance counts."""

    SAMPLES = 0
    MINUTES = MINUTE_MS
    HOURS = HOUR_MS


@dataclass(frozen=True, slots=True)
class Kept:
    """Since when samples and minutes are kept; what was before was forgotten."""

    samples_from_ms: int = 0
    minutes_from_ms: int = 0


def choose_source(start_ms: int, end_ms: int, points: int, kept: Kept) -> Source:
    """The finest source that covers the range and is not much finer than the points asked for."""
    span_ms = end_ms - start_ms
    width = bucket_width(start_ms, end_ms, points, 1000)
    if start_ms >= kept.samples_from_ms and (span_ms <= SAMPLES_RANGE_MS or width < MINUTE_MS):
        return Source.SAMPLES
    if start_ms >= kept.minutes_from_ms and (span_ms <= MINUTES_RANGE_MS or width < HOUR_MS):
        return Source.MINUTES
    return Source.HOURS
