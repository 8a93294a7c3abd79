"""The Prometheus text format 0.0.4 of a whole fleet: quarter of a million lines in a blink.

Labels of a subject are made once and kept; a metric's lines are then one list comprehension.
A series' labels never carry what changes while the subject lives (health, fault), so that a
change of these never begins a new series of anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpufleet.hub.api.documents import gpus_of
from gpufleet.hub.api.table import Group, Table
from gpufleet.hub.api.values import numbers
from gpufleet.hub.views import NodeView, SubjectView
from gpufleet.proto.catalog import (
    BY_NAME,
    HEALTH_STATES,
    THROTTLE_REASONS,
    Kind,
    SubjectKind,
    metrics,
    throttle_reason_names,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

GPU_INFO_FACTS = (
    "pci_bus_id",
    "serial",
    "board_part_number",
    "vbios",
    "architecture",
    "compute_capability",
    "mig_mode",
)
NODE_INFO_FACTS = ("driver_version", "nvml_version", "cuda_version", "os", "kernel")

_FAULTS_HELP = "1 while the GPU cannot be read; the state says why."


class Exposition:
    """Renders tables; keeps the texts of labels from one to the next."""

    def __init__(self) -> None:
        self._labels: dict[tuple[Any, ...], str] = {}

    def render(self, table: Table, node: str | None = None, *, gpus_only: bool = False) -> bytes:
        """The exposition of the fleet or of one node; with ``gpus_only`` its GPUs' part."""
        groups = {kind: table.group(kind) for kind in SubjectKind}
        nodes: Sequence[NodeView] = list(table.snapshot.nodes.values())
        if node is not None:
            groups = {kind: group.of_node(node) for kind, group in groups.items()}
            nodes = [view for view in nodes if view.name == node]
        if len(self._labels) > 4 * len(table.snapshot.subjects) + 1000:
            self._labels = {}
        lines: list[str] = []
        gpus = groups[SubjectKind.GPU]
        labels = [self._gpu_labels(subject) for subject in gpus.subjects]
        lines += _catalogue(table, SubjectKind.GPU, gpus, labels)
        lines += _gpu_state(table, gpus, labels)
        if not gpus_only:
            mig = groups[SubjectKind.MIG]
            mig_labels = [self._mig_labels(table, subject) for subject in mig.subjects]
            lines += _catalogue(table, SubjectKind.MIG, mig, mig_labels)
            own = groups[SubjectKind.NODE]
            own_labels = [f'node="{escape(subject.key)}"' for subject in own.subjects]
            lines += _catalogue(table, SubjectKind.NODE, own, own_labels)
            lines += _node_state(table, nodes)
            lines += _users(table, nodes)
        lines.append("")
        return "\n".join(lines).encode("utf-8", "replace")

    def _gpu_labels(self, gpu: SubjectView) -> str:
        key = (gpu.node, gpu.index, gpu.key, gpu.name)
        labels = self._labels.get(key)
        if labels is None:
            labels = (
                f'node="{escape(gpu.node)}",gpu="{gpu.index}",'
                f'gpu_uuid="{escape(gpu.key)}",gpu_name="{escape(gpu.name)}"'
            )
            self._labels[key] = labels
        return labels

    def _mig_labels(self, table: Table, device: SubjectView) -> str:
        slot = table.snapshot.slots.get(device.parent)
        parent = None if slot is None else table.snapshot.subjects[slot]
        own = (
            f'mig="{device.index}",mig_uuid="{escape(device.key)}",mig_name="{escape(device.name)}"'
        )
        if parent is None:
            return f'node="{escape(device.node)}",gpu_uuid="{escape(device.parent)}",{own}'
        return f"{self._gpu_labels(parent)},{own}"


