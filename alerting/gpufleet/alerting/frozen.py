"""Whether a GPU's telemetry stands still while the GPU works: a driver that repeats itself.

Power in milliwatts, the energy counter, temperature and utilization are never all the same for
half a minute on a GPU that draws power for work, or whose energy is counted at all. A collector
that hangs is another matter: then no samples come, and the node says so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HOLD_MS = 30_000
"""Shorter than any max_gap, so that an open alert is not without samples after a restart."""
METRICS = ("power_watts", "energy_joules_total", "temperature_celsius", "utilization_ratio")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_NEVER = -(1 << 60)
_POWER, _ENERGY, _, _UTILIZATION = range(len(METRICS))


class Frozen:
    """Remembers of every slot the newest readings and since when they have not changed."""

    def __init__(self, capacity: int) -> None:
        self._last = np.full((len(METRICS), capacity), np.nan)
        self._since = np.full(capacity, _NEVER, np.int64)
        self._moved = np.zeros(capacity, np.bool_)
        """Whether it is known that the readings did change once."""

    def grow(self, capacity: int) -> None:
        """Room for more slots."""
        more = capacity - len(self._since)
        if more > 0:
            self._last = np.append(self._last, np.full((len(METRICS), more), np.nan), axis=1)
            self._since = np.append(self._since, np.full(more, _NEVER, np.int64))
            self._moved = np.append(self._moved, np.zeros(more, np.bool_))

    def forget(self, slot: int) -> None:
        """Another GPU is in this slot now, or none."""
        self._last[:, slot] = np.nan
        self._since[slot] = _NEVER
        self._moved[slot] = False

    def feed(self, slots: Ints, ticks: Ints, readings: Floats) -> Floats:
        """One sample of each slot; ``readings`` (4, n) are METRICS, NaN: absent.

        1: they have stood still for HOLD_MS though they must move, 0: they move, NaN: not known.
        """
        before = self._last[:, slots]
        same = ((readings == before) | (np.isnan(readings) & np.isnan(before))).all(axis=0)
        self._last[:, slots] = readings
        first = self._since[slots] == _NEVER
        back = ticks < self._since[slots]
        self._moved[slots] |= ~same & ~first
        self._since[slots] = np.where(same & ~first & ~back, self._since[slots], ticks)
        power, energy, utilization = (readings[i] for i in (_POWER, _ENERGY, _UTILIZATION))
        must_move = (power > 0.0) & (~np.isnan(energy) | (utilization > 0.0))
        held = ticks - self._since[slots] >= HOLD_MS
        lately = np.where(self._moved[slots], 0.0, np.nan)
        result: Floats = np.where(held, np.where(must_move, 1.0, np.nan), lately)
        return result
