"""The names that alert rules may use: metrics of the catalogue, static facts, counts of the hub."""

from __future__ import annotations

from functools import cache

from gpufleet.alerting.rules.schema import MetricName, Schema
from gpufleet.alerting.state import Scope
from gpufleet.proto.catalog import THROTTLE_REASONS, Kind, Source, metrics

PROCESS_COUNT = "process_count"
JOB_COUNT = "job_count"
_FACTS = {
    "shutdown_temperature_celsius": "celsius",
    "slowdown_temperature_celsius": "celsius",
    "max_operating_temperature_celsius": "celsius",
    "memory_max_temperature_celsius": "celsius",
    "shutdown_tlimit_celsius": "celsius",
    "slowdown_tlimit_celsius": "celsius",
    "max_operating_tlimit_celsius": "celsius",
    "memory_max_tlimit_celsius": "celsius",
    "power_limit_default_watts": "watts",
    "power_limit_min_watts": "watts",
    "power_limit_max_watts": "watts",
    "clock_graphics_max_hertz": "hertz",
    "clock_sm_max_hertz": "hertz",
    "clock_memory_max_hertz": "hertz",
    "clock_video_max_hertz": "hertz",
    "pcie_link_generation_max": "",
    "pcie_link_width_max": "",
    "fan_count": "",
    "nvlink_count": "",
    "gpu_count": "",
    PROCESS_COUNT: "",
    JOB_COUNT: "",
}
"""docs/facts.md; process_count is how many processes the node's newest list has on a GPU, job_count
how many jobs run there or were given it."""
_REPLACED = frozenset({"memory_used_ratio"})
"""Derived by the hub from one sample: as good as sampled."""


@cache
def alert_schema() -> Schema:
    """Rows are those of gpufleet.hub.fleet.Fleet.values."""
    named = {}
    for row, metric in enumerate(metrics()):
        bits = {name: mask for mask, name in THROTTLE_REASONS.items()}
        named[metric.name] = MetricName(
            metric.name,
            row,
            frozenset(Scope(kind.value) for kind in metric.subjects),
            metric.unit,
            counter=metric.kind is Kind.COUNTER,
            bits=bits if metric.kind is Kind.BITS else {},
            hub=metric.source is Source.HUB and metric.name not in _REPLACED,
        )
    return Schema(named, _FACTS)
