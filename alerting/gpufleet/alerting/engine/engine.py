"""The engine: every rule over every subject, driven by samples and by the hub's own clock.

Pure: time and values come in, transitions come out. What a caller stores of it (``standing``) and
gives back after a restart (``restore``) is all that has to survive; windows are filled again from
stored samples (``refill``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.engine.frozen_watch import FrozenWatch
from gpufleet.alerting.engine.machine import GAP_INTERVALS, MAX_GAP_MS, Alert, Timing
from gpufleet.alerting.engine.machines import (
    CODES,
    FIRING,
    NO_DATA,
    OK,
    PENDING,
    Happened,
    Machines,
)
from gpufleet.alerting.engine.power_watch import PowerWatch
from gpufleet.alerting.rules.evaluate import Round, World
from gpufleet.alerting.rules.pattern import matches
from gpufleet.alerting.rules.rule import Rule, RuleSet
from gpufleet.alerting.rules.schema import Schema
from gpufleet.alerting.rules.tree import Const, FlagName, parts
from gpufleet.alerting.rules.tree import Xid as XidNode
from gpufleet.alerting.state import Kind, Scope, State

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

TOMBSTONE_MS = 600_000
"""So long after a sample it may come again (a hub that was killed): until then what is well again
is kept, so that it is not taken for a new one."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is in a slot."""

    kind: Scope
    key: str
    node: str
    model: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    interval_ms: int = 1000
    node_slot: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """One alert as it is stored: everything that a restart must not lose."""

    rule: str
    key: str
    """The subject's key; its kind is the rule's scope."""
    alert: Alert
    value: float | None = None
    peak: float | None = None
    threshold: float | None = None
    count: int = 1
    digest: str = ""
    """Of the rule's condition: another one makes it begin anew."""


@dataclass(frozen=True, slots=True)
class Transition:
    """Something that happened to one alert, and how it stands after."""

    rule: Rule
    slot: int
    kind: Kind
    time_ms: int
    standing: Standing


@dataclass(slots=True)
class _Running:
    """One rule with its machines and what is told of its values."""

    rule: Rule
    machines: Machines
    by_samples: bool
    digest: str
    subjects: Flags
    """Slots that it is for."""
    peak: Floats
    value: Floats
    threshold: Floats
    count: Ints
    changed: set[int] = field(default_factory=set)


def digest(rule: Rule) -> str:
    """What tells one condition from another; texts and severity may change without it."""
    return f"{rule.scope.value}|{rule.text}|{rule.clear_text}"


