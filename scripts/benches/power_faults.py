"""Faults of power that are put into days of GPUs at work, for ``scripts/bench power``.

Nothing here knows how power is judged. Each fault moves what the sensor tells by a quarter of the
enforced limit or more, for ten minutes to forty, while the work seems to go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benches.power_fleet import Day

KINDS = ("step", "cap", "hang", "zero", "oscillation")
LEAST = 0.25
_SETTLED = 900
"""Seconds of a job before a fault may come."""


@dataclass(frozen=True, slots=True)
class Fault:
    """From second ``start`` on, before second ``end``; ``size`` is its share of the limit."""

    kind: str
    start: int
    end: int
    size: float


def inject(rng: np.random.Generator, day: Day, kind: str) -> Fault | None:
    """Put one fault into the day. None: this GPU did nothing that shows one of its size."""
    edges = [0, *sorted(day.changes), len(day.power)]
    jobs = list(pairwise(edges))
    for _ in range(40):
        first, last = jobs[int(rng.integers(len(jobs)))]
        length = int(rng.uniform(600, 2400))
        if last - first < _SETTLED + length + 60:
            continue
        start = int(rng.uniform(first + _SETTLED, last - length - 60))
        size = _apply(rng, day, kind, slice(start, start + length))
        if size is not None:
            return Fault(kind, start, start + length, size)
    return None


def _apply(rng: np.random.Generator, day: Day, kind: str, part: slice) -> float | None:
    board, limit = day.board, day.board.limit
    level = float(np.nanmean(day.power[part.start - 600 : part.start])) / limit
    busy = float(np.nanmean(day.utilization[part.start - 600 : part.start])) > 0.3
    power: NDArray[np.float32] = day.power[part]
    n = len(power)
    noise = 1 + 0.004 * rng.standard_normal(n)
    size = rng.uniform(LEAST, 0.5)
    floor = board.idle / limit
    if not busy:
        return None
    if kind == "step":
        up = level + size < 1.0
        if not up and level - size < floor:
            return None
        moved = power + (size if up else -size) * limit
        told = np.clip(moved, board.idle, limit * 1.03)
    elif kind == "cap":
        if level - size < floor:
            return None
        told = np.minimum(power, (level - size) * limit * noise)
    elif kind == "hang":
        rest = board.open / limit + rng.uniform(0.0, 0.12)
        size = level - rest
        if size < LEAST:
            return None
        told = np.where(np.isnan(power), np.nan, rest * limit * noise)
        day.utilization[part] = float(day.utilization[part.start - 30 : part.start].max())
        day.changes.append(part.stop)  # somebody ends the job
    elif kind == "zero":
        size = level
        if size < LEAST:
            return None
        told = np.where(np.isnan(power), np.nan, 0.0)
    else:
        period = rng.uniform(20, 300)
        wave = np.sign(np.sin(2 * np.pi * np.arange(n) / period))
        if level - size < floor or level + size > 1.0:
            return None
        told = power + wave * size * limit
    day.power[part] = told.astype(np.float32)
    return float(size)
