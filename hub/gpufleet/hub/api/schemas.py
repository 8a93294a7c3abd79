"""Documents of the REST API as models: what /openapi.json says of them. Bodies are not made here.

Tests hold real answers against these models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.config import JsonDict

from gpufleet.client.fields import FieldKind
from gpufleet.hub.api import examples, examples_live
from gpufleet.hub.api.gpu_list import FIELDS, LABELS
from gpufleet.proto.catalog import BY_NAME, Kind, SubjectKind, metrics

Time = Annotated[str, Field(description="RFC 3339 UTC", examples=["2026-03-01T12:00:00Z"])]
Level = Annotated[int, Field(ge=0, le=3, description="0 healthy … 3 critical")]
Number = int | float
Source = Annotated[
    Literal["samples", "minutes", "hours"], Field(description="What the answer is made of.")
]


def example(document: Any) -> JsonDict:
    """A model's configuration of one example."""
    return {"examples": [document]}


class Document(BaseModel):
    """Nothing is in a document that its model does not name."""

    model_config = ConfigDict(extra="forbid")


class ProblemDocument(BaseModel):
    """An error (RFC 9457): ``detail`` says what is wrong and what to do."""

    model_config = ConfigDict(extra="allow", json_schema_extra=example(examples.PROBLEM))
    type: str
    title: str
    status: int
    detail: str


class NodeCounts(Document):
    """Nodes by whether their agents send."""

    total: int
    up: int
    down: int


class HealthCounts(Document):
    """GPUs by the level of their health; ``unknown``: nothing was ever read."""

    healthy: int
    caution: int
    warning: int
    critical: int
    unknown: int


class GpuCounts(Document):
    """GPUs by state. A stale one is counted under its last health as well."""

    total: int
    fresh: int
    stale: int
    by_health: HealthCounts
    by_fault: dict[str, int]


class Spread(Document):
    """A metric over the fleet; ``gpus`` is how many have it."""

    gpus: int
    mean: Number | None
    min: Number | None
    max: Number | None


class Sum(Document):
    """A metric's sum over the fleet; ``gpus`` is how many have it."""

    gpus: int
    sum: Number | None


class SeverityCounts(Document):
    """Firing alerts by severity."""

    info: int
    warning: int
    critical: int


class AlertCounts(Document):
    """Alerts that are not well; ``firing`` holds those that are recovering."""

    pending: int
    firing: int
    no_data: int
    by_severity: SeverityCounts


class Fleet(Document):
    """Totals of the fleet."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.FLEET))
    time: Time
    version: int
    nodes: NodeCounts
    gpus: GpuCounts
    mig_devices: int
    alerts: AlertCounts
    users: int
    processes: int
    utilization_ratio: Spread
    memory_used_ratio: Spread
    temperature_celsius: Spread
    memory_temperature_celsius: Spread
    fan_speed_ratio: Spread
    memory_used_bytes: Sum
    memory_total_bytes: Sum
    power_watts: Sum
    power_limit_watts: Sum


def _dynamic(kind: SubjectKind) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for metric in metrics(kind):
        text = f"{metric.help}{f' In {metric.unit}.' if metric.unit else ''}"
        of = list[str] if metric.kind is Kind.BITS else Number
        fields[metric.name] = (of | None, Field(description=text))
    name = f"{kind.value.capitalize()}Metrics"
    return create_model(name, __base__=Document, __doc__="Metrics; null: absent.", **fields)


GpuMetrics = _dynamic(SubjectKind.GPU)
MigMetrics = _dynamic(SubjectKind.MIG)
NodeMetrics = _dynamic(SubjectKind.NODE)


class NodeRow(Document):
    """A node and its agent."""

    name: str
    up: bool
    connected: bool
    labels: dict[str, str]
    method: str | None
    methods: list[str]
    interval_seconds: Number
    agent_version: str | None
    sample_time: Time | None
    receipt_time: Time | None
    clock_skew_seconds: Number | None
    collector_hung_since: Time | None
    sentence: str | None
    dropped_ticks: int
    gpus: int
    gpus_stale: int
    gpus_by_health: HealthCounts
    dynamic: NodeMetrics  # type: ignore[valid-type]


class NodeGpu(Document):
    """A GPU as its node's document names it."""

    uuid: str
    index: int
    name: str
    health: Level | None
    fault: str | None
    stale: bool


class NodeDocument(NodeRow):
    """A node with its facts and GPUs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples_live.NODE))
    time: Time
    version: int
    facts: dict[str, Any]
    processes_time: Time | None
    gpu_list: list[NodeGpu]


class NodePage(Document):
    """Nodes by name."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples_live.NODES))
    time: Time
    version: int
    total: int
    next_cursor: str | None
    nodes: list[NodeRow]


