"""What the hub says of now: fleet, nodes, GPUs, groups, events. Docs/api.md tells each field.

Times are RFC 3339 UTC (``moments`` reads them); not known is ``None``; names carry their units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class HealthCounts:
    """GPUs by health; ``unknown``: nothing was ever read."""

    healthy: int = 0
    caution: int = 0
    warning: int = 0
    critical: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """Nodes by whether their agents send."""

    total: int
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class GpuCounts:
    """GPUs by state. A stale one is counted under its last health as well."""

    total: int
    fresh: int
    stale: int
    by_health: HealthCounts
    by_fault: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over several GPUs, of which ``gpus`` have it."""

    gpus: int = 0
    mean: float | None = None
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """A metric's sum over several GPUs, of which ``gpus`` have it."""

    gpus: int = 0
    sum: float | None = None


@dataclass(frozen=True, slots=True)
class SeverityCounts:
    """Firing alerts by severity."""

    critical: int = 0
    warning: int = 0
    info: int = 0


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """Alerts by state; ``by_severity`` of those that fire."""

    firing: int = 0
    pending: int = 0
    no_data: int = 0
    by_severity: SeverityCounts = field(default_factory=SeverityCounts)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Totals of the fleet."""

    time: str
    version: int
    nodes: NodeCounts
    gpus: GpuCounts
    mig_devices: int
    users: int
    processes: int
    utilization_ratio: Spread
    memory_used_ratio: Spread
    temperature_celsius: Spread
    memory_temperature_celsius: Spread
    fan_speed_ratio: Spread
    memory_used_bytes: Total
    memory_total_bytes: Total
    power_watts: Total
    power_limit_watts: Total
    alerts: AlertCounts | None
    """``None``: a hub without alerts."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node and its agent; ``dynamic`` has the node's own metrics."""

    name: str
    up: bool
    connected: bool
    labels: Mapping[str, str]
    method: str | None
    methods: tuple[str, ...]
    interval_seconds: float
    agent_version: str | None
    sample_time: str | None
    receipt_time: str | None
    clock_skew_seconds: float | None
    collector_hung_since: str | None
    sentence: str | None
    dropped_ticks: int
    gpus: int
    gpus_stale: int
    gpus_by_health: HealthCounts
    dynamic: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NodePage:
    """Nodes by name."""

    time: str
    total: int
    next_cursor: str | None
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class NodeGpu:
    """A GPU as its node names it."""

    uuid: str
    index: int
    name: str
    health: int | None
    fault: str | None
    stale: bool


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """What ``/nodes/{node}`` adds to a Node."""

    name: str
    up: bool
    labels: Mapping[str, str]
    facts: Mapping[str, Any]
    dynamic: Mapping[str, Any]
    processes_time: str | None
    gpu_list: tuple[NodeGpu, ...]


@dataclass(frozen=True, slots=True)
class Process:
    """A process on a GPU."""

    gpu: str
    pid: int
    type: str
    start_time: str | None
    user: str | None
    program: str | None
    memory_bytes: int | None
    utilization_ratio: float | None
    container: str | None
    pod: str | None
    job: str | None
    arguments: str | None


@dataclass(frozen=True, slots=True)
class ProcessList:
    """Processes on one GPU as its node last said."""

    uuid: str
    node: str
    stale: bool
    processes_time: str | None
    processes: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The health of a GPU: level 0 to 3 and every reason."""

    level: int | None
    status: str
    reasons: tuple[str, ...] = ()
    basis: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a GPU cannot be read now."""

    state: str
    since: str | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Mig:
    """A MIG device."""

    uuid: str
    index: int
    name: str
    static: Mapping[str, Any]
    dynamic: Mapping[str, Any]
    health: Verdict
    stale: bool
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU in the schema of ``gpufleet snapshot``: facts, newest values, processes."""

    uuid: str
    index: int
    name: str
    node: str
    method: str | None
    static: Mapping[str, Any]
    dynamic: Mapping[str, Any]
    health: Verdict
    fault: Fault | None
    stale: bool
    sample_time: str | None
    detail: Mapping[str, Any] = field(default_factory=dict)
    processes: tuple[Process, ...] = ()
    mig: tuple[Mig, ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """How many different ones there are, and the first of them."""

    total: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A group of GPUs now. ``group`` is ``None`` for those without a user or label."""

    group: str | None
    gpus: int
    free: int
    stale: int
    nodes_up: int
    health: int | None
    by_health: HealthCounts
    processes: int
    process_memory_bytes: int | None
    nodes: Names
    models: Names
    users: Names
    programs: Names
    jobs: Names
    utilization_ratio: Spread
    memory_used_ratio: Spread
    temperature_celsius: Spread
    memory_used_bytes: Total
    memory_total_bytes: Total
    power_watts: Total
    power_limit_watts: Total
    load: tuple[float | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class GroupPage:
    """Groups in order; ``total`` counts all of them."""

    time: str
    version: int
    by: str
    total: int
    load_end: str | None
    load_step_seconds: float
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Sparkline:
    """One GPU's recent values, the newest last."""

    uuid: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Sparklines:
    """Recent load, GPU by GPU in the order of the list."""

    time: str
    metric: str
    end: str | None
    step_seconds: float
    sparklines: tuple[Sparkline, ...]


@dataclass(frozen=True, slots=True)
class EventSubject:
    """What an event is about."""

    kind: str
    key: str
    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    time: str
    kind: str
    severity: str
    node: str | None
    subject: EventSubject | None
    code: int | None
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first."""

    next_cursor: str | None
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of the catalogue."""

    id: int
    name: str
    kind: str
    unit: str
    resolution: float
    subjects: tuple[str, ...]
    rollup: bool
    help: str
    words: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every metric."""

    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class Info:
    """Facts of the hub."""

    time: str
    ready: bool
    sentence: str
    version: str | None
    http_streams: int
    limits: Mapping[str, int]
    start_time: str | None
