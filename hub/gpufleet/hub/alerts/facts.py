"""What the hub itself knows of subjects, as the engine wants it: flags, counts, silence, health."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.rules.tree import FlagName
from gpufleet.hub.fleet import Fleet, Node
from gpufleet.hub.health import FleetHealth
from gpufleet.hub.views import allocation_of
from gpufleet.proto.catalog import BY_NAME

LISTENING_MS = 60_000
"""Silence is concluded no sooner than this after the hub began to listen."""
GONE = frozenset({"lost", "missing"})
"""Faults of a GPU that its node cannot reach."""

_HEALTH = BY_NAME["health"].id

Floats = NDArray[np.float64]


def flags(fleet: Fleet, health: FleetHealth, listened_ms: int) -> Mapping[FlagName, Floats]:
    """1, 0 or NaN (not known) for every slot.

    A node that was never heard is not missing before the hub has listened for a minute, and of the
    GPUs of a silent node nothing is known.
    """
    missing = np.full(fleet.capacity, np.nan)
    hung = np.full(fleet.capacity, np.nan)
    for node in fleet.nodes.values():
        if node.own_slot is None:
            continue
        if node.up:
            missing[node.own_slot] = 0.0
            hung[node.own_slot] = 1.0 if node.hung_since_ms is not None else 0.0
            if node.slots:
                missing[list(node.slots)] = 0.0
        elif listened_ms >= LISTENING_MS:
            missing[node.own_slot] = 1.0
    for slot, state in fleet.faults.items():
        if state in GONE and missing[slot] == 0.0:
            missing[slot] = 1.0
    links = health.links_down(fleet.capacity)
    for node in fleet.nodes.values():
        if not node.up and node.slots:
            links[list(node.slots)] = np.nan
    return {FlagName.MISSING: missing, FlagName.HUNG: hung, FlagName.NVLINK_DOWN: links}


def hub_values(fleet: Fleet) -> Floats:
    """The fleet's values as far as they are of now: no old ones of silent subjects.

    A lost GPU sends nothing, but what is told of its health while its node is up is of now.
    """
    values = fleet.values.copy()
    health = values[fleet.rows[_HEALTH]].copy()
    values[:, fleet.stale] = np.nan
    for node in fleet.nodes.values():
        if not node.up and node.slots:
            health[list(node.slots)] = np.nan
    values[fleet.rows[_HEALTH]] = health
    return values


def silent_ms(fleet: Fleet, now_mono: int, listened_ms: int) -> NDArray[np.int64]:
    """For how long no sample of each slot has come, as far as the hub listened: (capacity,)."""
    return np.minimum(now_mono - fleet.receipt_mono, listened_ms)


@dataclass(frozen=True, slots=True)
class Work:
    """What runs on a GPU, and for which jobs, the one that it was given to included."""

    pids: frozenset[int]
    jobs: frozenset[str]


def work_of(fleet: Fleet, node: Node) -> Mapping[int, Work]:
    """By slot, for the GPUs of a node whose process list is known."""
    listed = fleet.processes.get(node.name)
    if listed is None:
        return {}
    pids: dict[str, set[int]] = {}
    jobs: dict[str, set[str]] = {}
    for process in listed:
        pids.setdefault(process.gpu, set()).add(process.pid)
        if process.job:
            jobs.setdefault(process.gpu, set()).add(process.job)
    found = {}
    for slot in node.slots:
        subject = fleet.subjects[slot]
        if subject is not None:
            given = allocation_of(fleet.details.get(slot))
            own = jobs.get(subject.key, set()) | (set() if given is None else {given.job})
            found[slot] = Work(frozenset(pids.get(subject.key, ())), frozenset(own))
    return found
