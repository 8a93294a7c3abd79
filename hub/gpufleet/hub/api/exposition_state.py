"""What the exposition says of GPUs, nodes and users beside their metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, repeat
from typing import Any

from gpufleet.hub.api.documents import gpus_of
from gpufleet.hub.api.exposition_text import (
    escape,
    fact_labels,
    gauge,
    head,
    label_pairs,
    samples,
)
from gpufleet.hub.api.table import Group, Table
from gpufleet.hub.views import NodeView, SubjectView
from gpufleet.proto.catalog import BY_NAME, HEALTH_STATES

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


class InfoLabels:
    """Labels of GPUs' facts, kept for as long as a GPU's facts are the same object."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Mapping[str, Any], str]] = {}

    def of(self, gpu: SubjectView) -> str:
        """The labels of one GPU's facts."""
        kept = self._kept.get(gpu.key)
        if kept is None or kept[0] is not gpu.facts:
            kept = (gpu.facts, fact_labels(gpu.facts, GPU_INFO_FACTS))
            self._kept[gpu.key] = kept
        return kept[1]

    def forget_beyond(self, count: int) -> None:
        """Begin anew where GPUs that left have made this much larger than the fleet."""
        if len(self._kept) > count:
            self._kept = {}


def gpu_state(
    table: Table, group: Group, labels: Sequence[str], info: InfoLabels
) -> Iterator[bytes]:
    """Whether GPUs are heard, their facts, health and faults.

    Health and faults stay while the node is up: of a lost GPU they are all that is left to see.
    """
    gpus = group.subjects
    yield from gauge(
        "gpufleet_gpu_up",
        "1 while samples of this GPU arrive.",
        labels,
        ["1" if fresh else "0" for fresh in group.fresh.tolist()],
    )
    with_facts = [of + info.of(gpu) for of, gpu in zip(labels, gpus, strict=True)]
    yield from gauge(
        "gpufleet_gpu_info", "Facts of the GPU; always 1.", with_facts, repeat("1", len(gpus))
    )
    up = {node.name for node in table.snapshot.nodes.values() if node.up}
    heard = [gpu.node in up for gpu in gpus]
    judged = [
        alive and gpu.health.level is not None for alive, gpu in zip(heard, gpus, strict=True)
    ]
    of_judged = list(compress(labels, judged))
    levels = [gpu.health.level for gpu in compress(gpus, judged)]
    yield from gauge("gpufleet_gpu_health", BY_NAME["health"].help, of_judged, map(str, levels))
    if levels:
        name = "gpufleet_gpu_health_state"
        yield head(name, "gauge", "1 for the state that the GPU's health is in.")
        for i, state in enumerate(HEALTH_STATES):
            values = ["1" if level == i else "0" for level in levels]
            yield samples(name, of_judged, values, f',state="{state}"')
        yield b"\n"
    faulty = [
        (f'{of},state="{escape(gpu.fault.state)}"', gpu.fault)
        for alive, of, gpu in zip(heard, labels, gpus, strict=True)
        if alive and gpu.fault is not None
    ]
    of_faulty = [of for of, _ in faulty]
    yield from gauge(
        "gpufleet_gpu_fault",
        "1 while the GPU cannot be read; the state says why.",
        of_faulty,
        repeat("1", len(faulty)),
    )
    yield from gauge(
        "gpufleet_gpu_fault_since_timestamp_seconds",
        "When the GPU's present fault began.",
        of_faulty,
        [repr(fault.since_ms / 1000) for _, fault in faulty],
    )
    if table.snapshot.xids:
        yield from _xids(table, [(o, g) for h, o, g in zip(heard, labels, gpus, strict=True) if h])


def _xids(table: Table, gpus: Sequence[tuple[str, SubjectView]]) -> Iterator[bytes]:
    found = [
        (f'{of},code="{code}"', xid)
        for of, gpu in gpus
        for code, xid in sorted(table.snapshot.xids.get(gpu.subject_id, {}).items())
    ]
    if not found:
        return
    labels = [of for of, _ in found]
    name = "gpufleet_gpu_xid_events_total"
    yield head(name, "counter", "Xids that the driver told of the GPU, by code.")
    yield samples(name, labels, [str(xid.count) for _, xid in found])
    yield b"\n"
    yield from gauge(
        "gpufleet_gpu_xid_last_seen_timestamp_seconds",
        "When the Xid last came.",
        labels,
        [repr(xid.last_seen_ms / 1000) for _, xid in found],
    )


