"""Documents of one GPU, in the schema of ``gpufleet snapshot``, and of one node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpufleet.hub.api.table import Table, health_state
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.api.values import json_value, whole
from gpufleet.hub.views import FaultView, NodeView, ProcessView, SubjectView
from gpufleet.proto.catalog import HEALTH_STATES, SubjectKind, metrics


def subject_document(table: Table, subject: SubjectView) -> dict[str, Any]:
    """A GPU or MIG device. Values of a stale one are null; its health is the last that was told."""
    snapshot = table.snapshot
    stale = bool(snapshot.stale[subject.slot])
    node = table.node_of(subject)
    processes = () if stale else table.processes_of(subject.key)
    document = {
        "uuid": subject.key,
        "index": subject.index,
        "name": subject.name,
        "node": subject.node,
        "method": node.method if node is not None else None,
        "static": dict(subject.facts),
        "dynamic": _dynamic(table, subject, SubjectKind(subject.kind), stale),
        "health": {
            "level": subject.health.level,
            "status": health_state(subject.health.level) or "unknown",
            "reasons": list(subject.health.reasons),
            "basis": "live",
        },
        "detail": dict(snapshot.details.get(subject.slot, {})),
        "fault": _fault(subject.fault),
        "stale": stale,
        "sample_time": format_ms(int(snapshot.tick_ms[subject.slot]) or None),
        "processes": [process_document(process) for process in processes],
    }
    if subject.kind == "gpu":
        children = table.children.get(subject.key, ())
        document["mig"] = [subject_document(table, child) for child in children]
    else:
        document["parent"] = subject.parent
    return document


def _dynamic(table: Table, subject: SubjectView, kind: SubjectKind, stale: bool) -> dict[str, Any]:
    """Every metric that this kind of subject can have; null: absent."""
    snapshot = table.snapshot
    values = snapshot.values[:, subject.slot]
    dynamic: dict[str, Any] = {}
    for metric in metrics(kind):
        row = None if stale else snapshot.rows.get(metric.id)
        dynamic[metric.name] = None if row is None else json_value(metric, float(values[row]))
    if kind is SubjectKind.GPU:
        dynamic["health"] = subject.health.level
    return dynamic


def _fault(fault: FaultView | None) -> dict[str, Any] | None:
    if fault is None:
        return None
    since = format_ms(fault.since_ms)
    return {"state": fault.state, "since": since, "sentence": fault.sentence}


def process_document(process: ProcessView) -> dict[str, Any]:
    """A process; null: not known."""
    return {
        "gpu": process.gpu,
        "pid": process.pid,
        "type": process.type,
        "start_time": format_ms(process.start_ms),
        "user": process.user,
        "program": process.program,
        "memory_bytes": process.memory_bytes,
        "utilization_ratio": process.utilization_ratio,
        "container": process.container,
        "pod": process.pod,
        "job": process.job,
        "arguments": process.arguments,
    }


def gpus_of(table: Table, node: NodeView) -> list[SubjectView]:
    """A node's GPUs by index, without their MIG devices."""
    found = (table.snapshot.subjects[slot] for slot in node.subjects)
    return [subject for subject in found if subject is not None and subject.kind == "gpu"]


def node_row(table: Table, node: NodeView) -> dict[str, Any]:
    """A node as lists have it."""
    gpus = gpus_of(table, node)
    slot = node.slot
    stale = slot is None or bool(table.snapshot.stale[slot])
    own = None if slot is None else table.snapshot.subjects[slot]
    if own is not None:
        dynamic = _dynamic(table, own, SubjectKind.NODE, stale)
    else:
        dynamic = {metric.name: None for metric in metrics(SubjectKind.NODE)}
    levels = [gpu.health.level for gpu in gpus]
    return {
        "name": node.name,
        "up": node.up,
        "connected": node.connected,
        "labels": dict(sorted(node.labels.items())),
        "method": node.method or None,
        "methods": list(node.methods),
        "interval_seconds": whole(node.interval_ms / 1000),
        "agent_version": node.agent_version or None,
        "sample_time": format_ms(node.last_tick_ms),
        "receipt_time": format_ms(node.last_receipt_ms),
        "clock_skew_seconds": None if node.skew_ms is None else node.skew_ms / 1000,
        "collector_hung_since": format_ms(node.hung_since_ms),
        "sentence": node.sentence or None,
        "dropped_ticks": node.dropped_ticks,
        "gpus": len(gpus),
        "gpus_stale": sum(bool(table.snapshot.stale[gpu.slot]) for gpu in gpus),
        "gpus_by_health": by_health(levels),
        "dynamic": dynamic,
    }


def node_document(table: Table, node: NodeView) -> dict[str, Any]:
    """A node with its facts and the names of its GPUs."""
    processes_ms = table.snapshot.processes_time_ms.get(node.name)
    return {
        "time": format_ms(table.snapshot.time_ms),
        "version": table.snapshot.version,
        **node_row(table, node),
        "facts": dict(node.facts),
        "processes_time": format_ms(processes_ms),
        "gpu_list": [
            {
                "uuid": gpu.key,
                "index": gpu.index,
                "name": gpu.name,
                "health": gpu.health.level,
                "fault": None if gpu.fault is None else gpu.fault.state,
                "stale": bool(table.snapshot.stale[gpu.slot]),
            }
            for gpu in gpus_of(table, node)
        ],
    }


def by_health(levels: Sequence[int | None]) -> dict[str, int]:
    """How many have each level; ``unknown``: nothing was ever read."""
    counts = dict.fromkeys((*HEALTH_STATES, "unknown"), 0)
    for level in levels:
        counts[health_state(level) or "unknown"] += 1
    return counts
