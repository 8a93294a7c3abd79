"""REST of what was: metrics of GPUs and nodes over time, one by one or summed up in groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, Desk, node_named, subject_of
from gpufleet.hub.api.asked import MAX_METRICS, metrics_of, subjects_of, time_range
from gpufleet.hub.api.group_documents import group_history_document, grouping, most_groups
from gpufleet.hub.api.history_documents import head, histories_document, series_documents
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.store.history import History
from gpufleet.hub.store.history import Request as SeriesRequest
from gpufleet.hub.views import SubjectView
from gpufleet.proto.catalog import Metric, SubjectKind

MAX_POINTS = 5000
MAX_VALUES = 60_000
"""Points times series of one answer."""
MAX_GROUP_VALUES = 200_000
MAX_GROUP_METRICS = 8

Metrics = Annotated[
    list[str] | None,
    Query(
        max_length=MAX_METRICS,
        description="Metric names, repeated or comma-separated.",
        examples=[["power_watts"]],
    ),
]
NodeMetrics = Annotated[
    list[str] | None,
    Query(
        max_length=MAX_METRICS,
        description="Names of metrics of nodes, repeated or comma-separated.",
        examples=[["host_cpu_utilization_ratio"]],
    ),
]
Points = Annotated[int, Query(ge=1, le=MAX_POINTS, description="Points a metric at most.")]
GroupBy = Annotated[
    str,
    Query(
        max_length=80,
        description="`fleet`, `node`, `model`, `gpu` or `label.NAME`; empty: each GPU by itself.",
        examples=["node"],
    ),
]

router = APIRouter()


@router.get(
    "/gpus/{uuid}/history", tags=["History"], responses=schemas.ok(schemas.History, 400, 404, 503)
)
async def history(
    request: Request,
    desk: AtDesk,
    uuid: parameters.Uuid,
    metric: Metrics = None,
    start: parameters.Start = "-1h",
    end: parameters.End = "now",
    points: Points = 500,
) -> Response:
    """Metrics of one GPU over time: samples where they fit, else buckets of one width.

    `source` says what answered: `samples` for about a day, `minutes` for a week, then `hours`.
    Each series has `time` and `n` (samples in the bucket), and by kind: gauge `avg`, `min`, `max`;
    counter `last`, `increase`; state `last`, `min`, `max`; bits `bits`, `active_seconds`.
    """
    subject = subject_of(desk.table(), uuid)
    metrics = metrics_of(metric or [], [SubjectKind(subject.kind)])
    start_ms, end_ms = time_range(start, end)
    found = await _ask(desk, [subject], metrics, start_ms, end_ms, points)
    return await desk.once(
        request,
        lambda: {"uuid": subject.key, **head(found), "series": series_documents(found.series)},
    )


@router.get(
    "/nodes/{node}/history",
    tags=["History"],
    responses=schemas.ok(schemas.NodeHistory, 400, 404, 503),
)
async def node_history(
    request: Request,
    desk: AtDesk,
    node: parameters.NodeName,
    metric: NodeMetrics = None,
    start: parameters.Start = "-1h",
    end: parameters.End = "now",
    points: Points = 500,
) -> Response:
    """Metrics of a node itself over time: its host's load and memory, and what its agent costs.

    As of a GPU, but made of samples over every range: it begins where these begin.
    """
    table = desk.table()
    view = node_named(table, node)
    metrics = metrics_of(metric or [], [SubjectKind.NODE])
    start_ms, end_ms = time_range(start, end)
    own = None if view.slot is None else table.snapshot.subjects[view.slot]
    if own is None:
        detail = f"Node {node} has not told its metrics since this hub started; try again later."
        raise Problem(503, detail, headers={"Retry-After": "5"})
    found = await _ask(desk, [own], metrics, start_ms, end_ms, points)
    return await desk.once(
        request,
        lambda: {"node": view.name, **head(found), "series": series_documents(found.series)},
    )


@router.get(
    "/history",
    tags=["History"],
    responses=schemas.ok_one_of([schemas.Histories, schemas.GroupHistory], 400, 404, 503),
)
async def histories(
    request: Request,
    desk: AtDesk,
    metric: Metrics = None,
    gpu: parameters.Gpus = None,
    node: parameters.Node = None,
    group_by: GroupBy = "",
    start: parameters.Start = "-1h",
    end: parameters.End = "now",
    points: Points = 500,
) -> Response:
    """Metrics of several GPUs over time, or of groups of GPUs.

    Without `group_by` the GPUs that `gpu` and `node` name, each with its series (as of one GPU).
    With it the GPUs so named, or the whole fleet, in groups: gauge `avg`, `min`, `max` and `sum`
    (of the GPUs' averages); counter `increase`; state `min`, `max`; bits `active_seconds`; `gpus`
    counts GPUs with a value. Groups come from minutes or hours: they end a minute or two ago.
    """
    table = desk.table()
    subjects = subjects_of(table, gpu or [], node)
    start_ms, end_ms = time_range(start, end)
    if group_by:
        by, label = grouping(group_by)
        metrics = metrics_of(metric or [], [SubjectKind.GPU], MAX_GROUP_METRICS)
        groups = most_groups(table, by, label, subjects)
        if groups * points * len(metrics) > MAX_GROUP_VALUES:
            detail = (
                f"groups times points times metrics is at most {MAX_GROUP_VALUES}, and there are"
                f" {groups} groups; ask for fewer points or metrics, or for the /api/v1/top."
            )
            raise Problem(400, detail, parameter="points")
        ids = None if subjects is None else [s.subject_id for s in subjects]
        grouped = [
            await desk.state.groups(one, by, start_ms, end_ms, points, label=label, subject_ids=ids)
            for one in metrics
        ]
        return await desk.once(
            request, lambda: group_history_document(group_by, start_ms, end_ms, grouped)
        )
    if not subjects:
        detail = (
            "Say which GPUs: gpu=UUID (repeated or comma-separated) or node=NAME, or group_by=fleet"
            " for all of them together."
            if subjects is None
            else f"Node {node} has no GPU."
        )
        raise Problem(400, detail, parameter="gpu")
    metrics = metrics_of(metric or [], {SubjectKind(s.kind): None for s in subjects})
    found = await _ask(desk, subjects, metrics, start_ms, end_ms, points)
    return await desk.once(request, lambda: histories_document(subjects, found, len(metrics)))


async def _ask(
    desk: Desk,
    subjects: Sequence[SubjectView],
    metrics: Sequence[Metric],
    start_ms: int,
    end_ms: int,
    points: int,
) -> History:
    if points * len(metrics) * len(subjects) > MAX_VALUES:
        detail = (
            f"points times metrics times GPUs is at most {MAX_VALUES};"
            " ask for fewer points, metrics or GPUs."
        )
        raise Problem(400, detail, parameter="points")
    requests = [SeriesRequest(s.subject_id, m) for s in subjects for m in metrics]
    return await desk.state.history(requests, start_ms, end_ms, points)
