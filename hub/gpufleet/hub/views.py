"""The fleet as readers see it: frozen views and one snapshot of the newest values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.incident import Incident


@dataclass(frozen=True, slots=True)
class FaultView:
    """Why a subject cannot be read now (states of gpufleet.agent.model.FaultState)."""

    state: str
    since_ms: int
    sentence: str


@dataclass(frozen=True, slots=True)
class HealthView:
    """Level 0-3 with every reason as a sentence; level ``None``: nothing was ever read."""

    level: int | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubjectView:
    """A GPU, MIG device or node that the hub knows. Its values are in column ``slot``."""

    slot: int
    subject_id: int
    kind: str
    key: str
    node: str
    index: int
    name: str
    parent: str
    facts: Mapping[str, Any]
    fault: FaultView | None = None
    health: HealthView = HealthView(None)


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node and its agent. Times are Unix milliseconds; ``None``: not known."""

    node_id: int
    name: str
    labels: Mapping[str, str]
    method: str
    methods: tuple[str, ...]
    interval_ms: int
    agent_version: str
    facts: Mapping[str, Any]
    epoch: int
    connected: bool
    up: bool
    last_tick_ms: int | None
    last_receipt_ms: int | None
    skew_ms: int | None
    hung_since_ms: int | None
    sentence: str
    dropped_ticks: int
    slot: int | None
    """Column of the node's own metrics; ``None`` before its first inventory."""
    subjects: tuple[int, ...] = ()
    """Slots of its GPUs and MIG devices, by index."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """The job that a GPU was given to, and whose it is, as far as that is known."""

    job: str
    user: str | None


def allocation_of(detail: Mapping[str, Any] | None) -> Allocation | None:
    """What a subject's detail document says of it (docs/processes.md)."""
    told = None if detail is None else detail.get("allocation")
    if not isinstance(told, Mapping) or not isinstance(job := told.get("job"), str):
        return None
    user = told.get("user")
    return Allocation(job[:256], user[:256] if isinstance(user, str) and user else None)


@dataclass(frozen=True, slots=True)
class ProcessView:
    """One process on one GPU as its node last said."""

    gpu: str
    pid: int
    type: str
    start_ms: int | None
    user: str | None
    program: str | None
    memory_bytes: int | None
    utilization_ratio: float | None
    container: str | None
    pod: str | None
    job: str | None
    arguments: str | None


@dataclass(frozen=True, slots=True)
class XidView:
    """How often one Xid came to one GPU, and when last."""

    count: int
    last_seen_ms: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole fleet at one version. Nothing in it changes: threads may read it.

    ``values`` is float64 (rows, slots) in base units, NaN where absent; ``rows`` maps a catalogue
    id to its row. A slot whose ``subjects`` entry is ``None`` is free. ``stale`` slots have had no
    sample for max(3 intervals, 5 s): their values are old and must not be shown as current.
    """

    version: int
    time_ms: int
    rows: Mapping[int, int]
    values: NDArray[np.float64]
    tick_ms: NDArray[np.int64]
    stale: NDArray[np.bool_]
    subjects: tuple[SubjectView | None, ...]
    nodes: Mapping[str, NodeView]
    slots: Mapping[str, int]
    """UUID of a GPU or MIG device → slot."""
    processes: Mapping[str, tuple[ProcessView, ...]]
    """Node → its processes."""
    processes_time_ms: Mapping[str, int]
    xids: Mapping[int, Mapping[int, XidView]] = field(default_factory=dict)
    """Subject id of a GPU → Xid → how often and when."""
    alerts: tuple[Incident, ...] = ()
    """Alerts that are not well; pending ones have no id. Their values may be a little old."""
    details: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """Slot → what is no scalar: per fan, per link, DCGM's findings."""
