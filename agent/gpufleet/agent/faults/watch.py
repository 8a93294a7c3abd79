"""Puts together who hears of driver faults, and hands the agent their events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpufleet.agent.clock import Clock
from gpufleet.agent.faults.incidents import Incidents
from gpufleet.agent.faults.kernel_log import KernelLog
from gpufleet.agent.faults.kmsg import Kmsg
from gpufleet.agent.faults.sighting import SeesFaults, Sighting
from gpufleet.agent.model import Collector, Subject
from gpufleet.agent.records import Event

PATIENCE_SECONDS = 15.0
"""How long it waits for the GPUs to be known, so that an event finds the one it is about."""


class FaultWatch:
    """The collector's own events and the kernel's log, asked by the agent's loop."""

    def __init__(
        self,
        collector: Collector,
        kmsg: Kmsg | None,
        clock: Clock,
        remember: Callable[[str], None],
    ) -> None:
        """``remember`` keeps the place up to which the kernel's log is told, for a later run."""
        self._collector = collector if isinstance(collector, SeesFaults) else None
        self._kmsg = kmsg
        self._log = KernelLog()
        self._clock = clock
        self._remember = remember
        self._remembered: str | None = None
        self._patient_until = clock.monotonic() + PATIENCE_SECONDS
        self._incidents = Incidents()

    @property
    def sentence(self) -> str:
        """Why the kernel's log cannot be read; empty where it can, or is not asked for."""
        return self._kmsg.sentence if self._kmsg is not None else ""

    def look(self, subjects: Sequence[Subject], record: Callable[[Event], None]) -> None:
        """Record what is due now. Never blocks."""
        now = self._clock.monotonic()
        if not subjects and now < self._patient_until:
            return
        seen = self._seen()
        if seen:
            self._incidents.take(seen, subjects, now)
        events = self._incidents.due(now)
        for event in events:
            record(event)
        if (events or self._remembered is None) and not self._incidents.untold:
            self._keep_place()

    def close(self, subjects: Sequence[Subject], record: Callable[[Event], None]) -> None:
        """Record what was seen and not yet told: the agent stops."""
        self._incidents.take(self._seen(), subjects, self._clock.monotonic())
        for event in self._incidents.flush():
            record(event)
        self._keep_place()
        if self._kmsg is not None:
            self._kmsg.close()

    def _seen(self) -> list[Sighting]:
        seen: list[Sighting] = []
        for line in self._kmsg.poll() if self._kmsg is not None else ():
            found = self._log.feed(line.text, line.time_ms)
            if found is not None:
                seen.append(found)
        if self._collector is not None:
            seen += self._collector.sightings()
        return seen

    def _keep_place(self) -> None:
        place = self._kmsg.position if self._kmsg is not None else None
        if place is not None and place != self._remembered:
            self._remembered = place
            self._remember(place)
