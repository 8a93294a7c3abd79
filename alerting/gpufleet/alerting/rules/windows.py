"""Trailing windows of numbers or conditions over the fleet, kept in bins of a sixtieth each.

30 minutes of 8,000 GPUs at 1 s would be 115 MB a metric; in 60 bins they are a few. A window is
read as of its last whole bin, so it lags by a sixtieth at most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.rules.tree import Reduction

BINS = 60
MIN_BIN_MS = 1000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_NEVER = -(1 << 60)


class _Answer:
    """A reduction as it was read last, and in which bin that was."""

    def __init__(self, capacity: int) -> None:
        self.read_at = np.full(capacity, _NEVER, np.int64)
        self.value = np.full(capacity, np.nan)


class Bins:
    """One number over one window for every slot. NaN is no sample."""

    def __init__(self, window_ms: int, capacity: int, *, counter: bool = False) -> None:
        self.window_ms = window_ms
        self.width_ms = max(MIN_BIN_MS, -(-window_ms // BINS))
        self._counter = counter
        self._bins = -(-window_ms // self.width_ms) + 1
        """One more than the window holds: the newest is being filled."""
        self._ids = np.full((capacity, self._bins), _NEVER, np.int64)
        self._count = np.zeros((capacity, self._bins), np.int32)
        self._sum = np.zeros((capacity, self._bins))
        self._squares = np.zeros((capacity, self._bins))
        self._low = np.full((capacity, self._bins), np.inf)
        self._high = np.full((capacity, self._bins), -np.inf)
        self._first = np.full((capacity, self._bins), np.nan)
        self._last = np.full((capacity, self._bins), np.nan)
        self._before = np.full(capacity, np.nan)
        self._newest = np.full(capacity, _NEVER, np.int64)
        self._answers: dict[Reduction, _Answer] = {}

    def grow(self, capacity: int) -> None:
        """Room for more slots."""
        more = capacity - len(self._newest)
        if more <= 0:
            return
        fresh = Bins(self.window_ms, more)
        for name in (
            *("_ids", "_count", "_sum", "_squares", "_low", "_high", "_first", "_last"),
            *("_before", "_newest"),
        ):
            setattr(self, name, np.concatenate([getattr(self, name), getattr(fresh, name)]))
        self._answers.clear()

    def forget(self, slot: int) -> None:
        """Another subject is in this slot now."""
        self._ids[slot] = self._newest[slot] = _NEVER
        self._before[slot] = np.nan
        for answer in self._answers.values():
            answer.read_at[slot] = _NEVER

    def feed(self, slots: Ints, ticks: Ints, values: Floats) -> None:
        """One sample of each of these slots (ms; NaN: absent)."""
        ids = ticks // self.width_ms
        back = ids < self._newest[slots]
        if back.any():  # the clock was set back: what lies in the future is of another time
            for slot in slots[back].tolist():
                self.forget(slot)
        self._newest[slots] = ids
        known = ~np.isnan(values)
        if not known.all():
            slots, ids, values = slots[known], ids[known], values[known]
        if self._counter:  # what it grew by; a smaller value is a new baseline
            before = self._before[slots]
            self._before[slots] = values
            values = np.where(values >= before, values - before, 0.0)
        place = ids % self._bins
        new = self._ids[slots, place] != ids
        if new.any():
            s, p = slots[new], place[new]
            self._ids[s, p] = ids[new]
            self._count[s, p] = 0
            self._sum[s, p] = self._squares[s, p] = 0.0
            self._low[s, p], self._high[s, p] = np.inf, -np.inf
            self._first[s, p] = values[new]
        self._count[slots, place] += 1
        self._sum[slots, place] += values
        self._squares[slots, place] += values * values
        self._low[slots, place] = np.minimum(self._low[slots, place], values)
        self._high[slots, place] = np.maximum(self._high[slots, place], values)
        self._last[slots, place] = values

    def read(self, slots: Ints, reduction: Reduction, interval_ms: Ints) -> Floats:
        """The reduction for these slots, NaN until half of the window is covered."""
        answer = self._answers.get(reduction)
        if answer is None:
            answer = self._answers[reduction] = _Answer(len(self._newest))
        due = slots[answer.read_at[slots] != self._newest[slots]]
        if len(due):
            answer.value[due] = self._reduced(due, reduction, interval_ms[due])
            answer.read_at[due] = self._newest[due]
        return answer.value[slots]

    def _reduced(self, slots: Ints, reduction: Reduction, interval_ms: Ints) -> Floats:
        newest = self._newest[slots][:, None]
        ids = self._ids[slots]
        valid = (ids > newest - self._bins) & (ids <= newest)
        count = np.where(valid, self._count[slots], 0)
        n = count.sum(axis=1)
        covered = n * interval_ms * 2 >= self.window_ms
        with np.errstate(divide="ignore", invalid="ignore"):
            answer = self._numbers(slots, reduction, valid, ids, n)
        return np.where(covered & (n > 0), answer, np.nan)

    def _numbers(
        self,
        slots: Ints,
        reduction: Reduction,
        valid: NDArray[np.bool_],
        ids: Ints,
        n: Ints,
    ) -> Floats:
        def total(column: Floats) -> Floats:
            result: Floats = np.where(valid, column[slots], 0.0).sum(axis=1)
            return result

        result: Floats
        match reduction:
            case Reduction.AVG:
                result = total(self._sum) / n
            case Reduction.STDDEV:
                mean = total(self._sum) / n
                result = np.sqrt(np.maximum(total(self._squares) / n - mean * mean, 0.0))
            case Reduction.MIN:
                result = np.where(valid, self._low[slots], np.inf).min(axis=1)
            case Reduction.MAX:
                result = np.where(valid, self._high[slots], -np.inf).max(axis=1)
            case Reduction.DELTA if self._counter:
                result = total(self._sum)
            case Reduction.DELTA:
                at = np.arange(len(slots))
                first = np.where(valid, ids, 1 << 60).argmin(axis=1)
                last = np.where(valid, ids, _NEVER).argmax(axis=1)
                result = self._last[slots][at, last] - self._first[slots][at, first]
        return result
