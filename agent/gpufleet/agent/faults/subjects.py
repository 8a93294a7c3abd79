"""Which subjects cannot be read, since when, and the events that their changes make."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gpufleet.agent.model import Fault, FaultState
from gpufleet.agent.records import Event

SubjectId = tuple[str, str]
"""(kind, key)"""

_SEVERITY = {
    FaultState.LOST: "critical",
    FaultState.HUNG: "critical",
    FaultState.RESET_REQUIRED: "critical",
    FaultState.MISSING: "critical",
    FaultState.NO_PERMISSION: "warning",
    FaultState.ERROR: "warning",
}

FLAP_WINDOW_MS = 600_000
FLAP_EVENTS = 6
"""At most so many events of a kind of one subject in the window: each makes the hub write."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A fault that stands now."""

    subject_kind: str
    subject_key: str
    fault: Fault
    since_ms: int


class Faults:
    """Follows the faults of all subjects; it is told what each look at them gave."""

    def __init__(self) -> None:
        self._standing: dict[SubjectId, Standing] = {}
        self._times: dict[tuple[SubjectId, str], deque[int]] = {}
        self._left_out: dict[tuple[SubjectId, str], int] = {}

    def standing(self) -> tuple[Standing, ...]:
        """Every fault that stands, in order of subject."""
        return tuple(self._standing[key] for key in sorted(self._standing))

    def update(self, now_ms: int, seen: Mapping[SubjectId, Fault | None]) -> list[Event]:
        """Take in what was seen, ``None`` for a good reading; a subject not looked at stays."""
        events = []
        for subject, fault in seen.items():
            before = self._standing.get(subject)
            if fault is None:
                if before is None:
                    continue
                del self._standing[subject]
                gone_s = max(0, now_ms - before.since_ms) // 1000
                sentence = f"It can be read again after {gone_s} s ({before.fault.state.value})."
                event = self._event(now_ms, subject, "gpu_recovered", "info", 0, sentence)
            else:
                if before is not None and before.fault.state is fault.state:
                    self._standing[subject] = Standing(*subject, fault, before.since_ms)
                    continue
                self._standing[subject] = Standing(*subject, fault, now_ms)
                kind, severity = f"gpu_{fault.state.value}", _SEVERITY[fault.state]
                event = self._event(now_ms, subject, kind, severity, fault.code, fault.sentence)
            if event is not None:
                events.append(event)
        return events

    def keep_only(self, subjects: Collection[SubjectId]) -> None:
        """Forget subjects that are no longer in the inventory."""
        for gone in set(self._standing) - set(subjects):
            del self._standing[gone]

    def _event(
        self, now_ms: int, subject: SubjectId, kind: str, severity: str, code: int, message: str
    ) -> Event | None:
        topic = (subject, kind)
        times = self._times.setdefault(topic, deque())
        while times and not now_ms - FLAP_WINDOW_MS < times[0] <= now_ms:
            times.popleft()
        if len(times) >= FLAP_EVENTS:
            self._left_out[topic] = self._left_out.get(topic, 0) + 1
            return None
        times.append(now_ms)
        left_out = self._left_out.pop(topic, 0)
        data = json.dumps({"left_out": left_out}) if left_out else ""
        return Event(now_ms, kind, severity, message, *subject, code, data)
