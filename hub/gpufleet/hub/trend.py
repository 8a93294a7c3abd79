"""The recent load of every GPU, in memory: a byte for ten seconds, for the clients' sparklines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP_MS = 10_000
POINTS = 180
"""Half an hour: 1.4 MB for 8,000 GPUs."""
ABSENT = 255
_LOOK_MS = 1000
_NOTHING: NDArray[np.uint8] = np.full((0, POINTS), ABSENT, np.uint8)


@dataclass(frozen=True, slots=True)
class Trend:
    """Mean load in percent by slot and step, the newest last; ABSENT where nobody measured it.

    Nothing in it changes. Slots that came later than ``values`` have no row yet.
    """

    end_ms: int
    """End of the newest step, on the grid of STEP_MS."""
    values: NDArray[np.uint8]

    def ratios(self, slots: NDArray[np.int64], points: int) -> NDArray[np.float64]:
        """(slots, points) from 0 to 1, NaN where absent."""
        found = np.full((len(slots), points), np.nan)
        known = slots < len(self.values)
        rows = self.values[slots[known], POINTS - points :]
        found[known] = np.where(rows == ABSENT, np.nan, rows / 100)
        return found


class LoadTrend:
    """Looks at the newest load once a second, and keeps the mean of each step."""

    def __init__(self) -> None:
        self.view = Trend(0, _NOTHING)
        self._step: int | None = None
        self._looked_ms = 0
        self._sum = np.zeros(0)
        self._count = np.zeros(0, np.int64)

    def note(self, now_ms: int, loads: NDArray[np.float64]) -> None:
        """The loads of all slots now, 0 to 1, NaN where there is none; as often as one likes."""
        if 0 <= now_ms - self._looked_ms < _LOOK_MS:
            return
        self._looked_ms = now_ms
        step = now_ms // STEP_MS
        if self._step is None:
            self._step = step
        elif step != self._step:
            self._close(step)
        if len(loads) > len(self._sum):
            extra = len(loads) - len(self._sum)
            self._sum = np.append(self._sum, np.zeros(extra))
            self._count = np.append(self._count, np.zeros(extra, np.int64))
        known = np.isfinite(loads)
        self._sum[: len(loads)][known] += loads[known]
        self._count[: len(loads)][known] += 1

    def _close(self, step: int) -> None:
        """Ends the step that was: its means are the newest column; steps without a look follow."""
        assert self._step is not None
        passed = step - self._step
        if passed < 0:
            passed = POINTS  # the clock was set back: what was before has no place any more
        before = self.view.values
        values = np.full((len(self._sum), POINTS), ABSENT, np.uint8)
        if passed < POINTS:
            values[: len(before), : POINTS - passed] = before[:, passed:]
            known = self._count > 0
            means = np.clip(self._sum[known] / self._count[known], 0, 1)
            values[known, POINTS - passed] = np.rint(means * 100).astype(np.uint8)
        self.view = Trend(step * STEP_MS, values)
        self._step = step
        self._sum[:] = 0
        self._count[:] = 0