class ForgottenNode(Document):
    """A node that the hub shows no more."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples_live.FORGOTTEN))
    name: str
    gpus: int


def _row() -> type[BaseModel]:
    types: dict[FieldKind, Any] = {
        FieldKind.NUMBER: Number,
        FieldKind.TEXT: str,
        FieldKind.SET: list[str],
        FieldKind.FLAG: bool,
    }
    fields: dict[str, Any] = {"uuid": (str, Field())}
    for name, field in FIELDS.by_name.items():
        if name != "uuid":
            metric = BY_NAME.get(name)
            text = metric.help if metric is not None else None
            fields[name] = (types[field.kind] | None, Field(default=None, description=text))
    fields[LABELS] = (dict[str, str] | None, None)
    text = "A GPU with the fields that were asked for; null: absent. `label.*` as asked for."
    return create_model("GpuRow", __config__=ConfigDict(extra="allow"), __doc__=text, **fields)


GpuRow = _row()


class GpuPage(Document):
    """GPUs that pass the filter, in order. ``total`` counts all of them."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.GPUS))
    time: Time
    version: int
    total: int
    next_cursor: str | None
    gpus: list[GpuRow]  # type: ignore[valid-type]


class Names(Document):
    """How many different ones there are, and the first of them."""

    total: int
    names: list[str]


class GroupRow(Document):
    """A group of GPUs now. ``free``: heard from, no process, no job. ``load``: recent means."""

    group: str | None
    gpus: int
    free: int
    stale: int
    nodes_up: int
    health: Level | None
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
    memory_temperature_celsius: Spread
    fan_speed_ratio: Spread
    memory_used_bytes: Sum
    memory_total_bytes: Sum
    power_watts: Sum
    power_limit_watts: Sum
    load: list[Number | None] | None


class GroupPage(Document):
    """Groups in order. ``total`` counts all of them; steps of ``load`` end at ``load_end``."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.GROUPS))
    time: Time
    version: int
    by: str
    total: int
    load_end: Time | None
    load_step_seconds: Number
    groups: list[GroupRow]


class Sparkline(Document):
    """One GPU's values, the newest last; null: absent."""

    uuid: str
    values: list[Number | None]


class Sparklines(Document):
    """The recent past of a metric, GPU by GPU in the order of the list."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.SPARKLINES))
    time: Time
    version: int
    metric: str
    end: Time | None
    step_seconds: Number
    sparklines: list[Sparkline]


class Health(Document):
    """The verdict on a GPU with every reason as a sentence."""

    level: Level | None
    status: Literal["healthy", "caution", "warning", "critical", "unknown"]
    reasons: list[str]
    basis: Literal["live"]


class Fault(Document):
    """Why a GPU cannot be read now."""

    state: str
    since: Time | None
    sentence: str


class Process(Document):
    """A process on a GPU; null: not known."""

    gpu: str
    pid: int
    type: str
    start_time: Time | None
    user: str | None
    program: str | None
    memory_bytes: int | None
    utilization_ratio: float | None
    container: str | None
    pod: str | None
    job: str | None
    arguments: str | None


class ProcessList(Document):
    """Processes on one GPU as its node last said."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.PROCESSES))
    uuid: str
    node: str
    stale: bool
    processes_time: Time | None
    processes: list[Process]


class _SubjectDocument(Document):
    uuid: str
    index: int
    name: str
    node: str
    method: str | None
    static: dict[str, Any]
    health: Health
    detail: dict[str, Any]
    fault: Fault | None
    stale: bool
    sample_time: Time | None
    processes: list[Process]


class MigDocument(_SubjectDocument):
    """A MIG device."""

    dynamic: MigMetrics  # type: ignore[valid-type]
    parent: str


class GpuDocument(_SubjectDocument):
    """One GPU. Values of a stale one are null, its health is the last that was told."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples_live.GPU))
    dynamic: GpuMetrics  # type: ignore[valid-type]
    mig: list[MigDocument]


class Series(BaseModel):
    """One metric over time, column by column; see the endpoint for the columns of each kind."""

    model_config = ConfigDict(extra="forbid")
    unit: str
    kind: str
    time: list[Time]
    n: list[int]
    avg: list[Number | None] | None = None
    min: list[Number | None] | None = None
    max: list[Number | None] | None = None
    last: list[Number | None] | None = None
    increase: list[Number | None] | None = None
    bits: list[list[str]] | None = None
    active_seconds: list[Number | None] | None = None


class _History(Document):
    """What answers about a range of time say of it; with ``raw`` every point is one sample."""

    start: Time
    end: Time
    step_seconds: Number
    raw: bool
    source: Source


class History(_History):
    """Series of one GPU or MIG device by metric; with ``raw`` every point is one sample."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.HISTORY))
    uuid: str
    series: dict[str, Series]


class NodeHistory(_History):
    """Series of a node itself by metric; with ``raw`` every point is one sample."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.NODE_HISTORY))
    node: str
    series: dict[str, Series]


class GpuHistory(Document):
    """One of several GPUs."""

    uuid: str
    node: str
    index: int
    name: str
    series: dict[str, Series]


class Histories(_History):
    """Series by GPU and metric, all in buckets of one width."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.HISTORIES))
    gpus: list[GpuHistory]


