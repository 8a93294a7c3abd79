"""Judges the live fleet at each pulse: who is silent, whose clock is off, which GPU is not well."""

from __future__ import annotations

from typing import Any, Protocol

from gpufleet.alerting.health import Health
from gpufleet.hub.fleet import Fleet, Node
from gpufleet.hub.health import FleetHealth
from gpufleet.hub.health_memory import HealthMemory
from gpufleet.hub.views import HealthView
from gpufleet.proto.catalog import HEALTH_STATES

SKEW_LIMIT_MS = 5000
_SEVERITIES = ("info", "info", "warning", "critical")


class NoteEvent(Protocol):
    """Takes an event of the hub's own."""

    def __call__(
        self,
        node_id: int,
        subject_id: int,
        kind: str,
        severity: str,
        message: str,
        data: dict[str, Any] | None = None,
    ) -> None: ...


class Judge:
    """Every verdict that is another than before becomes an event."""

    def __init__(
        self, fleet: Fleet, health: FleetHealth, memory: HealthMemory, note: NoteEvent
    ) -> None:
        self._fleet = fleet
        self._health = health
        self._memory = memory
        self._note = note
        self._skewed: set[str] = set()

    def look(self, now_mono: int, now_ms: int) -> None:
        """Judge the fleet as it is now."""
        came, went = self._fleet.settle(now_mono)
        for node in came:
            self._of_node(node, "node_up", "info", f"Node {node.name} is up.")
        for node in went:
            seconds = node.silence_ms() / 1000
            text = f"Node {node.name} has sent nothing for {seconds:g} s."
            self._of_node(node, "node_down", "critical", text)
        for node in self._fleet.nodes.values():
            self._clock(node)
        self._gpus(now_ms)

    def _clock(self, node: Node) -> None:
        skew_ms = node.skew_ms
        if skew_ms is not None and abs(skew_ms) > SKEW_LIMIT_MS:
            if node.name not in self._skewed:
                self._skewed.add(node.name)
                text = f"The clock of node {node.name} is {skew_ms / 1000:+.1f} s off the hub's."
                self._of_node(node, "clock_skew", "warning", text)
        elif node.name in self._skewed:
            self._skewed.discard(node.name)
            text = f"The clock of node {node.name} agrees with the hub's again."
            self._of_node(node, "clock_ok", "info", text)

    def _gpus(self, now_ms: int) -> None:
        fleet = self._fleet
        count = len(fleet.subjects)
        faults = {slot: state for slot, state in fleet.faults.items() if fleet.is_gpu[slot]}
        changes = self._health.update(
            fleet.values[:, :count], fleet.rows, fleet.tick_ms[:count], now_ms, faults=faults
        )
        for slot, before, after in changes:
            fleet.set_health(slot, HealthView(after.level, after.reasons))
            if before.level != after.level:
                self._memory.hurry(slot)
                self._of_gpu(slot, before, after)

    def _of_gpu(self, slot: int, before: Health, after: Health) -> None:
        subject = self._fleet.subjects[slot]
        first_and_well = before.level is None and after.level == 0
        if subject is None or after.level is None or first_and_well:
            return
        text = f"GPU {subject.index} of {subject.node} is {HEALTH_STATES[after.level]}"
        text += f": {'; '.join(after.reasons)}" if after.reasons else "."
        owner = self._fleet.owner[slot].node_id
        data = {"level": after.level, "before": before.level}
        severity = _SEVERITIES[after.level]
        self._note(owner, subject.subject_id, "health_changed", severity, text, data)

    def _of_node(self, node: Node, kind: str, severity: str, message: str) -> None:
        subject = None if node.own_slot is None else self._fleet.subjects[node.own_slot]
        if subject is not None:
            self._note(node.node_id, subject.subject_id, kind, severity, message)
