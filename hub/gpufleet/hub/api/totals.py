"""Totals of the whole fleet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.state import Severity, State
from gpufleet.hub.api.documents import by_health
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.api.values import Floats, json_value
from gpufleet.proto.catalog import BY_NAME, Metric, SubjectKind

SPREADS = (
    "utilization_ratio",
    "memory_used_ratio",
    "temperature_celsius",
    "memory_temperature_celsius",
    "fan_speed_ratio",
)
SUMS = ("memory_used_bytes", "memory_total_bytes", "power_watts", "power_limit_watts")


def fleet_document(table: Table) -> dict[str, Any]:
    """Totals of the fleet. What is absent everywhere is null; ``gpus`` says how many have it."""
    snapshot = table.snapshot
    gpus = table.gpus.subjects
    faults: dict[str, int] = {}
    for gpu in gpus:
        if gpu.fault is not None:
            faults[gpu.fault.state] = faults.get(gpu.fault.state, 0) + 1
    up = sum(node.up for node in snapshot.nodes.values())
    users = {user for users in table.sets("users") for user in users}
    process_counts = table.numbers("process_count")
    return {
        "time": format_ms(snapshot.time_ms),
        "version": snapshot.version,
        "nodes": {"total": len(snapshot.nodes), "up": up, "down": len(snapshot.nodes) - up},
        "gpus": {
            "total": len(gpus),
            "fresh": int(table.gpus.fresh.sum()),
            "stale": len(gpus) - int(table.gpus.fresh.sum()),
            "by_health": by_health([gpu.health.level for gpu in gpus]),
            "by_fault": dict(sorted(faults.items())),
        },
        "mig_devices": len(table.group(SubjectKind.MIG).subjects),
        "alerts": _alerts(snapshot.alerts),
        "users": len(users),
        "processes": int(np.nansum(process_counts)) if len(process_counts) else 0,
        **{name: _spread(BY_NAME[name], table.numbers(name)) for name in SPREADS},
        **{name: _sum(BY_NAME[name], table.numbers(name)) for name in SUMS},
    }


def _alerts(alerts: Sequence[Incident]) -> dict[str, Any]:
    """Alerts by state; those that fire by severity. An acknowledged one still counts."""
    by_state = Counter(one.state for one in alerts)
    firing = Counter(
        one.severity.value for one in alerts if one.state in (State.FIRING, State.RECOVERING)
    )
    return {
        "pending": by_state[State.PENDING],
        "firing": by_state[State.FIRING] + by_state[State.RECOVERING],
        "no_data": by_state[State.NO_DATA],
        "by_severity": {severity.value: firing[severity.value] for severity in Severity},
    }


def _spread(metric: Metric, column: Floats) -> dict[str, Any]:
    values = column[np.isfinite(column)]
    if not len(values):
        return {"gpus": 0, "mean": None, "min": None, "max": None}
    return {
        "gpus": len(values),
        "mean": rounded_mean(metric, float(values.mean())),
        "min": json_value(metric, float(values.min())),
        "max": json_value(metric, float(values.max())),
    }


def rounded_mean(metric: Metric, mean: float) -> float | None:
    """A mean to a tenth of the metric's resolution; ``None`` for NaN."""
    return round(mean, len(str(metric.divisor))) if math.isfinite(mean) else None


def _sum(metric: Metric, column: Floats) -> dict[str, Any]:
    values = column[np.isfinite(column)]
    total = json_value(metric, float(values.sum())) if len(values) else None
    return {"gpus": len(values), "sum": total}
