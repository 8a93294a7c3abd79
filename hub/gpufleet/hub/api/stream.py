"""/stream: server-sent events, a snapshot and then changed cells, at the reader's own pace.

Nothing is queued for a reader: the next frame is made when the last one has gone out, from the
newest version, against what this reader was last sent. A slow one skips versions.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, Desk
from gpufleet.hub.api.bodies import Body
from gpufleet.hub.api.changes import View, difference, view, whole
from gpufleet.hub.api.examples_live import STREAM
from gpufleet.hub.api.gpu_list import GpuQuery, plan
from gpufleet.hub.api.jsonbody import encode
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.state import HubClosing

HEARTBEAT_SECONDS = 15.0
STUCK_SECONDS = 60.0
"""A reader that takes nothing for so long is let go."""
FRAME_OFFSET_SECONDS = 0.6
"""Frames of all streams are made at the same moments, this long after a multiple of the interval:
agents send 0.25 s after their tick, so it is in, and streams of one question share one frame."""

router = APIRouter()

Part = tuple[int, int]
"""Rows that are passed over, and how many are shown then."""
Interval = Annotated[float, Query(ge=0.2, le=60, description="Seconds between frames, at least.")]


@router.get(
    "/stream",
    tags=["GPUs"],
    responses=schemas.text("Server-sent events.", STREAM, 400, 503, kind="text/event-stream"),
    response_class=Response,
)
async def stream(
    desk: AtDesk,
    filter: parameters.Filter = "",
    sort: parameters.Sort = "",
    fields: parameters.FieldNames = "",
    limit: parameters.Limit = parameters.DEFAULT_LIMIT,
    offset: parameters.Offset = 0,
    interval: Interval = 1.0,
) -> Response:
    """The list of GPUs as it changes: event `snapshot` first, then `change`.

    `change` has `cells` (by UUID and field), `added` rows, `removed` UUIDs, and `order` (all UUIDs)
    where the order is another. A slow reader gets the newest state, not every one between.
    """
    query = GpuQuery(filter, sort, fields)
    plan(query)
    if desk.streams >= desk.max_streams:
        detail = f"The hub serves {desk.max_streams} streams already; try again later."
        raise Problem(503, detail, headers={"Retry-After": "10"})
    return EventStream(desk, lambda: frames(desk, query, (offset, limit), interval))


async def frames(
    desk: Desk, query: GpuQuery, part: Part, interval: float
) -> AsyncGenerator[bytes, None]:
    """The texts of a stream. Ends when the hub does."""
    state = desk.state
    shown = await _view(desk, query, part)
    first = await desk.bodies.get(
        ("whole", query, part), shown.version, lambda: _frame("snapshot", shown, whole(shown))
    )
    yield b"retry: 2000\n\n" + first.plain
    seen = shown.version
    with suppress(HubClosing):
        while True:
            due = time.monotonic() + delay(time.time(), interval)
            beat = time.monotonic() + HEARTBEAT_SECONDS
            while (now := time.monotonic()) < due or seen == shown.version:
                until = min(due, beat) if now < due else beat
                try:
                    async with asyncio.timeout(max(until - now, 0.0)):
                        seen = await state.wait_change(seen)
                except TimeoutError:
                    if time.monotonic() >= beat:
                        yield b": heartbeat\n\n"
                        beat = time.monotonic() + HEARTBEAT_SECONDS
            new = await _view(desk, query, part)
            make = _maker(shown, new)
            key = ("change", query, part, shown.version)
            yield (await desk.bodies.get(key, new.version, make)).plain
            shown, seen = new, new.version


async def _view(desk: Desk, query: GpuQuery, part: Part) -> View:
    table = desk.table()
    offset, limit = part
    return await desk.views.get(
        (query, part), table.snapshot.version, lambda: view(table, plan(query), limit, offset)
    )


def _maker(old: View, new: View) -> Callable[[], Body]:
    return lambda: _frame("change", new, difference(old, new))


def _frame(event: str, shown: View, document: object) -> Body:
    head = f"event: {event}\nid: {shown.version}\ndata: ".encode()
    return Body(head + encode(document) + b"\n\n")


def delay(now: float, interval: float) -> float:
    """Seconds from this wall-clock time to the next moment at which frames are made."""
    turns = math.floor((now - FRAME_OFFSET_SECONDS) / interval) + 1
    return min(max(turns * interval + FRAME_OFFSET_SECONDS - now, 0.0), interval)


class EventStream(Response):
    """Sends frames as they come, until the reader goes, is stuck, or the frames end."""

    media_type = "text/event-stream"

    def __init__(self, desk: Desk, source: Callable[[], AsyncGenerator[bytes, None]]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._desk = desk
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._desk.streams += 1
        writing = asyncio.create_task(self._write(send))
        reading = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._desk.streams -= 1
            reading.cancel()
            writing.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        with suppress(asyncio.CancelledError, TimeoutError):
            await writing

    async def _write(self, send: Send) -> None:
        async def take(message: Message) -> None:
            async with asyncio.timeout(STUCK_SECONDS):
                await send(message)

        await take({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with aclosing(self._source()) as source:
            async for frame in source:
                await take({"type": "http.response.body", "body": frame, "more_body": True})
        await take({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
