"""REST of who used the fleet: GPU time, energy and memory by user, job or node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, node_named
from gpufleet.hub.api.asked import time_range
from gpufleet.hub.api.times import MAX_TIME_MS, format_ms
from gpufleet.hub.store.usage import MAX_ROWS, Usage, UsageBy

HOUR_MS = 3_600_000

router = APIRouter()


@router.get("/usage", tags=["History"], responses=schemas.ok(schemas.UsageList, 400, 404, 503))
async def usage(
    request: Request,
    desk: AtDesk,
    by: Annotated[UsageBy, Query(description="What it is summed up by.")] = UsageBy.USER,
    node: parameters.Node = None,
    start: parameters.Start = "-1d",
    end: parameters.End = "now",
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS, description="Rows at most.")] = 1000,
) -> Response:
    """GPU time held and used, energy and peak memory by user, job or node, most held first.

    It is kept by the hour: `start` and `end` are those of the hours that the range touches. The
    last minute or two are not in it. A GPU that several hold at once is shared out among them.
    `used_gpu_seconds` is weighted by utilisation and covers `measured_gpu_seconds` of those held;
    `energy_joules` is of the time in which the GPU had one holder.
    """
    node_ids = None if node is None else [node_named(desk.table(), node).node_id]
    start_ms, end_ms = time_range(start, end)
    found = await desk.state.usage(by, start_ms, end_ms, node_ids=node_ids, limit=limit)
    return await desk.once(request, lambda: _document(by, start_ms, end_ms, found))


def _document(by: UsageBy, start_ms: int, end_ms: int, found: Sequence[Usage]) -> dict[str, Any]:
    return {
        "start": format_ms(start_ms // HOUR_MS * HOUR_MS),
        "end": format_ms(min(-(-end_ms // HOUR_MS) * HOUR_MS, MAX_TIME_MS)),
        "by": by.value,
        "usage": [
            {
                "name": row.name,
                "users": row.users,
                "gpus": row.gpus,
                "held_gpu_seconds": round(row.held_seconds, 3),
                "measured_gpu_seconds": round(row.measured_seconds, 3),
                "used_gpu_seconds": _rounded(row.used_seconds),
                "held_mig_seconds": round(row.mig_held_seconds, 3),
                "energy_joules": _rounded(row.energy_joules),
                "memory_peak_bytes": row.memory_peak_bytes,
            }
            for row in found
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
