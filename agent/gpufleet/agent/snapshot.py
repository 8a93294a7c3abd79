"""One JSON document of every GPU of this machine, without any hub."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gpufleet.agent.clock import Clock
from gpufleet.agent.model import Collector, CollectorUnavailable, Json, Process, Reading, Subject
from gpufleet.agent.processes.attribution import PrologFiles, with_allocations
from gpufleet.agent.session import Errand
from gpufleet.alerting.health import Health, assess
from gpufleet.alerting.health_extras import extras_of
from gpufleet.proto.catalog import BY_NAME, SubjectKind, metrics, throttle_reason_names

DEADLINE_SECONDS = 30.0

_AVERAGED = frozenset(
    BY_NAME[name].id for name in ("sm_active_ratio", "tensor_active_ratio", "dram_active_ratio")
)
_APART_SECONDS = 0.12
"""NVML averages these between two looks, at least 100 ms apart; finding the GPUs was the first."""


def take(
    collector: Collector,
    node: str,
    clock: Clock,
    prolog: PrologFiles | None = None,
    seconds: float = DEADLINE_SECONDS,
) -> dict[str, Any]:
    """Open the collector, read everything once, and close it; ``prolog`` knows the jobs of GPUs.

    CollectorUnavailable says why that cannot be, a driver that does not answer included.
    """
    errand = Errand(lambda: _take(collector, node, clock, prolog), clock)
    if not clock.wait(errand.done, seconds):
        raise CollectorUnavailable(
            f"The driver did not answer within {seconds:.0f} s: "
            "see the kernel's log for NVRM messages."
        )
    return errand.result()


def _take(
    collector: Collector, node: str, clock: Clock, prolog: PrologFiles | None
) -> dict[str, Any]:
    collector.open()
    try:
        facts = collector.node_facts()
        subjects = collector.subjects()
        if collector.method == "nvml" and any(_AVERAGED & {*s.columns} for s in subjects):
            clock.wait(threading.Event(), _APART_SECONDS)
        readings = {s.key: collector.read(s, slow=True) for s in subjects}
        listed = {s.key: collector.processes(s) for s in subjects if s.kind == "gpu"}
        if prolog is not None:
            listed = {s.key: prolog.complete(s, listed[s.key]) for s in subjects if s.key in listed}
            readings = with_allocations(readings, prolog.allocations(subjects))
        return document(node, clock.wall_ms(), collector.method, facts, subjects, readings, listed)
    finally:
        collector.close()


def document(
    node: str,
    time_ms: int,
    method: str,
    facts: Mapping[str, Json],
    subjects: Sequence[Subject],
    readings: Mapping[str, Reading],
    processes: Mapping[str, Sequence[Process]],
) -> dict[str, Any]:
    """The document of ``gpufleet snapshot``; readings and processes by subject key."""
    children: dict[str, list[dict[str, Any]]] = {}
    for subject in subjects:
        if subject.kind == "mig":
            reading = readings.get(subject.key)
            entry = _subject(subject, reading, time_ms)
            beside = processes.get(subject.parent, ())
            entry["processes"] = [_process(p) for p in beside if p.subject_key == subject.key]
            children.setdefault(subject.parent, []).append(entry)
    gpus = []
    for subject in subjects:
        if subject.kind == "gpu":
            entry = _subject(subject, readings.get(subject.key), time_ms)
            entry["processes"] = [_process(p) for p in processes.get(subject.key, ())]
            entry["mig"] = children.get(subject.key, [])
            gpus.append(entry)
    return {
        "node": node,
        "time": _rfc3339(time_ms),
        "method": method,
        **facts,
        "gpus": gpus,
    }


def _rfc3339(time_ms: int) -> str:
    time = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return time.replace("+00:00", "Z")


def _subject(subject: Subject, reading: Reading | None, time_ms: int) -> dict[str, Any]:
    fault = reading.fault if reading is not None else subject.fault
    raw = reading.values if reading is not None and reading.fault is None else None
    values = _in_base_units(subject, raw or {})
    detail = reading.detail if reading is not None else None
    verdict = assess(
        subject.facts,
        values,
        fault.state.value if fault else None,
        None,
        time_ms,
        extras=extras_of(detail),
    )
    return {
        "uuid": subject.key,
        "index": subject.index,
        "name": subject.name,
        "static": dict(subject.facts),
        "dynamic": _dynamic(subject, values, verdict),
        "detail": dict(detail or {}),
        "fault": None if fault is None else _fault(fault.state.value, fault.sentence),
        "health": verdict.document("snapshot"),
    }


def _fault(state: str, sentence: str) -> dict[str, str | None]:
    """As a hub tells it; a single look does not know since when."""
    return {"state": state, "since": None, "sentence": sentence}


def _in_base_units(subject: Subject, raw: Mapping[int, int]) -> dict[str, float | int]:
    """Values by name, those that a hub would derive included; absent ones are left out."""
    kind = SubjectKind(subject.kind)
    values = {m.name: m.value(raw[m.id]) for m in metrics(kind) if m.id in raw}
    used, total = values.get("memory_used_bytes"), values.get("memory_total_bytes")
    if used is not None and total:
        digits = len(str(BY_NAME["memory_used_ratio"].divisor)) - 1  # as the hub rounds it
        values["memory_used_ratio"] = round(used / total, digits)
    return values


def _dynamic(
    subject: Subject, values: Mapping[str, float | int], verdict: Health
) -> dict[str, Any]:
    """Every metric that a subject of this kind can have; ``None``: absent."""
    dynamic: dict[str, Any] = {}
    for metric in metrics(SubjectKind(subject.kind)):
        value: object = values.get(metric.name)
        if metric.name == "health":
            value = verdict.level
        elif metric.name == "throttle_reasons" and isinstance(value, int):
            value = throttle_reason_names(value % (1 << 64))
        dynamic[metric.name] = value
    return dynamic


def _process(process: Process) -> dict[str, Any]:
    permille = process.utilization_permille
    return {
        "gpu": process.subject_key,
        "pid": process.pid,
        "type": process.type,
        "start_time": None if process.start_ms is None else _rfc3339(process.start_ms),
        "user": process.user,
        "program": process.program,
        "memory_bytes": process.memory_bytes,
        "utilization_ratio": None if permille is None else permille / 1000,
        "container": process.container,
        "pod": process.pod,
        "job": process.job,
        "arguments": process.arguments,
    }
