"""Incidents of the same kind, and what moves them: for tests of mail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.state import Kind, Scope, Severity, State

T0 = 1_790_000_000_000
MINUTE = 60_000


def incident(name: str, **changes: Any) -> Incident:
    """A GPU that is too hot; ``name`` is the incident's id and in the GPU's key."""
    base = Incident(
        id=name,
        alertname="GpuHot",
        group="heat",
        severity=Severity.WARNING,
        scope=Scope.GPU,
        state=State.FIRING,
        node="n1",
        subject_key=f"GPU-{name}",
        gpu_index=0,
        gpu_name="NVIDIA H100 80GB HBM3",
        since_ms=T0 - 5 * MINUTE,
        fired_ms=T0,
        last_sample_ms=T0,
        value=91.0,
        peak=93.0,
        threshold=80.0,
        comparison=">",
        metric="temperature_celsius",
        unit="celsius",
        summary="It is hot",
        advice="Cool it.",
        subject_id=1,
    )
    return replace(base, **changes)


_STATES = {
    Kind.FIRED: State.FIRING,
    Kind.RETURNED: State.FIRING,
    Kind.NO_DATA: State.NO_DATA,
    Kind.RESOLVED: State.OK,
    Kind.CLOSED: State.OK,
}


def moved(one: Incident, kind: Kind, now_ms: int, **changes: Any) -> Incident:
    """The incident after something happened to it."""
    if kind is Kind.RESOLVED:
        changes.setdefault("resolved_ms", now_ms)
    if kind is Kind.CLOSED:
        changes.setdefault("closed_ms", now_ms)
    return replace(one, state=_STATES.get(kind, one.state), **changes)