def node_state(table: Table, nodes: Sequence[NodeView]) -> Iterator[bytes]:
    """Whether nodes are heard, their facts and labels, and their collectors."""
    labels = [f'node="{escape(node.name)}"' for node in nodes]
    yield from gauge(
        "gpufleet_node_up",
        "1 while the node's agent sends.",
        labels,
        ["1" if node.up else "0" for node in nodes],
    )
    yield from gauge(
        "gpufleet_node_info",
        "Facts and labels of the node; always 1.",
        [of + _node_labels(node) for of, node in zip(labels, nodes, strict=True)],
        repeat("1", len(nodes)),
    )
    yield from gauge(
        "gpufleet_node_gpus",
        "GPUs in the node's inventory.",
        labels,
        [str(len(gpus_of(table, node))) for node in nodes],
    )
    yield from _times(
        "gpufleet_node_last_sample_timestamp_seconds",
        "Time of the node's newest sample.",
        labels,
        [node.last_tick_ms for node in nodes],
    )
    yield from _times(
        "gpufleet_node_collector_hung_since_timestamp_seconds",
        "Since when the node's collector has hung; absent while it works.",
        labels,
        [node.hung_since_ms if node.up else None for node in nodes],
    )


def _times(name: str, text: str, labels: Sequence[str], times: Sequence[int | None]) -> list[bytes]:
    known = [moment is not None for moment in times]
    values = [repr(moment / 1000) for moment in times if moment is not None]
    return gauge(name, text, list(compress(labels, known)), values)


def _node_labels(node: NodeView) -> str:
    agent = label_pairs([("method", node.method), ("agent_version", node.agent_version)])
    return agent + fact_labels(node.facts, NODE_INFO_FACTS) + _own_labels(node.labels)


_NO_LABEL = re.compile(r"[^a-zA-Z0-9_]")


def _own_labels(labels: Mapping[str, str]) -> str:
    """A node's labels as ``label_rack``; of keys that become the same name the first counts."""
    named: dict[str, str] = {}
    for key in sorted(labels):
        named.setdefault(f"label_{_NO_LABEL.sub('_', key)}", labels[key])
    return label_pairs(named.items())


def user_state(table: Table, nodes: Sequence[NodeView]) -> Iterator[bytes]:
    """GPUs and memory by node and user: never by process."""
    users: list[str] = []
    gpus: list[str] = []
    holders: list[str] = []
    memory: list[str] = []
    for node in nodes:
        used: dict[str, set[str]] = {}
        taken: dict[str, int] = {}
        for process in table.snapshot.processes.get(node.name, ()) if node.up else ():
            if process.user is None:
                continue
            used.setdefault(process.user, set()).add(_gpu_of(table, process.gpu))
            if process.memory_bytes is not None:
                taken[process.user] = taken.get(process.user, 0) + process.memory_bytes
        of_node = f'node="{escape(node.name)}"'
        for user, of_user in used.items():
            of = f'{of_node},user="{escape(user)}"'
            users.append(of)
            gpus.append(str(len(of_user)))
            if user in taken:
                holders.append(of)
                memory.append(str(taken[user]))
    yield from gauge("gpufleet_user_gpus", "GPUs on which the user has processes.", users, gpus)
    yield from gauge(
        "gpufleet_user_memory_bytes",
        "Device memory held by the user's processes.",
        holders,
        memory,
    )


def _gpu_of(table: Table, uuid: str) -> str:
    """The GPU of a MIG device; any other UUID as it is."""
    slot = table.snapshot.slots.get(uuid)
    subject = None if slot is None else table.snapshot.subjects[slot]
    return subject.parent if subject is not None and subject.kind == "mig" else uuid
