"""Finds power that jumped without a change of load and stays there, over a whole fleet at once.

A step lasts seconds while an alert waits for minutes, so what is found is *latched*: the old level
is remembered, and the step lasts until power is near it again, the load changes, or what runs on
the GPU does. Pure: a caller feeds samples in the order of each node, and says what changed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.power.latch import Latch, Level, Memory, Step
from gpufleet.alerting.power.means import KEPT, RECENT, WIDTH_MS, Means, Medians

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

STEP = 0.25
"""Power has to move by more than this share of the enforced limit …"""
STEADY = 0.15
"""… while utilisation moves by less than this …"""
APART = 0.15
"""… and the step lasts while power is at least this share of the limit away from where it was …"""
MOVED = 0.25
"""… until utilisation has moved by more than this."""
SEEN = 0.1
"""A level at which more than this share of the five minutes before was spent is not new: many
programs alternate between two, and the way back from a pause is no step."""
SAME_LIMIT = 0.01
"""Limits that differ by less are the same: some boards tell a mean of theirs."""

HISTORY_MS = (KEPT + 1) * WIDTH_MS
"""So far back ``refill`` has to begin."""


class PowerSteps:
    """The steps of all slots. ``flags`` is what ``power_step()`` is in rules."""

    def __init__(self, capacity: int = 256) -> None:
        self._means = Means(capacity)
        self._limit = np.full(capacity, np.nan)
        self._told = np.zeros(capacity, np.bool_)
        """The newest sample had a power and a limit."""
        self._known = np.zeros(capacity, np.bool_)
        self._level = np.full(capacity, np.nan)
        """The median of the last minute when it was last looked at."""
        self._latched = np.zeros(capacity, np.bool_)
        self._before = np.full(capacity, np.nan)
        self._utilization_before = np.full(capacity, np.nan)
        self._since_ms = np.zeros(capacity, np.int64)
        self._home = np.zeros(capacity, np.bool_)
        """A step has ended: the level before it is the measure until there is a new one."""

    @property
    def capacity(self) -> int:
        """How many slots there is room for."""
        return self._means.capacity

    def grow(self, capacity: int) -> None:
        """Room for more slots."""
        more = capacity - self.capacity
        if more > 0:
            fresh = PowerSteps(more)
            for name, column in vars(self).items():
                if isinstance(column, np.ndarray):
                    setattr(self, name, np.concatenate([column, getattr(fresh, name)]))
            self._means.grow(capacity)

    def forget(self, slot: int) -> None:
        """Another GPU is in this slot now, or none."""
        self._means.forget(np.array([slot]))
        self._limit[slot] = self._level[slot] = np.nan
        self._told[slot] = self._known[slot] = self._latched[slot] = self._home[slot] = False

    # Running

    def feed(
        self,
        slots: Ints,
        ticks: Ints,
        intervals_ms: Ints,
        power_watts: Floats,
        limit_watts: Floats,
        utilization_ratio: Floats,
    ) -> None:
        """One sample of each of these slots (n,), no slot twice; NaN: absent.

        ``ticks`` are the samples' own times (ms), in the order of each node; ``intervals_ms`` what
        lies between samples, 1 to 60 s.
        """
        limit = np.where(limit_watts > 0.0, limit_watts, np.nan)
        former = self._limit[slots]
        changed = np.abs(limit - former) > SAME_LIMIT * former
        power = power_watts / limit
        self._limit[slots] = np.where(changed | np.isnan(former), limit, former)
        due = self._take(slots, ticks, intervals_ms, power, utilization_ratio)
        if changed.any():  # after the sample: it is the first under the new limit
            self.note_changed(slots[changed], ticks[changed])
        if len(due):
            self._judge(slots[due], ticks[due])

    def refill(
        self,
        slots: Ints,
        ticks: Ints,
        intervals_ms: Ints,
        power_watts: Floats,
        limit_watts: Floats,
        utilization_ratio: Floats,
    ) -> None:
        """As ``feed``, of stored samples that were judged before a restart: after ``restore``."""
        limit = np.where(limit_watts > 0.0, limit_watts, np.nan)
        self._limit[slots] = np.where(np.isnan(limit), self._limit[slots], limit)
        due = self._take(slots, ticks, intervals_ms, power_watts / limit, utilization_ratio)
        if len(due):
            self._look(slots[due])

    def note_changed(self, slots: Ints, times_ms: Ints) -> None:
        """Processes or MIG mode of these slots changed at these times: steps around it are no
        steps, and power before it is no measure."""
        numbers = self._means.number_at(slots, times_ms)
        self._means.count_from(slots, numbers + 1)
        found = self._means.number_at(slots, self._since_ms[slots])
        over = slots[self._latched[slots] & (numbers >= found - KEPT)]
        self._latched[over] = False
        self._known[over] = True  # that the step is over
        self._home[slots] = False

    def _take(
        self, slots: Ints, ticks: Ints, intervals_ms: Ints, power: Floats, utilization: Floats
    ) -> NDArray[np.intp]:
        self._told[slots] = ~np.isnan(power)
        return self._means.feed(slots, ticks, intervals_ms, power, utilization)

    def _look(self, slots: Ints) -> Medians:
        medians = self._means.medians(slots, APART)
        now = ~np.isnan(medians.power) & ~np.isnan(medians.utilization)
        then = ~np.isnan(medians.power_before) & ~np.isnan(medians.utilization_before)
        cut = self._means.cut(slots)
        # Where the past was cut off there is no step for now; where it was not told, who knows?
        self._known[slots] = now & (then | self._latched[slots] | cut)
        self._level[slots] = medians.power
        self._home[slots] &= cut & ~then
        return medians

    def _judge(self, slots: Ints, ticks: Ints) -> None:
        medians = self._look(slots)
        latched, home = self._latched[slots], self._home[slots]
        power_before = np.where(home, self._before[slots], medians.power_before)
        utilization_before = np.where(
            home, self._utilization_before[slots], medians.utilization_before
        )
        # NaN compares false: what is not known neither finds nor ends a step.
        found = (
            ~latched
            & (np.abs(medians.power - power_before) > STEP)
            & (np.abs(medians.utilization - utilization_before) < STEADY)
            & (home | (medians.seen <= SEEN))
        )
        ended = latched & (
            (np.abs(medians.power - self._before[slots]) < APART)
            | (np.abs(medians.utilization - self._utilization_before[slots]) > MOVED)
        )
        if ended.any():  # the way back is no step: what was during the step is no measure
            numbers = self._means.number_at(slots[ended], ticks[ended])
            self._means.count_from(slots[ended], numbers - RECENT)
            self._latched[slots[ended]] = False
            self._known[slots[ended]] = True
            self._home[slots[ended]] = True
        if found.any():
            these = slots[found]
            self._latched[these] = True
            self._before[these] = power_before[found]
            self._utilization_before[these] = utilization_before[found]
            self._since_ms[these] = ticks[found]
            self._home[these] = False

    # What is told

    @property
    def flags(self) -> Floats:
        """(capacity,): 1 where a step lasts, 0 where none does, NaN where it is not known."""
        known = self._known & self._told
        result: Floats = np.where(known, self._latched.astype(np.float64), np.nan)
        return result

    def latched(self, slots: Ints) -> Flags:
        """Whether a step was found and has not ended; it may be that nothing is known just now."""
        return self._latched[slots]

    def step(self, slot: int) -> Step | None:
        """What there is to tell of the step at this slot; None: there is none."""
        if not self._latched[slot]:
            return None
        limit = float(self._limit[slot])
        level = float(self._level[slot])
        return Step(
            before_watts=float(self._before[slot]) * limit,
            watts=None if np.isnan(level) else level * limit,
            limit_watts=limit,
            since_ms=int(self._since_ms[slot]),
        )

    # What survives

    def memory(self, slots: Iterable[int]) -> dict[int, Memory]:
        """What has to be stored of these slots; those that are not named need nothing."""
        found = {}
        for slot in slots:
            latch = None
            if self._latched[slot]:
                latch = Latch(
                    float(self._before[slot]),
                    float(self._utilization_before[slot]),
                    float(self._limit[slot]),
                    int(self._since_ms[slot]),
                )
            home = None
            if self._home[slot]:
                home = Level(float(self._before[slot]), float(self._utilization_before[slot]))
            memory = Memory(latch, self._means.counts_from_ms(slot), home)
            if memory != Memory():
                found[slot] = memory
        return found

    def restore(self, slot: int, memory: Memory) -> None:
        """Go on with what was stored of the GPU that is in this slot now; then ``refill``."""
        if memory.from_ms is not None:
            one = np.array([slot])
            number = self._means.number_at(one, np.array([memory.from_ms + WIDTH_MS - 1]))
            self._means.count_from(one, number)
        home, latch = memory.home, memory.latch
        if home is not None:
            self._home[slot] = True
            self._before[slot] = home.power
            self._utilization_before[slot] = home.utilization
        if latch is not None:
            self._latched[slot] = True
            self._before[slot] = latch.power_before
            self._utilization_before[slot] = latch.utilization_before
            self._limit[slot] = latch.limit_watts
            self._since_ms[slot] = latch.since_ms
