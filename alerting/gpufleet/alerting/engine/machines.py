"""The state machines of one rule over all slots, in numpy; ``machine.py`` says what they do.

The work in Python grows with transitions: where nobody is bad and no alert is open, a round costs
two looks at masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.engine.machine import Alert, Timing
from gpufleet.alerting.state import Kind, State

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

STATES: tuple[State, ...] = (
    State.OK,
    State.PENDING,
    State.FIRING,
    State.RECOVERING,
    State.NO_DATA,
)
OK, PENDING, FIRING, RECOVERING, NO_DATA = range(5)
CODES = {state: code for code, state in enumerate(STATES)}


@dataclass(frozen=True, slots=True)
class Happened:
    """A transition of the alert in ``slot``."""

    slot: int
    kind: Kind
    time_ms: int


class Machines:
    """Arrays by slot. ``kept`` marks slots of which more is known than that all is well."""

    def __init__(self, timing: Timing, capacity: int) -> None:
        self.timing = timing
        self.state = np.zeros(capacity, np.int8)
        self.since_ms = np.zeros(capacity, np.int64)
        self.fired_ms = np.zeros(capacity, np.int64)
        self.good_since_ms = np.zeros(capacity, np.int64)
        self.last_ms = np.zeros(capacity, np.int64)
        self.epoch = np.zeros(capacity, np.int64)
        self.kept = np.zeros(capacity, np.bool_)
        self.gap_ms = np.full(capacity, timing.max_gap_ms, np.int64)
        self.interval_ms = np.full(capacity, timing.interval_ms, np.int64)

    def grow(self, capacity: int) -> None:
        """Room for more slots."""
        more = capacity - len(self.state)
        if more <= 0:
            return
        fresh = Machines(self.timing, more)
        for name in (
            *("state", "since_ms", "fired_ms", "good_since_ms", "last_ms", "epoch", "kept"),
            *("gap_ms", "interval_ms"),
        ):
            setattr(self, name, np.concatenate([getattr(self, name), getattr(fresh, name)]))

    def forget(self, slot: int) -> None:
        """Nothing is known of this slot any more."""
        self.put(slot, Alert())
        self.kept[slot] = False

    def put(self, slot: int, alert: Alert) -> None:
        """Go on from this."""
        self.state[slot] = CODES[alert.state]
        self.since_ms[slot] = alert.since_ms
        self.fired_ms[slot] = alert.fired_ms
        self.good_since_ms[slot] = alert.good_since_ms
        self.last_ms[slot] = alert.last_ms
        self.epoch[slot] = alert.epoch
        self.kept[slot] = True

    def get(self, slot: int) -> Alert:
        """The alert in this slot."""
        return Alert(
            STATES[int(self.state[slot])],
            int(self.since_ms[slot]),
            int(self.fired_ms[slot]),
            int(self.good_since_ms[slot]),
            int(self.last_ms[slot]),
            int(self.epoch[slot]),
        )

    def open_slots(self, state: int) -> Ints:
        """Slots in this state."""
        return np.flatnonzero(self.state == state)

    def step(
        self, slots: Ints, times_ms: Ints, epochs: Ints, bad: Flags, good: Flags, known: Flags
    ) -> list[Happened]:
        """One sample of each slot, all arrays (n,); a slot comes once."""
        look = (bad & known) | self.kept[slots]
        if not look.any():
            return []
        if not look.all():
            slots, times_ms, epochs = slots[look], times_ms[look], epochs[look]
            bad, good, known = bad[look], good[look], known[look]
        bad, good = bad & known, good & known
        last, has = self.last_ms[slots], self.last_ms[slots] > 0
        set_back = has & (epochs != self.epoch[slots]) & (times_ms <= last)
        if set_back.any():
            by = np.where(set_back, times_ms - self.interval_ms[slots] - last, 0)
            self.since_ms[slots] += by
            self.good_since_ms[slots] += by
            self.last_ms[slots] = last = last + by
        new = ~(has & ~set_back & (times_ms <= last))
        found: list[Happened] = []
        gap = new & (self.state[slots] != OK) & (times_ms - last > self.gap_ms[slots])
        if gap.any():
            found += self._gap(slots[gap], times_ms[gap])
        new &= known
        if new.any():
            slots, times_ms, epochs = slots[new], times_ms[new], epochs[new]
            found += self._samples(slots, times_ms, bad[new], good[new])
            self.last_ms[slots] = times_ms
            self.epoch[slots] = epochs
            self.kept[slots] = True
        return found

    def silence(self, slots: Ints, now_ms: int) -> list[Happened]:
        """These have been silent for longer than max_gap, as the hub heard; pending ones stay."""
        return self.lapse(slots[self.state[slots] != PENDING], now_ms)

    def lapse(self, slots: Ints, now_ms: int) -> list[Happened]:
        """Of these nothing was known for longer than max_gap."""
        slots = slots[self.state[slots] != OK]
        return self._gap(slots, np.full(len(slots), now_ms, np.int64))

    def settle(self, before_ms: int) -> None:
        """Forget what is well and was last heard of before then: no sample of then comes again."""
        done = self.kept & (self.state == OK) & (self.last_ms < before_ms)
        self.kept[done] = False
        self.last_ms[done] = 0

    def _gap(self, slots: Ints, times_ms: Ints) -> list[Happened]:
        state = self.state[slots]
        lost = state == PENDING
        found = self._become(slots, times_ms, lost, OK, Kind.PENDING_LOST)
        self.since_ms[slots[lost]] = 0
        fired = (state == FIRING) | (state == RECOVERING)
        return found + self._become(slots, times_ms, fired, NO_DATA, Kind.NO_DATA)

    def _samples(self, slots: Ints, times_ms: Ints, bad: Flags, good: Flags) -> list[Happened]:
        timing, state = self.timing, self.state[slots].copy()
        keeps = timing.keep_firing_ms > 0
        found: list[Happened] = []

        begins = (state == OK) & bad
        if begins.any():
            self.since_ms[slots[begins]] = times_ms[begins]
        pending = state == PENDING
        held = times_ms - self.since_ms[slots]
        enough = held >= timing.for_ms if timing.for_inclusive else held > timing.for_ms
        if timing.for_ms == 0:
            enough = np.ones_like(enough)
        fires = (begins | (pending & bad)) & enough
        self.fired_ms[slots[fires]] = times_ms[fires]
        found += self._become(slots, times_ms, begins & ~fires, PENDING, Kind.PENDING)
        found += self._become(slots, times_ms, fires, FIRING, Kind.FIRED)
        cleared = pending & ~bad
        found += self._become(slots, times_ms, cleared, OK, Kind.CLEARED)
        self.since_ms[slots[cleared]] = 0

        better = ((state == FIRING) | (state == NO_DATA)) & good
        self.good_since_ms[slots[better]] = times_ms[better]
        if keeps:
            found += self._become(slots, times_ms, better, RECOVERING, Kind.RECOVERING)
        else:
            found += self._become(slots, times_ms, better, OK, Kind.RESOLVED)
        returned = (state == NO_DATA) & ~good
        found += self._become(slots, times_ms, returned, FIRING, Kind.RETURNED)

        recovering = state == RECOVERING
        found += self._become(slots, times_ms, recovering & bad, FIRING, Kind.RELAPSED)
        between = slots[recovering & ~bad & ~good]
        self.good_since_ms[between] = times_ms[recovering & ~bad & ~good]
        kept_long = times_ms - self.good_since_ms[slots] >= timing.keep_firing_ms
        over = recovering & ~bad & good & kept_long
        return found + self._become(slots, times_ms, over, OK, Kind.RESOLVED)

    def _become(
        self, slots: Ints, times_ms: Ints, which: Flags, state: int, kind: Kind
    ) -> list[Happened]:
        if not which.any():
            return []
        self.state[slots[which]] = state
        pairs = zip(slots[which].tolist(), times_ms[which].tolist(), strict=True)
        return [Happened(slot, kind, time_ms) for slot, time_ms in pairs]
