"""REST of history to carry away: one long answer that takes little memory at either end."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse

from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, Desk
from gpufleet.hub.api.asked import MAX_METRICS, gpus_named, split_names, time_range
from gpufleet.hub.api.export_text import Format, export_text
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.store.errors import StoreError
from gpufleet.hub.store.export import Resolution
from gpufleet.proto.logline import said

log = logging.getLogger(__name__)

MAX_EXPORTS = 4
"""At once: each takes a thread and a connection while a page is read."""

router = APIRouter()


@router.get(
    "/export",
    tags=["History"],
    responses=schemas.exported(400, 503),
    response_class=Response,
)
async def export(
    desk: AtDesk,
    format: Annotated[Format, Query(description="How rows are written.")] = Format.CSV,
    resolution: Annotated[
        Resolution, Query(description="Samples as they came, or what minutes or hours say of them.")
    ] = Resolution.SAMPLES,
    metric: Annotated[
        list[str] | None,
        Query(max_length=MAX_METRICS, description="Metrics, repeated or comma-separated; or all."),
    ] = None,
    gpu: parameters.Gpus = None,
    node: parameters.Node = None,
    start: parameters.Start = "-1h",
    end: parameters.End = "now",
) -> Response:
    """History as CSV or JSON lines, a row for each sample (or minute, or hour) of each GPU.

    All GPUs that were ever seen, unless `gpu` or `node` name some; GPU by GPU, in order of time.
    What is not committed yet is not in it: the last minute or two. An answer that breaks off was
    not finished: ask again.
    """
    start_ms, end_ms = time_range(start, end)
    if desk.exports >= MAX_EXPORTS:
        detail = f"{MAX_EXPORTS} exports are under way, which is all at once; try again later."
        raise Problem(503, detail, headers={"Retry-After": "30"})
    desk.exports += 1
    try:
        plan = await desk.state.plan_export(
            start_ms,
            end_ms,
            resolution=resolution,
            gpus=gpus_named(gpu or []),
            node=node,
            names=split_names(metric or []),
        )
        pieces = _whole_pieces(export_text(plan, format))
        # Read before anything is sent: a database that is away gets its status.
        first = await asyncio.to_thread(next, pieces, b"")
    except BaseException:
        desk.exports -= 1
        raise
    return _Export(desk, itertools.chain([first], pieces), format)


class _Export(StreamingResponse):
    """Sends an export and, however it ends, makes room for another."""

    def __init__(self, desk: Desk, pieces: Iterator[bytes], form: Format) -> None:
        self._desk = desk
        super().__init__(
            pieces,
            headers={
                "Cache-Control": "no-store",
                "Content-Disposition": f'attachment; filename="gpufleet.{form.value}"',
            },
            media_type=form.media_type,
        )

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        try:
            await super().__call__(scope, receive, send)
        except StoreError as error:
            # Not ended as an answer ends: the server cuts the connection, so the client knows.
            log.warning("export broken off %s", said(reason=error))
        finally:
            self._desk.exports -= 1


def _whole_pieces(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces worth a system call each."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= 1 << 16:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)