class GroupSeries(BaseModel):
    """One metric of one group over time; ``gpus`` have a value in the bucket."""

    model_config = ConfigDict(extra="forbid")
    unit: str
    kind: str
    time: list[Time]
    n: list[int]
    gpus: list[int]
    avg: list[Number | None] | None = None
    min: list[Number | None] | None = None
    max: list[Number | None] | None = None
    sum: list[Number | None] | None = None
    increase: list[Number | None] | None = None
    active_seconds: list[Number | None] | None = None


class Group(Document):
    """A group; null: nodes without the label, or the whole fleet."""

    group: str | None
    series: dict[str, GroupSeries]


class GroupHistory(Document):
    """Series by group and metric."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.GROUP_HISTORY))
    start: Time
    end: Time
    step_seconds: Number
    source: Source
    group_by: str
    groups: list[Group]


class Place(Document):
    """Where a GPU is now."""

    node: str
    index: int
    name: str


class TopRow(Document):
    """A GPU or group and its value over the range, of ``n`` samples of ``gpus`` GPUs."""

    group: str | None
    value: Number | None
    n: int
    gpus: int
    gpu: Place | None


class TopList(Document):
    """GPUs or groups in order of their value."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.TOP))
    start: Time
    end: Time
    metric: str
    unit: str
    column: str
    group_by: str
    top: list[TopRow]


class UsageRow(Document):
    """What one user, job or node had; name null: not known. Null: nobody told."""

    name: str | None
    users: int
    gpus: int
    held_gpu_seconds: Number
    measured_gpu_seconds: Number
    used_gpu_seconds: Number | None
    held_mig_seconds: Number
    energy_joules: Number | None
    memory_peak_bytes: int | None


class UsageList(Document):
    """Usage in whole hours, most held first."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.USAGE))
    start: Time
    end: Time
    by: Literal["user", "job", "node"]
    usage: list[UsageRow]


class EventSubject(Document):
    """What an event is about."""

    kind: str
    key: str
    index: int
    name: str


class Event(Document):
    """Something that happened."""

    time: Time
    kind: str
    severity: str
    node: str | None
    subject: EventSubject | None
    code: int | None
    message: str
    data: dict[str, Any]


class EventPage(Document):
    """Events, newest first."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.EVENTS))
    next_cursor: str | None
    events: list[Event]


class CatalogMetric(Document):
    """A metric. ``resolution`` is its smallest step; ``words`` name values that have a name."""

    id: int
    name: str
    kind: Literal["gauge", "counter", "state", "bits"]
    unit: str
    resolution: Number
    subjects: list[str]
    source: Literal["agent", "hub"]
    rollup: bool
    help: str
    prometheus: dict[str, str]
    dcgm: str | None
    words: dict[str, Number] | None


class Catalog(Document):
    """Every metric."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples_live.CATALOG))
    metrics: list[CatalogMetric]


class Info(BaseModel):
    """Facts of the hub."""

    model_config = ConfigDict(extra="allow", json_schema_extra=example(examples_live.INFO))
    time: Time
    ready: bool
    sentence: str
    http_streams: int
    limits: dict[str, int]


class Facts(BaseModel):
    """Static facts of a GPU in base units (docs/facts.md)."""

    model_config = ConfigDict(extra="allow", json_schema_extra=example(examples_live.FACTS))


class MissionGpu(Document):
    """A GPU in the list."""

    uuid: str
    index: int
    name: str
    node: str


class MissionList(Document):
    """Every GPU."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.GPU_LIST))
    time: Time
    gpus: list[MissionGpu]


class Probe(Document):
    """The hub's answer to a probe."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.READY))
    ready: bool
    sentence: str


Responses = dict[int | str, dict[str, Any]]


def ok(model: type[BaseModel], *errors: int) -> Responses:
    """The responses of an endpoint that answers with this model."""
    return {200: {"model": model}, **_problems(*errors)}


def ok_one_of(models: Sequence[type[BaseModel]], *errors: int) -> Responses:
    """The responses of an endpoint that answers with one of these models."""
    return {200: {"model": Union[tuple(models)]}, **_problems(*errors)}  # noqa: UP007


def anything(*errors: int) -> Responses:
    """The responses of an endpoint that answers with any JSON value."""
    content = {"application/json": {"schema": {}, "example": examples_live.PART}}
    return {200: {"content": content}, **_problems(*errors)}


def text(description: str, example: str, *errors: int, kind: str = "text/plain") -> Responses:
    """The responses of an endpoint that answers with text; its ``response_class`` is Response."""
    content = {kind: {"schema": {"type": "string"}, "example": example}}
    return {200: {"description": description, "content": content}, **_problems(*errors)}


def exported(*errors: int) -> Responses:
    """The responses of an endpoint that answers with rows of text."""
    content = {
        kind: {"schema": {"type": "string"}, "example": example}
        for kind, example in (
            ("text/csv", examples_live.EXPORT_CSV),
            ("application/jsonl", examples_live.EXPORT_JSONL),
        )
    }
    return {200: {"description": "Rows.", "content": content}, **_problems(*errors)}


def _problems(*statuses: int) -> Responses:
    return {
        status: {
            "description": "A problem document.",
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/ProblemDocument"}
                }
            },
        }
        for status in sorted({*statuses, 422})
    }
