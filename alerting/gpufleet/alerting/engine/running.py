"""One rule in force over every slot: its machines, whom it is for, what is told of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.engine.machine import GAP_INTERVALS, MAX_GAP_MS, Alert, Timing
from gpufleet.alerting.engine.machines import OK, PENDING, Happened, Machines
from gpufleet.alerting.rules.evaluate import Round
from gpufleet.alerting.rules.pattern import matches
from gpufleet.alerting.rules.rule import Rule
from gpufleet.alerting.rules.schema import Schema
from gpufleet.alerting.rules.tree import Const
from gpufleet.alerting.state import Kind, Scope

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
_NO_GAP = 1 << 60


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


def digest(rule: Rule) -> str:
    """What tells one condition from another; texts and severity may change without it."""
    return f"{rule.scope.value}|{rule.text}|{rule.clear_text}"


class Running:
    """A rule by slot. ``changed`` are slots whose standing is to be stored."""

    def __init__(self, rule: Rule, schema: Schema, capacity: int) -> None:
        self.rule = rule
        self.machines = Machines(_timing(rule), capacity)
        self.by_samples = rule.by_samples(schema)
        self.digest = digest(rule)
        self._told = rule.told()
        self.subjects: Flags = np.zeros(capacity, np.bool_)
        """Slots that it is for."""
        self.count: Ints = np.ones(capacity, np.int64)
        self.changed: set[int] = set()
        self.gap_ms: Ints = np.full(capacity, MAX_GAP_MS, np.int64)
        self.silent: Flags = np.zeros(capacity, np.bool_)
        """Of these no sample has come for longer than their gap: pending ones are not shown."""
        self._value: Floats = np.full(capacity, np.nan)
        self._peak: Floats = np.full(capacity, np.nan)
        self._threshold: Floats = np.full(capacity, np.nan)

    def grow(self, capacity: int) -> None:
        """Room for more slots."""
        more = capacity - len(self.subjects)
        self.machines.grow(capacity)
        self.subjects = np.append(self.subjects, np.zeros(more, np.bool_))
        self.count = np.append(self.count, np.ones(more, np.int64))
        self.gap_ms = np.append(self.gap_ms, np.full(more, MAX_GAP_MS, np.int64))
        self.silent = np.append(self.silent, np.zeros(more, np.bool_))
        nothing = np.full(more, np.nan)
        self._value = np.append(self._value, nothing)
        self._peak = np.append(self._peak, nothing)
        self._threshold = np.append(self._threshold, nothing)

    def edited(self, rule: Rule) -> None:
        """The same condition with other texts, times, severity or matchers."""
        self.rule = rule
        self.machines.timing = _timing(rule)

    def place(self, slot: int, subject: Subject) -> Standing | None:
        """A subject is in ``slot``. An alert comes back that the rule is not for any more."""
        self.subjects[slot] = _is_for(self.rule, subject)
        gap = self.rule.max_gap_ms
        if gap is None:
            gap = max(GAP_INTERVALS * subject.interval_ms, MAX_GAP_MS)
        self.gap_ms[slot] = gap
        self.machines.gap_ms[slot] = gap if self.by_samples else _NO_GAP
        self.machines.interval_ms[slot] = subject.interval_ms
        if self.subjects[slot] or not self.machines.kept[slot]:
            return None
        return self.take_out(slot, subject)

    def take_out(self, slot: int, subject: Subject) -> Standing | None:
        """Forget what stands of a slot, and tell it."""
        standing = self.standing(slot, subject) if self.machines.kept[slot] else None
        self.machines.forget(slot)
        self.subjects[slot] = self.silent[slot] = False
        self.changed.discard(slot)
        return standing

    def fall_silent(self, silent_ms: Ints, now_ms: int) -> list[Happened]:
        """``silent_ms`` is (n,) by slot: for how long no sample has come of it."""
        slots = np.flatnonzero(silent_ms > self.gap_ms[: len(silent_ms)])
        slots = slots[self.subjects[slots]]
        self.silent[:] = False
        self.silent[slots] = True
        return self.machines.silence(slots, now_ms)

    def lapsed(self, slots: Ints, known: Flags, now_ms: int, *, concluding: bool) -> list[Happened]:
        """By the hub's clock: what was not known for too long before it is looked at now.

        Time without knowledge is no evidence, so that pending begins anew; what fired has no data
        only while nothing is known, and not before the hub has listened for a while.
        """
        machines = self.machines
        state = machines.state[slots]
        late = (state != OK) & (now_ms - machines.last_ms[slots] > self.gap_ms[slots])
        if not late.any():
            return []
        pending = state == PENDING
        lost = late & np.where(known, pending, concluding)
        return machines.lapse(slots[lost], now_ms)

    def shown(self) -> Ints:
        """Slots with an alert that is not well, but for pending ones of which nothing comes."""
        state = self.machines.state
        return np.flatnonzero((state != OK) & ~((state == PENDING) & self.silent))

    def note_values(self, look: Round) -> None:
        """Keep the newest value, the threshold and the worst value of open alerts."""
        told = self._told
        if told is None:
            return
        slots = look.slots
        value = look.number(told.value)
        known = ~np.isnan(value)
        self._value[slots[known]] = value[known]
        if isinstance(told.threshold, Const):
            self._threshold[slots] = told.threshold.value
        elif told.threshold is not None:
            self._threshold[slots] = look.number(told.threshold)
        worse = np.fmin if told.op in ("<", "<=") else np.fmax
        fresh = self.machines.since_ms[slots] == look.times_ms
        before = np.where(fresh, np.nan, self._peak[slots])
        self._peak[slots] = worse(before, value)

    def transition(self, happened: Happened, subject: Subject) -> Transition:
        """What happened, with how it stands after; it is to be stored."""
        slot = happened.slot
        self.changed.add(slot)
        if happened.kind is Kind.FIRED:
            self.count[slot] = 1
        standing = self.standing(slot, subject)
        return Transition(self.rule, slot, happened.kind, happened.time_ms, standing)

    def standing(self, slot: int, subject: Subject) -> Standing:
        """How it stands with one slot."""
        return Standing(
            self.rule.name,
            subject.key,
            self.machines.get(slot),
            _number(self._value[slot]),
            _number(self._peak[slot]),
            _number(self._threshold[slot]),
            int(self.count[slot]),
            self.digest,
        )

    def put(self, slot: int, standing: Standing) -> None:
        """Go on with what was stored."""
        self.machines.put(slot, standing.alert)
        for column, value in (
            (self._value, standing.value),
            (self._peak, standing.peak),
            (self._threshold, standing.threshold),
        ):
            column[slot] = np.nan if value is None else value
        self.count[slot] = standing.count

    def to_store(self, wanted: set[int]) -> set[int]:
        """Slots that moved, and open ones of ``wanted``; those are then not changed any more."""
        found = self.changed | (set(np.flatnonzero(self.machines.state != OK).tolist()) & wanted)
        self.changed = set()
        return found


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
