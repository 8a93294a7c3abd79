"""One tick's look at every GPU, to a deadline: what was read, what hangs, what changed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gpufleet.agent.clock import Clock
from gpufleet.agent.crew import Call, Crew
from gpufleet.agent.faults.subjects import Faults, Standing, SubjectId
from gpufleet.agent.model import (
    Collector,
    CollectorUnavailable,
    Fault,
    FaultState,
    Process,
    Reading,
    Subject,
)
from gpufleet.agent.processes.attribution import Allocation, PrologFiles, with_allocations
from gpufleet.agent.records import Event
from gpufleet.agent.session import Session

_STALE = "\0stale"


def deadline_seconds(interval_ms: int) -> float:
    """How long one call may take at this interval.

    A round takes two of them at most, and SIGTERM waits for it, hence the upper bound.
    """
    return min(4.0, max(0.25, 0.3 * interval_ms / 1000))


@dataclass(frozen=True, slots=True)
class Collection:
    """What one tick gave; ``readings`` by subject key, good ones only."""

    tick_ms: int
    readings: Mapping[str, Reading]
    events: tuple[Event, ...]
    took_seconds: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with the collector as a whole; nothing where both are empty."""

    sentence: str = ""
    hung_since_ms: int | None = None


class Sampler:
    """Asks a collector for one tick after the other and remembers who is faulty."""

    def __init__(
        self,
        collector: Collector,
        clock: Clock,
        rng: random.Random,
        driver: str | None = None,
        prolog: PrologFiles | None = None,
    ) -> None:
        """``driver`` is the driver's version that an earlier run of the agent saw; ``prolog``
        knows the jobs of GPUs."""
        self._collector = collector
        self._prolog = prolog
        self._clock = clock
        self.session = Session(collector, clock, rng)
        self.crew = Crew(clock)
        self._faults = Faults()
        self._known_version = -1
        self._slow_at: dict[str, int] = {}
        self._trouble = Trouble()
        self._driver: object = driver
        self.latest: Mapping[str, Reading] = {}
        """The newest reading of each subject that could be read at the last tick."""
        self.listed: Mapping[str, tuple[Process, ...]] = {}
        """Processes by subject key, as last listed."""
        self._allocations: Mapping[str, Allocation | None] = {}

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Every subject of the collector, missing ones included."""
        return self.session.subjects

    @property
    def trouble(self) -> Trouble:
        """The collector as a whole, after the last tick."""
        return self._trouble

    def standing(self) -> tuple[Standing, ...]:
        """Faults that stand after the last tick."""
        return self._faults.standing()

    def collect(self, tick_ms: int, interval_ms: int, slow_ms: int) -> Collection:
        """Read every subject that can be asked."""
        started = self._clock.monotonic()
        events: list[Event] = []
        readings: dict[str, Reading] = {}
        if self.session.advance():
            events += self._note_subjects(tick_ms)
            outcomes = self._read(tick_ms, interval_ms, slow_ms)
            readings = {
                key: outcome
                for key, outcome in outcomes.items()
                if isinstance(outcome, Reading) and not outcome.fault and outcome.values is not None
            }
            events += self._note_faults(outcomes)
        events += self._note_trouble()
        readings = with_allocations(readings, self._allocations)
        self.latest = readings
        return Collection(tick_ms, readings, tuple(events), self._clock.monotonic() - started)

    def list_processes(self, interval_ms: int) -> tuple[Process, ...] | None:
        """Processes of every GPU that answers; ``None`` while the collector cannot be asked."""
        if not self.session.advance() or _STALE in self.crew.stuck():
            return None
        asked = [s for s in self.subjects if s.kind == "gpu" and s.key in self.latest]
        outcomes = self.crew.run(
            [Call(s.key, partial(self._list, s)) for s in asked],
            deadline_seconds(interval_ms),
        )
        self.listed = {key: value for key, value in outcomes.items() if isinstance(value, tuple)}
        if self._prolog is not None:
            self._allocations = self._prolog.allocations(self.subjects)
        return tuple(process for listed in self.listed.values() for process in listed)

    def _list(self, subject: Subject) -> tuple[Process, ...]:
        listed = self._collector.processes(subject)
        return tuple(listed if self._prolog is None else self._prolog.complete(subject, listed))

    def close(self) -> None:
        """Let the driver go."""
        self.crew.close()
        if not self.crew.stuck():
            self.session.close(2.0)

    def _read(self, tick_ms: int, interval_ms: int, slow_ms: int) -> Mapping[str, Any]:
        calls = [Call(_STALE, self._collector.stale)]
        slow_keys = set()
        for subject in self.subjects:
            if subject.fault is not None and subject.fault.state is FaultState.MISSING:
                continue
            slow = tick_ms >= self._slow_at.get(subject.key, 0)
            if slow:
                slow_keys.add(subject.key)
            calls.append(Call(subject.key, partial(self._collector.read, subject, slow=slow)))
        outcomes = dict(self.crew.run(calls, deadline_seconds(interval_ms)))
        first = not self._slow_at
        for place, subject in enumerate(self.subjects):
            outcome = outcomes.get(subject.key)
            if subject.key in slow_keys and isinstance(outcome, Reading) and not outcome.fault:
                # After the first time spread over the GPUs, so that no tick carries them all.
                lag = slow_ms * place // len(self.subjects) if first else 0
                self._slow_at[subject.key] = tick_ms + slow_ms - lag
        stale = outcomes.pop(_STALE, False)
        broken = [o for o in (stale, *outcomes.values()) if isinstance(o, CollectorUnavailable)]
        if broken:
            self.session.lost(broken[0])
        elif stale is True:
            self.session.refresh()
        return outcomes

    def _note_subjects(self, now_ms: int) -> list[Event]:
        if self._known_version == self.session.version:
            return []
        self._known_version = self.session.version
        self._slow_at = {}
        self._faults.keep_only({(s.kind, s.key) for s in self.subjects})
        driver, before = self.session.facts.get("driver_version"), self._driver
        self._driver = driver
        if before is None or driver is None or driver == before:
            return []
        sentence = f"The driver changed from {before} to {driver}."
        return [Event(self._clock.wall_ms(), "driver_changed", "info", sentence)]

    def _note_faults(self, outcomes: Mapping[str, Any]) -> list[Event]:
        stuck = self.crew.stuck()
        seen: dict[SubjectId, Fault | None] = {}
        for subject in self.subjects:
            outcome = outcomes.get(subject.key)
            fault: Fault | None
            if subject.fault is not None and subject.fault.state is FaultState.MISSING:
                fault = subject.fault
            elif subject.key in stuck:
                fault = Fault(FaultState.HUNG, "The driver does not answer for this GPU.")
            elif isinstance(outcome, Reading):
                fault = outcome.fault
                if fault is None and outcome.values is None:
                    fault = Fault(FaultState.ERROR, "The driver gave no values for this GPU.")
            elif isinstance(outcome, CollectorUnavailable) or outcome is None:
                continue
            else:
                fault = Fault(
                    FaultState.ERROR, f"Reading failed: {type(outcome).__name__}: {outcome}."
                )
            seen[subject.kind, subject.key] = fault
        return self._faults.update(self._clock.wall_ms(), seen)

    def _note_trouble(self) -> list[Event]:
        before, self._trouble = self._trouble, self._look_for_trouble()
        now, now_ms = self._trouble, self._clock.wall_ms()
        if now.hung_since_ms is not None:
            if before.hung_since_ms is not None:
                return []
            return [Event(now_ms, "collector_hung", "critical", now.sentence)]
        if now.sentence:
            if before.sentence == now.sentence:
                return []
            return [Event(now_ms, "collector_unavailable", "critical", now.sentence)]
        if before.sentence:
            return [Event(now_ms, "collector_recovered", "info", "The collector works again.")]
        return []

    def _look_for_trouble(self) -> Trouble:
        if self.session.sentence:
            return Trouble(self.session.sentence, self.session.hung_since_ms)
        stuck = self.crew.stuck()
        keys = {s.key for s in self.subjects if s.kind == "gpu"}
        asked = {
            s.key
            for s in self.subjects
            if s.kind == "gpu" and not (s.fault and s.fault.state is FaultState.MISSING)
        }
        if _STALE in stuck or (asked and asked <= stuck.keys()):
            since = min(ms for key, ms in stuck.items() if key in keys or key == _STALE)
            return Trouble("The driver does not answer for any GPU.", since)
        return Trouble()
