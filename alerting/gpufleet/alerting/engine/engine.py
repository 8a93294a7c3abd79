"""The engine: every rule over every subject, driven by samples and by the hub's own clock.

Pure: time and values come in, transitions come out. What a caller stores of it (``standing``) and
gives back after a restart (``restore``) is all that has to survive; windows are filled again from
stored samples (``refill``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.engine.frozen_watch import FrozenWatch
from gpufleet.alerting.engine.machines import (
    CODES,
    FIRING,
    NO_DATA,
    OK,
    PENDING,
    Happened,
)
from gpufleet.alerting.engine.power_watch import PowerWatch
from gpufleet.alerting.engine.running import Running, Standing, Subject, Transition, digest
from gpufleet.alerting.rules.evaluate import Round, World
from gpufleet.alerting.rules.rule import Rule, RuleSet
from gpufleet.alerting.rules.schema import Schema
from gpufleet.alerting.rules.tree import FlagName, parts
from gpufleet.alerting.rules.tree import Xid as XidNode
from gpufleet.alerting.state import Kind, Scope, State

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

TOMBSTONE_MS = 600_000
"""So long after a sample it may come again (a hub that was killed): until then what is well again
is kept, so that it is not taken for a new one."""


class Engine:
    """Holds the rules in force. One caller at a time; nothing here blocks or reads a clock."""

    def __init__(self, rules: RuleSet, schema: Schema, capacity: int = 256) -> None:
        self.schema = schema
        self.world = World(schema, capacity)
        self.power = PowerWatch(self.world, schema)
        self.frozen = FrozenWatch(self.world, schema)
        self.subjects: dict[int, Subject] = {}
        self._slots: dict[tuple[Scope, str], int] = {}
        self._running: dict[str, Running] = {}
        self._waiting: dict[tuple[Scope, str], list[Standing]] = {}
        """Standings of subjects that are not here yet."""
        self.rules = RuleSet(())
        self.replace_rules(rules)

    # Rules and subjects

    def replace_rules(self, rules: RuleSet) -> list[Standing]:
        """New rules; standings of rules that are gone, or have another condition, come back.

        Text, severity, labels and times may change without an alert losing its t0; a longer
        ``for`` does not take back what fired.
        """
        before, self._running = self._running, {}
        dropped: list[Standing] = []
        enabled = [rule for rule in rules.rules if rule.enabled]
        conditions = [r.condition for r in enabled] + [r.clear for r in enabled if r.clear]
        self.world.keep_only(conditions)
        for condition in conditions:
            self.world.prepare(condition)
        for rule in enabled:
            former = before.pop(rule.name, None)
            if former is not None and former.digest == digest(rule):
                former.edited(rule)
                running = former
            else:
                if former is not None:
                    dropped += self._standings(former)
                running = Running(rule, self.schema, self.world.capacity)
            self._running[rule.name] = running
            left = [running.place(slot, subject) for slot, subject in self.subjects.items()]
            dropped += [standing for standing in left if standing is not None]
        for former in before.values():
            dropped += self._standings(former)
        self.rules = rules
        self.power.follow(rules)
        self.frozen.follow(rules)
        return _open(dropped)

    def set_subject(self, slot: int, subject: Subject) -> list[Standing]:
        """A subject is in ``slot``, or what is known of it changed. Restored alerts go on.

        Alerts come back whose rules are not for it any more.
        """
        if slot >= self.world.capacity:
            self._grow(max(slot + 1, 2 * self.world.capacity))
        before = self.subjects.get(slot)
        if before is not None and (before.kind, before.key) != (subject.kind, subject.key):
            self.remove(slot)
        self.subjects[slot] = subject
        self._slots[subject.kind, subject.key] = slot
        self.world.interval_ms[slot] = subject.interval_ms
        self.world.node_slot[slot] = -1
        if subject.node_slot is not None and subject.kind is Scope.GPU:
            self.world.node_slot[slot] = subject.node_slot
        for name, column in self.world.facts.items():
            fact = subject.facts.get(name)
            number = isinstance(fact, int | float) and not isinstance(fact, bool)
            column[slot] = fact if number else np.nan
        left = [running.place(slot, subject) for running in self._running.values()]
        waited = self._waiting.pop((subject.kind, subject.key), ())
        return _open([*left, *(self._put(slot, standing) for standing in waited)])

    def set_facts(self, name: str, values: Floats) -> None:
        """A fact of the hub's for every slot, (capacity,) or shorter; NaN: not known."""
        column = self.world.facts[name]
        column[: len(values)] = values

    def remove(self, slot: int) -> list[Standing]:
        """The subject has left: its open alerts come back, for the caller to close."""
        subject = self.subjects.pop(slot, None)
        if subject is None:
            return []
        del self._slots[subject.kind, subject.key]
        left = [running.take_out(slot, subject) for running in self._running.values()]
        self.world.forget(slot)
        self.power.forget(slot)
        self.frozen.forget(slot)
        self.world.node_slot[slot] = -1
        return _open(left)

    def _grow(self, capacity: int) -> None:
        self.world.grow(capacity)
        for running in self._running.values():
            running.grow(capacity)

    # Running

    def step_samples(
        self, slots: Ints, epochs: Ints, ticks: Ints, values: Floats
    ) -> list[Transition]:
        """One sample of each of ``slots`` (n,); ``values`` is (rows, >= capacity) by slot."""
        return self._step(True, slots, epochs, ticks, values)

    def step_hub(self, now_ms: int, values: Floats, *, concluding: bool = True) -> list[Transition]:
        """What only the hub knows, for every subject, once a second: health, flags, Xids.

        ``values`` as above, with NaN where the hub does not know; ``concluding``: it has listened
        for long enough to know that it does not know.
        """
        slots = np.fromiter(self.subjects, np.int64, len(self.subjects))
        times = np.full(len(slots), now_ms, np.int64)
        epochs = np.zeros(len(slots), np.int64)
        return self._step(False, slots, epochs, times, values, concluding)

    def _step(
        self,
        by_samples: bool,
        slots: Ints,
        epochs: Ints,
        times_ms: Ints,
        values: Floats,
        concluding: bool = False,
    ) -> list[Transition]:
        if not len(slots):
            return []
        if by_samples:  # first: what is worked out in the round may ask for these flags
            self.power.feed(slots, times_ms, values)
            self.frozen.feed(slots, times_ms, values)
        look = Round(self.world, slots, times_ms, values)
        look.remember(sampled=by_samples)
        found: list[Transition] = []
        for running in self._running.values():
            if running.by_samples is by_samples:
                found += self._step_rule(running, look, epochs, concluding)
        look.latch(sampled=by_samples)
        return found

    def _step_rule(
        self, running: Running, look: Round, epochs: Ints, concluding: bool
    ) -> list[Transition]:
        rule, machines, slots = running.rule, running.machines, look.slots
        if not machines.kept.any() and not look.holds_somewhere(rule.condition):
            return []
        true, false = look.condition(rule.condition)
        here = running.subjects[slots]
        bad = true & here
        kept = machines.kept[slots]
        if not bad.any() and not kept.any():
            return []
        good, known = false, true | false
        if rule.clear is not None:
            cleared, _ = look.condition(rule.clear)
            good = false & cleared
        happened = []
        if not running.by_samples:
            now_ms = int(look.times_ms[0])
            happened = running.lapsed(slots[here], known[here], now_ms, concluding=concluding)
        happened += machines.step(slots, look.times_ms, epochs, bad, good & here, known & here)
        watched = np.flatnonzero(bad | (kept & (machines.state[slots] != OK)))
        if len(watched):
            running.note_values(look.part_of(watched))
        return [self._transition(running, one) for one in happened]

    def _transition(self, running: Running, happened: Happened) -> Transition:
        return running.transition(happened, self.subjects[happened.slot])

    def silence(self, silent_ms: Ints, now_ms: int) -> list[Transition]:
        """For how long, in listening time, no sample of each slot has come: (capacity,) or less."""
        found: list[Transition] = []
        for running in self._running.values():
            if running.by_samples:
                for one in running.fall_silent(silent_ms[: self.world.capacity], now_ms):
                    found.append(self._transition(running, one))
        return found

    def set_stale(self, stale: Flags) -> None:
        """Subjects that are not heard from now, by slot: their old values are counted no more."""
        self.world.stale[: len(stale)] = stale[: self.world.capacity]

    def note_xid(self, slot: int, code: int, time_ms: int) -> list[Transition]:
        """An Xid came to the GPU in ``slot``. Open alerts that name it count it: REPEATED."""
        self.world.xids.setdefault(slot, {})[code] = time_ms
        found: list[Transition] = []
        for running in self._running.values():
            machines = running.machines
            if machines.state[slot] not in (FIRING, NO_DATA, CODES[State.RECOVERING]):
                continue
            for part in parts(running.rule.condition):
                if isinstance(part, XidNode) and (not part.codes or code in part.codes):
                    running.count[slot] += 1
                    found.append(self._transition(running, Happened(slot, Kind.REPEATED, time_ms)))
                    break
        return found

    def set_flag(self, name: FlagName, values: Floats) -> None:
        """A flag of the hub's for every slot: 1, 0 or NaN."""
        self.world.flags[name][: len(values)] = values[: self.world.capacity]

    def close(self, rule: str, slot: int, now_ms: int) -> Transition | None:
        """An operator ends an alert; a condition that still holds begins anew."""
        running = self._running.get(rule)
        if running is None or running.machines.state[slot] in (OK, PENDING):
            return None
        machines = running.machines
        machines.put(slot, replace(machines.get(slot), state=State.OK))
        return self._transition(running, Happened(slot, Kind.CLOSED, now_ms))

    def settle(self, now_ms: int) -> None:
        """Forget alerts that have long been well."""
        for running in self._running.values():
            kept = running.machines.kept.copy()
            running.machines.settle(now_ms - TOMBSTONE_MS)
            running.changed.update(np.flatnonzero(kept & ~running.machines.kept).tolist())

    # What survives

    def refill(self, slots: Ints, ticks: Ints, values: Floats) -> None:
        """Fill windows and latches from a stored sample of each slot; no rule is evaluated."""
        look = Round(self.world, slots, ticks, values)
        look.remember(sampled=True)
        look.latch(sampled=True)
        self.power.feed(slots, ticks, values, judged=True)

    def longest_window_ms(self) -> int:
        """How far back ``refill`` has to begin; 0: nothing to fill."""
        windows = [bins.window_ms for bins in self.world.bins.values()]
        return max([*windows, self.power.history_ms])

    def restore(self, standings: Iterable[Standing]) -> list[Standing]:
        """Go on with what was stored; those of rules that are gone or changed come back."""
        dropped: list[Standing | None] = []
        for standing in standings:
            running = self._running.get(standing.rule)
            subject = (running.rule.scope if running else Scope.GPU, standing.key)
            slot = self._slots.get(subject)
            if running is None or slot is not None:
                dropped.append(self._put(slot, standing))
            else:
                self._waiting.setdefault(subject, []).append(standing)
        return _open(dropped)

    def _put(self, slot: int | None, standing: Standing) -> Standing | None:
        """Go on with an alert; it comes back where its rule is gone, another, or not for it."""
        running = self._running.get(standing.rule)
        if slot is None or running is None or running.digest != standing.digest:
            return standing
        if not running.subjects[slot]:
            return standing
        running.put(slot, standing)
        return None

    def to_store(self, slots: Iterable[int]) -> list[tuple[Rule, int, Standing | None]]:
        """Alerts that moved, and open ones of ``slots``, whose last sample moves on all the time.

        None: all has been well for so long that nothing need be known of it.
        """
        wanted = set(slots)
        found: list[tuple[Rule, int, Standing | None]] = []
        for running in self._running.values():
            for slot in running.to_store(wanted):
                subject = self.subjects.get(slot)
                if subject is not None:
                    kept = bool(running.machines.kept[slot])
                    standing = running.standing(slot, subject) if kept else None
                    found.append((running.rule, slot, standing))
        return found

    def not_stored(self, rule: str, slot: int) -> None:
        """The write of this one failed: it is due again."""
        running = self._running.get(rule)
        if running is not None:
            running.changed.add(slot)

    def standings(self) -> list[tuple[Rule, int, Standing]]:
        """Every alert that is not well now; not pending ones of which no samples come."""
        found = []
        for running in self._running.values():
            for slot in running.shown().tolist():
                subject = self.subjects.get(slot)
                if subject is not None:
                    found.append((running.rule, slot, running.standing(slot, subject)))
        return found

    def _standings(self, running: Running) -> list[Standing]:
        return [
            running.standing(slot, self.subjects[slot])
            for slot in np.flatnonzero(running.machines.kept).tolist()
            if slot in self.subjects
        ]


def _open(standings: Iterable[Standing | None]) -> list[Standing]:
    return [one for one in standings if one is not None and one.alert.state is not State.OK]
