"""Whether a GPU that works has ceased to tell its power.

The other bounds of power, above its limit and zero under load, are seen in one sample: the default
rules GpuPowerAboveLimit and GpuPowerZero say them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class PowerReadings:
    """Knows of every slot whether a power was ever read: some drivers never give one."""

    def __init__(self, capacity: int) -> None:
        self._told = np.zeros(capacity, np.bool_)

    def grow(self, capacity: int) -> None:
        """Room for more slots."""
        more = capacity - len(self._told)
        if more > 0:
            self._told = np.append(self._told, np.zeros(more, np.bool_))

    def forget(self, slot: int) -> None:
        """Another GPU is in this slot now, or none."""
        self._told[slot] = False

    def unreadable(self, slots: Ints, power_watts: Floats, utilization_ratio: Floats) -> Floats:
        """One sample of each slot (n,), NaN: absent. 1: unreadable under load, 0: read, else NaN.

        A GPU that tells no power while it does nothing may be asleep: then nothing is known.
        """
        read = ~np.isnan(power_watts)
        self._told[slots] |= read
        missed = ~read & self._told[slots] & (utilization_ratio > 0.0)
        result: Floats = np.where(read, 0.0, np.where(missed, 1.0, np.nan))
        return result