class Engine:
    """Holds the rules in force. One caller at a time; nothing here blocks or reads a clock."""

    def __init__(self, rules: RuleSet, schema: Schema, capacity: int = 256) -> None:
        self.schema = schema
        self.world = World(schema, capacity)
        self.power = PowerWatch(self.world, schema)
        self.frozen = FrozenWatch(self.world, schema)
        self.subjects: dict[int, Subject] = {}
        self._slots: dict[tuple[Scope, str], int] = {}
        self._running: dict[str, _Running] = {}
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
                former.rule = rule
                former.machines.timing = _timing(rule)
                self._running[rule.name] = former
            else:
                if former is not None:
                    dropped += self._standings(former)
                self._running[rule.name] = self._new(rule)
            self._apply_subjects(self._running[rule.name])
        for former in before.values():
            dropped += self._standings(former)
        self.rules = rules
        self.power.follow(rules)
        self.frozen.follow(rules)
        return [standing for standing in dropped if standing.alert.state is not State.OK]

    def _new(self, rule: Rule) -> _Running:
        n = self.world.capacity
        return _Running(
            rule,
            Machines(_timing(rule), n),
            rule.by_samples(self.schema),
            digest(rule),
            subjects=np.zeros(n, np.bool_),
            peak=np.full(n, np.nan),
            value=np.full(n, np.nan),
            threshold=np.full(n, np.nan),
            count=np.ones(n, np.int64),
        )

    def _apply_subjects(self, running: _Running) -> None:
        running.subjects[:] = False
        for slot, subject in self.subjects.items():
            running.subjects[slot] = _is_for(running.rule, subject)
            self._pace(running, slot, subject)

    @staticmethod
    def _pace(running: _Running, slot: int, subject: Subject) -> None:
        gap = running.rule.max_gap_ms
        if gap is None:
            gap = max(GAP_INTERVALS * subject.interval_ms, MAX_GAP_MS)
        running.machines.gap_ms[slot] = gap if running.by_samples else 1 << 60
        running.machines.interval_ms[slot] = subject.interval_ms

    def set_subject(self, slot: int, subject: Subject) -> None:
        """A subject is in ``slot``, or what is known of it changed. Restored alerts go on."""
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
        for running in self._running.values():
            running.subjects[slot] = _is_for(running.rule, subject)
            self._pace(running, slot, subject)
        for standing in self._waiting.pop((subject.kind, subject.key), ()):
            self._put(slot, standing)

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
        left = []
        for running in self._running.values():
            if running.machines.kept[slot]:
                left.append(self._standing(running, slot, subject))
            running.machines.forget(slot)
            running.subjects[slot] = False
            running.changed.discard(slot)
        self.world.forget(slot)
        self.power.forget(slot)
        self.frozen.forget(slot)
        self.world.node_slot[slot] = -1
        return [standing for standing in left if standing.alert.state is not State.OK]

    def _grow(self, capacity: int) -> None:
        more = capacity - self.world.capacity
        self.world.grow(capacity)
        for running in self._running.values():
            running.machines.grow(capacity)
            running.subjects = np.append(running.subjects, np.zeros(more, np.bool_))
            running.count = np.append(running.count, np.ones(more, np.int64))
            for name in ("peak", "value", "threshold"):
                column = np.append(getattr(running, name), np.full(more, np.nan))
                setattr(running, name, column)

    # Running

    def step_samples(
        self, slots: Ints, epochs: Ints, ticks: Ints, values: Floats
    ) -> list[Transition]:
        """One sample of each of ``slots`` (n,); ``values`` is (rows, >= capacity) by slot."""
        return self._step(True, slots, epochs, ticks, values)

    def step_hub(self, now_ms: int, values: Floats) -> list[Transition]:
        """What only the hub knows, for every subject, once a second: health, flags, Xids.

        ``values`` as above, with NaN where the hub does not know.
        """
        slots = np.fromiter(self.subjects, np.int64, len(self.subjects))
        times = np.full(len(slots), now_ms, np.int64)
        return self._step(False, slots, np.zeros(len(slots), np.int64), times, values)

    def _step(
        self, by_samples: bool, slots: Ints, epochs: Ints, times_ms: Ints, values: Floats
    ) -> list[Transition]:
        if not len(slots):
            return []
        look = Round(self.world, slots, times_ms, values)
        look.remember(sampled=by_samples)
        if by_samples:
            self.power.feed(slots, times_ms, values)
            self.frozen.feed(slots, times_ms, values)
        found: list[Transition] = []
        for running in self._running.values():
            if running.by_samples is by_samples:
                found += self._step_rule(running, look, epochs)
        look.latch(sampled=by_samples)
        return found

    def _step_rule(self, running: _Running, look: Round, epochs: Ints) -> list[Transition]:
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
        happened = machines.step(slots, look.times_ms, epochs, bad, good & here, known & here)
        watched = np.flatnonzero(bad | (kept & (machines.state[slots] != OK)))
        if len(watched):
            self._note_values(running, look.part_of(watched), machines, {h.slot for h in happened})
        return [self._transition(running, one) for one in happened]

    def _note_values(
        self, running: _Running, look: Round, machines: Machines, moved: set[int]
    ) -> None:
        """Keep the newest value, the threshold and the worst value of open alerts."""
        comparison = running.rule.compared()
        if comparison is None:
            return
        slots = look.slots
        value = look.number(comparison.left)
        known = ~np.isnan(value)
        running.value[slots[known]] = value[known]
        if isinstance(comparison.right, Const):
            running.threshold[slots] = comparison.right.value
        else:
            running.threshold[slots] = look.number(comparison.right)
        worse = np.fmin if comparison.op in ("<", "<=") else np.fmax
        fresh = machines.since_ms[slots] == look.times_ms
        before = np.where(fresh, np.nan, running.peak[slots])
        running.peak[slots] = worse(before, value)

    def _transition(self, running: _Running, happened: Happened) -> Transition:
        slot = happened.slot
        running.changed.add(slot)
        if happened.kind is Kind.FIRED:
            running.count[slot] = 1
        standing = self._standing(running, slot, self.subjects[slot])
        return Transition(running.rule, slot, happened.kind, happened.time_ms, standing)

    def silence(self, slots: Ints, now_ms: int) -> list[Transition]:
        """These subjects have been silent for longer than their max_gap, in listening time."""
        return self._silence(slots, now_ms, by_samples=True)

    def silence_hub_rules(self, slots: Ints, now_ms: int) -> list[Transition]:
        """Of these the hub knows nothing any more: their nodes are silent."""
        return self._silence(slots, now_ms, by_samples=False)

    def _silence(self, slots: Ints, now_ms: int, *, by_samples: bool) -> list[Transition]:
        found: list[Transition] = []
        for running in self._running.values():
            if running.by_samples is by_samples:
                heard = slots[slots < len(running.subjects)]
                for one in running.machines.silence(heard[running.subjects[heard]], now_ms):
                    found.append(self._transition(running, one))
        return found

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
        self.world.flags[name][: len(values)] = values

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
        dropped = []
        for standing in standings:
            running = self._running.get(standing.rule)
            if running is None or running.digest != standing.digest:
                dropped.append(standing)
                continue
            subject = (running.rule.scope, standing.key)
            slot = self._slots.get(subject)
            if slot is None:
                self._waiting.setdefault(subject, []).append(standing)
            else:
                self._put(slot, standing)
        return [one for one in dropped if one.alert.state is not State.OK]

    def _put(self, slot: int, standing: Standing) -> None:
        running = self._running.get(standing.rule)
        if running is None:
            return
        running.machines.put(slot, standing.alert)
        for column, value in (
            (running.value, standing.value),
            (running.peak, standing.peak),
            (running.threshold, standing.threshold),
        ):
            column[slot] = np.nan if value is None else value
        running.count[slot] = standing.count

    def to_store(self, slots: Iterable[int]) -> list[tuple[Rule, int, Standing | None]]:
        """Alerts that moved, and open ones of ``slots``, whose last sample moves on all the time.

        None: all has been well for so long that nothing need be known of it.
        """
        wanted = set(slots)
        found: list[tuple[Rule, int, Standing | None]] = []
        for running in self._running.values():
            open_now = set(np.flatnonzero(running.machines.state != OK).tolist())
            for slot in running.changed | (open_now & wanted):
                subject = self.subjects.get(slot)
                if subject is not None:
                    kept = bool(running.machines.kept[slot])
                    standing = self._standing(running, slot, subject) if kept else None
                    found.append((running.rule, slot, standing))
            running.changed.clear()
        return found

    def not_stored(self, rule: str, slot: int) -> None:
        """The write of this one failed: it is due again."""
        running = self._running.get(rule)
        if running is not None:
            running.changed.add(slot)

    def standings(self) -> list[tuple[Rule, int, Standing]]:
        """Every alert that is not well now."""
        found = []
        for running in self._running.values():
            for slot in np.flatnonzero(running.machines.state != OK).tolist():
                subject = self.subjects.get(slot)
                if subject is not None:
                    found.append((running.rule, slot, self._standing(running, slot, subject)))
        return found

    def _standings(self, running: _Running) -> list[Standing]:
        return [
            self._standing(running, slot, self.subjects[slot])
            for slot in np.flatnonzero(running.machines.kept).tolist()
            if slot in self.subjects
        ]

    def _standing(self, running: _Running, slot: int, subject: Subject) -> Standing:
        return Standing(
            running.rule.name,
            subject.key,
            running.machines.get(slot),
            _number(running.value[slot]),
            _number(running.peak[slot]),
            _number(running.threshold[slot]),
            int(running.count[slot]),
            running.digest,
        )


def _timing(rule: Rule) -> Timing:
    gap = MAX_GAP_MS if rule.max_gap_ms is None else rule.max_gap_ms
    return Timing(rule.for_ms, rule.for_inclusive, rule.keep_firing_ms, gap)


def _is_for(rule: Rule, subject: Subject) -> bool:
    if subject.kind is not rule.scope:
        return False
    return all(
        matches(m.name, m.op, m.value, subject.node, subject.model, subject.labels)
        for m in rule.match
    )


def _number(value: float) -> float | None:
    return None if value != value else float(value)
