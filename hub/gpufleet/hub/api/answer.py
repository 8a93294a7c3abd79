"""Answers to requests: which state they read, how they are built, packed and sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import Response

from gpufleet.client.nearest import hint
from gpufleet.hub.api.alert_state import AlertState
from gpufleet.hub.api.bodies import Body, Shared, body
from gpufleet.hub.api.changes import View
from gpufleet.hub.api.exposition import Exposition
from gpufleet.hub.api.exposition_dcgm import DcgmExposition
from gpufleet.hub.api.jsonbody import encoded_line
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.state import HubState
from gpufleet.hub.api.table import Table, Tables
from gpufleet.hub.views import NodeView, SubjectView

MAX_KEPT_BYTES = 64 << 20
MAX_STREAMS = 200


class Desk:
    """What all requests of one application share. Lives on the event loop's thread."""

    def __init__(
        self, state: HubState, max_streams: int = MAX_STREAMS, alerts: AlertState | None = None
    ) -> None:
        self.state = state
        self._alerts = alerts
        self.tables = Tables()
        self.bodies: Shared[Body] = Shared(lambda kept: kept.size, MAX_KEPT_BYTES)
        self.views: Shared[View] = Shared(lambda kept: kept.size, MAX_KEPT_BYTES)
        self.exposition = Exposition()
        self.dcgm = DcgmExposition()
        self.streams = 0
        self.exports = 0
        self.max_streams = max_streams

    @property
    def alerting(self) -> AlertState:
        """Alerts; a Problem where this application has none."""
        if self._alerts is None:
            raise Problem(503, "This hub evaluates no alerts.")
        return self._alerts

    def table(self) -> Table:
        """The newest version of the fleet."""
        return self.tables.of(self.state.snapshot())

    async def shared(
        self, request: Request, key: Hashable, make: Callable[[Table], Any]
    ) -> Response:
        """An answer made in a worker thread from the newest version, shared by all who ask."""
        table = self.table()
        packed = takes_gzip(request)
        found = await self.bodies.get(
            (key, packed),
            table.snapshot.version,
            lambda: body(encoded_line(make(table)), packed),
        )
        return sent(found)

    async def once(self, request: Request, make: Callable[[], Any]) -> Response:
        """An answer made in a worker thread for this request alone."""
        packed = takes_gzip(request)
        return sent(await asyncio.to_thread(lambda: body(encoded_line(make()), packed)))


def desk_of(request: Request) -> Desk:
    """The desk of the application that a request came to."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


AtDesk = Annotated[Desk, Depends(desk_of)]


def takes_gzip(request: Request) -> bool:
    """Whether the client unpacks gzip."""
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, parameters = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def sent(found: Body, media_type: str = "application/json") -> Response:
    """A body as a response."""
    headers = {"Vary": "Accept-Encoding", "Cache-Control": "no-store"}
    if found.packed is not None:
        headers["Content-Encoding"] = "gzip"
        return Response(found.packed, headers=headers, media_type=media_type)
    return Response(found.plain, headers=headers, media_type=media_type)


def subject_of(table: Table, uuid: str) -> SubjectView:
    """The GPU or MIG device of this UUID, or a Problem that names the nearest."""
    slot = table.snapshot.slots.get(uuid)
    subject = None if slot is None else table.snapshot.subjects[slot]
    if subject is None:
        near = hint(uuid, table.snapshot.slots) if len(uuid) >= 6 else ""
        detail = f"There is no GPU {uuid[:80]!r}{near or '; /gpu/list names every GPU.'}"
        raise Problem(404, detail)
    return subject


def node_named(table: Table, name: str) -> NodeView:
    """The node of this name, or a Problem that names the nearest."""
    node = table.snapshot.nodes.get(name)
    if node is None:
        near = hint(name, table.snapshot.nodes)
        detail = f"There is no node {name[:80]!r}{near or '; /api/v1/nodes names every node.'}"
        raise Problem(404, detail)
    return node


def now_ms() -> int:
    """The wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000
