"""Alerts for the HTTP application without an engine: whatever a test says is wrong."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.notify.muting import Silence
from gpufleet.alerting.state import Scope, Severity, State
from gpufleet.hub.api.alert_state import RulesView
from gpufleet.hub.store.alerts import IncidentQuery
from gpufleet.hub.store.email import Mail, MailState, OutboxView
from gpufleet.hub.store.silences import StoredSilence


def incident(**more: Any) -> Incident:
    """A GPU that is too hot; ``more`` replaces fields."""
    values: dict[str, Any] = {
        "id": "7f3a9c0d5b1e2468",
        "alertname": "GpuHot",
        "group": "heat",
        "severity": Severity.CRITICAL,
        "scope": Scope.GPU,
        "state": State.FIRING,
        "node": "node-1",
        "subject_key": "GPU-node-1-0",
        "gpu_index": 0,
        "gpu_name": "NVIDIA H100 80GB HBM3",
        "since_ms": now_ms() - 600_000,
        "fired_ms": now_ms() - 300_000,
        "summary": "85 °C for more than 5 min",
        "advice": "Look at fans and air flow.",
    }
    return Incident(**{**values, **more})


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class PublishedAlerts:
    """What ``gpufleet.hub.api.alert_state.AlertState`` asks for, kept in lists."""

    def __init__(self, open_: Sequence[Incident] = ()) -> None:
        self.open = list(open_)
        self.kept: list[StoredSilence] = []

    def alerts(self) -> Sequence[Incident]:
        return self.open

    async def incidents(self, wanted: IncidentQuery) -> Sequence[Incident]:
        return self.open

    async def incident(
        self, incident_id: str
    ) -> tuple[Incident, Sequence[Notice], Sequence[Mail]] | None:
        return next(((one, (), ()) for one in self.open if one.id == incident_id), None)

    async def acknowledge(self, incident_id: str, by: str, comment: str) -> Incident | None:
        for at, one in enumerate(self.open):
            if one.id == incident_id:
                self.open[at] = replace(
                    one, acknowledged_by=by, acknowledged_comment=comment, acknowledged_ms=now_ms()
                )
                return self.open[at]
        return None

    async def close(self, incident_id: str, by: str, comment: str) -> Incident | None:
        return None

    async def silences(self) -> Sequence[StoredSilence]:
        return self.kept

    async def add_silence(self, silence: Silence, kind: str) -> StoredSilence:
        self.kept.append(StoredSilence(silence, kind, now_ms()))
        return self.kept[-1]

    async def end_silence(self, silence_id: str) -> bool:
        return False

    def active(self, silence: Silence) -> bool:
        return silence.active(now_ms(), UTC)

    def muted_by(self, incident: Incident, silences: Sequence[StoredSilence]) -> list[str]:
        return [s.silence.id for s in silences if s.silence.mutes(incident, now_ms(), UTC)]

    def rules(self) -> RulesView:
        return RulesView("", 0, (), ())

    async def emails(
        self, state: MailState | None, limit: int
    ) -> tuple[OutboxView, Sequence[Mail]]:
        raise NotImplementedError

    async def send_again(self, mail_id: str) -> bool:
        raise NotImplementedError