def escape(text: str) -> str:
    """A label's value as the format wants it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _head(name: str, kind: str, text: str) -> list[str]:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _catalogue(
    table: Table, kind: SubjectKind, group: Group, labels: Sequence[str]
) -> Iterator[str]:
    """Lines of every metric of the catalogue that some subject has; health has its own."""
    for metric in metrics(kind):
        if metric.name == "health":
            continue
        column = group.column(table.snapshot, metric)
        present = np.isfinite(column)
        if not present.any():
            continue
        having = labels
        if not present.all():
            where = np.flatnonzero(present)
            column = column[where]
            having = [labels[i] for i in where.tolist()]
        if metric.kind is Kind.BITS:
            yield from _throttle(kind, column.tolist(), having)
            continue
        name = metric.prometheus(kind)
        yield from _head(name, "counter" if metric.kind is Kind.COUNTER else "gauge", metric.help)
        start = name + "{"
        values = numbers(metric, column)
        yield from [f"{start}{of}}} {v}" for of, v in zip(having, values, strict=True)]


def _throttle(kind: SubjectKind, column: Sequence[float], labels: Sequence[str]) -> Iterator[str]:
    """A series for every reason known, 0 or 1; one for any other while it is set."""
    name = f"gpufleet_{kind.value}_throttle_active"
    yield from _head(name, "gauge", "1 while this holds the clocks back (nvmlClocksEventReason*).")
    masks = [int(bits) % (1 << 64) for bits in column]
    for bit, reason in THROTTLE_REASONS.items():
        ends = (f',reason="{reason}"}} 0', f',reason="{reason}"}} 1')
        yield from [
            f"{name}{{{of}{ends[mask & bit != 0]}" for of, mask in zip(labels, masks, strict=True)
        ]
    known = sum(THROTTLE_REASONS)
    for of, mask in zip(labels, masks, strict=True):
        for reason in throttle_reason_names(mask & ~known):
            yield f'{name}{{{of},reason="{reason}"}} 1'


def _gpu_state(table: Table, group: Group, labels: Sequence[str]) -> Iterator[str]:
    """What the hub knows of GPUs beside their values."""
    if not labels:
        return
    up = {node.name for node in table.snapshot.nodes.values() if node.up}
    yield from _head("gpufleet_gpu_up", "gauge", "1 while samples of this GPU arrive.")
    yield from [
        f"gpufleet_gpu_up{{{of}}} {int(fresh)}"
        for of, fresh in zip(labels, group.fresh.tolist(), strict=True)
    ]
    yield from _head("gpufleet_gpu_info", "gauge", "Facts of the GPU; always 1.")
    for of, subject in zip(labels, group.subjects, strict=True):
        yield f"gpufleet_gpu_info{{{of}{_fact_labels(subject.facts, GPU_INFO_FACTS)}}} 1"
    judged = [
        (of, subject.health.level)
        for of, subject in zip(labels, group.subjects, strict=True)
        if subject.health.level is not None and subject.node in up
    ]
    if judged:
        yield from _head("gpufleet_gpu_health", "gauge", BY_NAME["health"].help)
        yield from [f"gpufleet_gpu_health{{{of}}} {level}" for of, level in judged]
        yield from _head(
            "gpufleet_gpu_health_state", "gauge", "1 for the state that the GPU's health is in."
        )
        for i, state in enumerate(HEALTH_STATES):
            end = f',state="{state}"}}'
            yield from [
                f"gpufleet_gpu_health_state{{{of}{end} {int(level == i)}" for of, level in judged
            ]
    faulty = [
        (f'{of},state="{escape(subject.fault.state)}"', subject.fault)
        for of, subject in zip(labels, group.subjects, strict=True)
        if subject.fault is not None and subject.node in up
    ]
    if faulty:
        yield from _head("gpufleet_gpu_fault", "gauge", _FAULTS_HELP)
        yield from [f"gpufleet_gpu_fault{{{of}}} 1" for of, _ in faulty]
        yield from _head(
            "gpufleet_gpu_fault_since_timestamp_seconds",
            "gauge",
            "When the GPU's present fault began.",
        )
        for of, fault in faulty:
            seconds = fault.since_ms / 1000
            yield f"gpufleet_gpu_fault_since_timestamp_seconds{{{of}}} {seconds}"


def _node_state(table: Table, nodes: Sequence[NodeView]) -> Iterator[str]:
    """What the hub knows of nodes beside their values."""
    if not nodes:
        return
    named = [(f'node="{escape(node.name)}"', node) for node in nodes]
    yield from _head("gpufleet_node_up", "gauge", "1 while the node's agent sends.")
    yield from [f"gpufleet_node_up{{{of}}} {int(node.up)}" for of, node in named]
    yield from _head("gpufleet_node_info", "gauge", "Facts and labels of the node; always 1.")
    for of, node in named:
        facts = _fact_labels(node.facts, NODE_INFO_FACTS)
        more = _texts([("method", node.method), ("agent_version", node.agent_version)])
        yield f"gpufleet_node_info{{{of}{more}{facts}{_own_labels(node.labels)}}} 1"
    yield from _head("gpufleet_node_gpus", "gauge", "GPUs in the node's inventory.")
    yield from [f"gpufleet_node_gpus{{{of}}} {len(gpus_of(table, node))}" for of, node in named]
    yield from _times(
        "gpufleet_node_last_sample_timestamp_seconds",
        "Time of the node's newest sample.",
        [(of, node.last_tick_ms) for of, node in named],
    )
    yield from _times(
        "gpufleet_node_collector_hung_since_timestamp_seconds",
        "Since when the node's collector has hung; absent while it works.",
        [(of, node.hung_since_ms) for of, node in named if node.up],
    )


def _times(name: str, text: str, times: Iterable[tuple[str, int | None]]) -> Iterator[str]:
    known = [(of, moment) for of, moment in times if moment is not None]
    if known:
        yield from _head(name, "gauge", text)
        yield from [f"{name}{{{of}}} {moment / 1000}" for of, moment in known]


def _users(table: Table, nodes: Sequence[NodeView]) -> Iterator[str]:
    """GPUs and memory by node and user: never by process."""
    gpus: list[str] = []
    memory: list[str] = []
    for node in nodes:
        if not node.up:
            continue
        used: dict[str, set[str]] = {}
        taken: dict[str, int] = {}
        for process in table.snapshot.processes.get(node.name, ()):
            if process.user is None:
                continue
            used.setdefault(process.user, set()).add(process.gpu)
            if process.memory_bytes is not None:
                taken[process.user] = taken.get(process.user, 0) + process.memory_bytes
        of_node = f'node="{escape(node.name)}"'
        for user, of_user in used.items():
            of = f'{of_node},user="{escape(user)}"'
            gpus.append(f"gpufleet_user_gpus{{{of}}} {len(of_user)}")
            if user in taken:
                memory.append(f"gpufleet_user_memory_bytes{{{of}}} {taken[user]}")
    if gpus:
        yield from _head("gpufleet_user_gpus", "gauge", "GPUs on which the user has processes.")
        yield from gpus
    if memory:
        yield from _head(
            "gpufleet_user_memory_bytes", "gauge", "Device memory held by the user's processes."
        )
        yield from memory


def _fact_labels(facts: Mapping[str, Any], names: Iterable[str]) -> str:
    """Labels of the facts that are there; a fact that is no scalar is none."""
    found = ((name, facts.get(name)) for name in names)
    return _texts([(name, str(v)) for name, v in found if isinstance(v, str | int | float)])


def _texts(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f',{name}="{escape(text)}"' for name, text in pairs if text)


_NO_LABEL = re.compile(r"[^a-zA-Z0-9_]")


def _own_labels(labels: Mapping[str, str]) -> str:
    """A node's labels as ``label_rack``; of keys that become the same name the first counts."""
    named: dict[str, str] = {}
    for key in sorted(labels):
        named.setdefault(f"label_{_NO_LABEL.sub('_', key)}", labels[key])
    return _texts(named.items())
