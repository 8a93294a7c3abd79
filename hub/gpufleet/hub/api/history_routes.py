"""REST of what was: metrics of GPUs over time, one by one or summed up in groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, Desk, subject_of
from gpufleet.hub.api.asked import MAX_METRICS, metrics_of, subjects_of, time_range
from gpufleet.hub.api.group_documents import group_history_document, grouping, most_groups
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.api.values import bit_names, numbers, short
from gpufleet.hub.store.history import History, Series
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
        lambda: {"uuid": subject.key, **_head(found), "series": _series_documents(found.series)},
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
    return await desk.once(request, lambda: _histories_document(subjects, found, len(metrics)))


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


def _head(history: History) -> dict[str, Any]:
    return {
        "start": format_ms(history.start_ms),
        "end": format_ms(history.end_ms),
        "step_seconds": history.step_ms / 1000,
        "raw": history.raw,
        "source": history.source.name.lower(),
    }


def _histories_document(
    subjects: Sequence[SubjectView], history: History, metrics: int
) -> dict[str, Any]:
    """The series come GPU by GPU, as they were asked for."""
    return {
        **_head(history),
        "gpus": [
            {
                "uuid": subject.key,
                "node": subject.node,
                "index": subject.index,
                "name": subject.name,
                "series": _series_documents(history.series[at * metrics : (at + 1) * metrics]),
            }
            for at, subject in enumerate(subjects)
        ],
    }


def _series_documents(series: Sequence[Series]) -> dict[str, Any]:
    return {one.metric.name: _series_document(one) for one in series}


def _series_document(series: Series) -> dict[str, Any]:
    """One series column by column, without buckets that hold no sample."""
    points, metric = series.points, series.metric
    filled = np.flatnonzero(points.n)
    document: dict[str, Any] = {
        "unit": metric.unit,
        "kind": metric.kind.value,
        "time": [format_ms(moment) for moment in points.times_ms[filled].tolist()],
        "n": points.n[filled].tolist(),
    }
    for name, column in points.columns.items():
        values = column[filled]
        if name == "bits":
            document[name] = [bit_names(bits) for bits in values.tolist()]
        elif name in ("avg", "active_seconds"):
            document[name] = [short(metric, v) for v in values.tolist()]
        else:
            document[name] = numbers(metric, values)
    return document
