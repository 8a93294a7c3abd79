"""Six minutes of power and utilisation of a fleet, in means of ten seconds, and their medians.

Medians of single samples would cost 70 ms for 8,000 GPUs and five minutes; those of means cost a
tenth, and a slot's means are completed at another second than its neighbour's, so that each second
has a tenth of the fleet to look at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

WIDTH_MS = 10_000
RECENT = 6
"""Means in the last minute."""
BEFORE = 30
"""Means in the five minutes before it."""
KEPT = RECENT + BEFORE

_NEVER = -(1 << 60)
_AGES = np.arange(KEPT)
_STAGGER = WIDTH_MS // 1000


@dataclass(frozen=True, slots=True)
class Medians:
    """Medians of the last minute and of the five before it, (n,) each.

    NaN where samples cover less than half of a window. Power is in shares of the enforced limit.
    """

    power: Floats
    power_before: Floats
    utilization: Floats
    utilization_before: Floats
    seen: Floats
    """The share of the means before that lie near the power of the last minute; 0: it is new."""


class Means:
    """Means of ten seconds for every slot. The clock is the samples' own."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._newest = np.full(capacity, _NEVER, np.int64)
        """The number of the mean that is being filled."""
        self._from = np.full(capacity, _NEVER, np.int64)
        """Means of lower numbers do not count."""
        self._power_sum = np.zeros(capacity)
        self._power_count = np.zeros(capacity, np.int64)
        self._utilization_sum = np.zeros(capacity)
        self._utilization_count = np.zeros(capacity, np.int64)
        self._ids = np.full((capacity, KEPT), _NEVER, np.int64)
        self._power = np.full((capacity, KEPT), np.nan)
        self._utilization = np.full((capacity, KEPT), np.nan)
        self._power_cover = np.zeros((capacity, KEPT))
        self._utilization_cover = np.zeros((capacity, KEPT))

    def grow(self, capacity: int) -> None:
        """Room for more slots."""
        if capacity > self.capacity:
            fresh = Means(capacity - self.capacity)
            for name, column in vars(self).items():
                if isinstance(column, np.ndarray):
                    setattr(self, name, np.concatenate([column, getattr(fresh, name)]))
            self.capacity = capacity

    def forget(self, slots: Ints) -> None:
        """Nothing is known of these slots."""
        self._newest[slots] = self._from[slots] = _NEVER
        self._ids[slots] = _NEVER
        self._empty(slots)

    def number_at(self, slots: Ints, times_ms: Ints) -> Ints:
        """The number of the mean that each time (ms) belongs to."""
        found: Ints = (times_ms - slots % _STAGGER * 1000) // WIDTH_MS
        return found

    def count_from(self, slots: Ints, numbers: Ints) -> None:
        """What was before the means of these numbers is no measure any more."""
        self._from[slots] = np.maximum(self._from[slots], numbers)

    def cut(self, slots: Ints) -> Flags:
        """Where ``count_from`` left out some of what would lie in the windows now."""
        result: Flags = self._from[slots] > self._newest[slots] - KEPT
        return result

    def counts_from_ms(self, slot: int) -> int | None:
        """The time (ms) before which nothing counts; None: all that is kept does."""
        first = int(self._from[slot])
        if first == _NEVER or first <= self._newest[slot] - KEPT:
            return None
        return first * WIDTH_MS + slot % _STAGGER * 1000

    def feed(
        self, slots: Ints, ticks: Ints, intervals_ms: Ints, power: Floats, utilization: Floats
    ) -> NDArray[np.intp]:
        """One sample of each of these slots (ms; NaN: absent), in the order of its node.

        A sample stands for its interval, 60 s at most: the means that lie in it have its value.
        Returns the places in ``slots`` for which a mean was completed.
        """
        intervals_ms = np.minimum(intervals_ms, RECENT * WIDTH_MS)
        numbers = self.number_at(slots, ticks)
        newest = self._newest[slots]
        behind = numbers < newest
        if behind.any():
            numbers = np.where(numbers == newest - 1, newest, numbers)  # the clock was trimmed
            back = numbers < newest
            self.forget(slots[back])  # the clock was set back: what lies ahead is of another time
            newest = self._newest[slots]
        crossed = numbers > newest
        completed = crossed & (newest != _NEVER)
        if completed.any():
            self._complete(slots[completed], newest[completed], intervals_ms[completed])
        if crossed.any():
            self._empty(slots[crossed])
            self._newest[slots[crossed]] = numbers[crossed]
        for back_by in range(1, -(-int(intervals_ms.max(initial=0)) // WIDTH_MS)):
            inside = (numbers - back_by > newest) & (back_by * WIDTH_MS < intervals_ms)
            self._put(
                slots[inside], numbers[inside] - back_by, power[inside], utilization[inside], 1.0
            )
        self._add(self._power_sum, self._power_count, slots, power)
        self._add(self._utilization_sum, self._utilization_count, slots, utilization)
        return np.flatnonzero(completed)

    @staticmethod
    def _add(sums: Floats, counts: Ints, slots: Ints, values: Floats) -> None:
        known = ~np.isnan(values)
        if not known.all():
            slots, values = slots[known], values[known]
        sums[slots] += values
        counts[slots] += 1

    def _empty(self, slots: Ints) -> None:
        self._power_sum[slots] = self._utilization_sum[slots] = 0.0
        self._power_count[slots] = self._utilization_count[slots] = 0

    def _complete(self, slots: Ints, numbers: Ints, intervals_ms: Ints) -> None:
        power, utilization = self._power_count[slots], self._utilization_count[slots]
        with np.errstate(invalid="ignore"):
            self._put(
                slots,
                numbers,
                self._power_sum[slots] / power,
                self._utilization_sum[slots] / utilization,
                np.minimum(1.0, power * intervals_ms / WIDTH_MS),
                np.minimum(1.0, utilization * intervals_ms / WIDTH_MS),
            )

    def _put(
        self,
        slots: Ints,
        numbers: Ints,
        power: Floats,
        utilization: Floats,
        power_cover: Floats | float,
        utilization_cover: Floats | float = 1.0,
    ) -> None:
        place = numbers % KEPT
        self._ids[slots, place] = numbers
        self._power[slots, place] = power
        self._utilization[slots, place] = utilization
        self._power_cover[slots, place] = power_cover
        self._utilization_cover[slots, place] = utilization_cover

    def medians(self, slots: Ints, near: float) -> Medians:
        """Of the means that are completed; ``near`` is what ``seen`` calls near."""
        wanted = self._newest[slots][:, None] - 1 - _AGES
        rows, place = slots[:, None], wanted % KEPT
        counts = (self._ids[rows, place] == wanted) & (wanted >= self._from[slots][:, None])
        power = np.where(counts, self._power[rows, place], np.nan)
        utilization = np.where(counts, self._utilization[rows, place], np.nan)
        power_cover = np.where(np.isnan(power), 0.0, self._power_cover[rows, place])
        cover = np.where(np.isnan(utilization), 0.0, self._utilization_cover[rows, place])
        level = _median(power[:, :RECENT], power_cover[:, :RECENT])
        before = power[:, RECENT:]
        like = np.count_nonzero(np.abs(before - level[:, None]) < near, axis=1)
        told = np.count_nonzero(~np.isnan(before), axis=1)
        return Medians(
            power=level,
            power_before=_median(before, power_cover[:, RECENT:]),
            utilization=_median(utilization[:, :RECENT], cover[:, :RECENT]),
            utilization_before=_median(utilization[:, RECENT:], cover[:, RECENT:]),
            seen=like / np.maximum(told, 1),
        )


def _median(values: Floats, covered: Floats) -> Floats:
    """(n, k) → (n,): of what is there; NaN where that covers less than half."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = np.count_nonzero(~np.isnan(values), axis=1)
    row = np.arange(len(values))
    low = ordered[row, np.maximum(count - 1, 0) // 2]
    high = ordered[row, np.minimum(count // 2, values.shape[1] - 1)]
    enough = covered.sum(axis=1) * 2 >= values.shape[1] - 1e-9
    result: Floats = np.where(enough, (low + high) / 2, np.nan)
    return result
