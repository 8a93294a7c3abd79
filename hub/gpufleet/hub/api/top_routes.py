"""REST of who is at the top: GPUs or groups with the most of a metric over a range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk
from gpufleet.hub.api.asked import metrics_of, subjects_of, time_range
from gpufleet.hub.api.group_documents import group_values, grouping
from gpufleet.hub.api.history_routes import GroupBy
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.store.groups import COLUMNS, MAX_TOP, By, Top
from gpufleet.proto.catalog import Kind, Metric, SubjectKind

USUAL_COLUMN = {
    Kind.GAUGE: "avg",
    Kind.COUNTER: "increase",
    Kind.STATE: "max",
    Kind.BITS: "active_seconds",
}

router = APIRouter()


@router.get("/top", tags=["History"], responses=schemas.ok(schemas.TopList, 400, 404, 503))
async def top(
    request: Request,
    desk: AtDesk,
    metric: Annotated[
        str, Query(max_length=100, description="One metric.", examples=["power_watts"])
    ],
    column: Annotated[
        Literal["", "avg", "min", "max", "sum", "increase", "active_seconds"],
        Query(description="What counts; empty: `avg`, `increase`, `max` or `active_seconds`."),
    ] = "",
    group_by: GroupBy = "gpu",
    order: Annotated[
        Literal["highest", "lowest"], Query(description="Which end comes first.")
    ] = "highest",
    limit: Annotated[int, Query(ge=1, le=MAX_TOP, description="Rows at most.")] = 10,
    gpu: parameters.Gpus = None,
    node: parameters.Node = None,
    start: parameters.Start = "-1h",
    end: parameters.End = "now",
) -> Response:
    """The GPUs or groups with the highest (or lowest) value over the whole range."""
    table = desk.table()
    (asked,) = metrics_of([metric], [SubjectKind.GPU], 1)
    by, label = grouping(group_by)
    columns = COLUMNS[asked.kind]
    if column and column not in columns:
        detail = f"{asked.name} has {', '.join(columns)}, not {column!r}."
        raise Problem(400, detail, parameter="column")
    subjects = subjects_of(table, gpu or [], node)
    start_ms, end_ms = time_range(start, end)
    named = column or USUAL_COLUMN[asked.kind]
    found = await desk.state.top(
        asked,
        named,
        start_ms,
        end_ms,
        limit,
        by=by,
        label=label,
        lowest=order == "lowest",
        subject_ids=None if subjects is None else [s.subject_id for s in subjects],
    )
    head = {
        "start": format_ms(start_ms),
        "end": format_ms(end_ms),
        "metric": asked.name,
        "unit": asked.unit,
        "column": named,
        "group_by": group_by,
    }
    return await desk.once(request, lambda: {**head, "top": _rows(table, asked, named, by, found)})


def _rows(
    table: Table, metric: Metric, column: str, by: By, found: Sequence[Top]
) -> list[dict[str, Any]]:
    values = group_values(metric, column, np.array([one.value for one in found]))
    return [
        {
            "group": one.group,
            "value": value,
            "n": one.n,
            "gpus": one.subjects,
            "gpu": _gpu(table, one.group) if by is By.GPU else None,
        }
        for one, value in zip(found, values, strict=True)
    ]


def _gpu(table: Table, uuid: str | None) -> dict[str, Any] | None:
    """Where the GPU is; None where it is in the fleet no more."""
    slot = table.snapshot.slots.get(uuid or "")
    subject = None if slot is None else table.snapshot.subjects[slot]
    if subject is None:
        return None
    return {"node": subject.node, "index": subject.index, "name": subject.name}
