"""REST of what large fleets are looked at by: groups now, and recent load, both from memory."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk
from gpufleet.hub.api.asked import split_names
from gpufleet.hub.api.gpu_list import GpuQuery, ordered, plan
from gpufleet.hub.api.groups_now import (
    SORTS,
    GroupQuery,
    check_grouping,
    groups_document,
    ratio_list,
)
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.trend import POINTS, STEP_MS, Trend

router = APIRouter()

By = Annotated[
    str,
    Query(
        max_length=80,
        description="`node`, `model`, `user` or `label.NAME`.",
        examples=["node"],
    ),
]
Points = Annotated[int, Query(ge=1, le=POINTS, description="Steps of ten seconds at most.")]


@router.get("/groups", tags=["GPUs"], responses=schemas.ok(schemas.GroupPage, 400))
async def groups(
    request: Request,
    desk: AtDesk,
    by: By = "node",
    filter: parameters.Filter = "",
    sort: Annotated[
        str,
        Query(max_length=100, description=f"One of {', '.join(SORTS)}; `-`: the greatest first."),
    ] = "",
    limit: parameters.Limit = parameters.DEFAULT_LIMIT,
    offset: parameters.Offset = 0,
    points: Annotated[
        int, Query(ge=0, le=POINTS, description="Steps of recent load in each group.")
    ] = 0,
) -> Response:
    """GPUs that pass a filter, summed up by node, model, label or user, as they are now.

    Of a user's group `processes`, `process_memory_bytes`, `programs` and `jobs` are the user's own;
    a GPU of two users is in both groups. `group` null has the GPUs without a user or label.
    """
    query = GroupQuery(by, filter, sort, limit, offset, points)
    expr = plan(GpuQuery(filter)).expr
    check_grouping(by)
    trend = desk.state.trend()
    key = ("groups", query, trend.end_ms)
    return await desk.shared(request, key, lambda table: groups_document(table, trend, query, expr))


@router.get("/sparklines", tags=["GPUs"], responses=schemas.ok(schemas.Sparklines, 400))
async def sparklines(
    request: Request,
    desk: AtDesk,
    metric: Annotated[
        Literal["utilization_ratio"], Query(description="What the hub keeps in memory.")
    ] = "utilization_ratio",
    gpu: parameters.Gpus = None,
    filter: parameters.Filter = "",
    sort: parameters.Sort = "",
    limit: parameters.Limit = parameters.DEFAULT_LIMIT,
    offset: parameters.Offset = 0,
    points: Points = 60,
) -> Response:
    """The recent load of GPUs: those named, or the same part of the list as `/gpus` answers with.

    A value is the mean of ten seconds; the newest is last and ends at `end`. From the hub's memory:
    what was before its start is absent (`/history` has it).
    """
    asked = plan(GpuQuery(filter, sort))
    uuids = frozenset(split_names(gpu or []))
    trend = desk.state.trend()

    def make(table: Table) -> dict[str, Any]:
        found = ordered(table, asked)
        if uuids:
            named = [table.gpus.subjects[i].key in uuids for i in found.tolist()]
            found = found[np.array(named, np.bool_)]
        return _document(table, trend, metric, found[offset : offset + limit], points)

    key = ("sparklines", uuids, filter, sort, limit, offset, points, trend.end_ms)
    return await desk.shared(request, key, make)


def _document(table: Table, trend: Trend, metric: str, indices: Any, points: int) -> dict[str, Any]:
    ratios = trend.ratios(table.gpus.slots[indices], points)
    return {
        "time": format_ms(table.snapshot.time_ms),
        "version": table.snapshot.version,
        "metric": metric,
        "end": format_ms(trend.end_ms) if trend.end_ms else None,
        "step_seconds": STEP_MS // 1000,
        "sparklines": [
            {"uuid": table.gpus.subjects[i].key, "values": ratio_list(values)}
            for i, values in zip(indices.tolist(), ratios, strict=True)
        ],
    }
