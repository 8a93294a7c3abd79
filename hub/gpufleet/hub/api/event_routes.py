"""REST of what happened: events of the fleet, a node or a GPU."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, node_named, now_ms, subject_of
from gpufleet.hub.api.asked import check_order, split_names, time_at
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.store.events import EventPage
from gpufleet.hub.store.write import EventRow

MAX_EVENTS = 1000
MAX_KINDS = 32

router = APIRouter()

Kinds = Annotated[
    list[str] | None,
    Query(max_length=MAX_KINDS, description="Kinds of events, repeated or comma-separated."),
]
EventLimit = Annotated[int, Query(ge=1, le=MAX_EVENTS, description="Events at most.")]
EventStart = Annotated[str | None, Query(max_length=60, description="As in history; inclusive.")]


@router.get("/events", tags=["History"], responses=schemas.ok(schemas.EventPage, 400, 404, 503))
async def events(
    request: Request,
    desk: AtDesk,
    node: parameters.Node = None,
    kind: Kinds = None,
    start: EventStart = None,
    end: EventStart = None,
    limit: EventLimit = 100,
    cursor: parameters.Cursor = "",
) -> Response:
    """Events of the whole fleet or of one node, newest first."""
    table = desk.table()
    node_id = None if node is None else node_named(table, node).node_id
    start_ms, end_ms = _event_range(start, end)
    found = await desk.state.events(
        node_id=node_id,
        start_ms=start_ms,
        end_ms=end_ms,
        kinds=_kinds(kind),
        limit=limit,
        cursor=cursor or None,
    )
    return await desk.once(request, lambda: _event_page(table, found))


@router.get(
    "/gpus/{uuid}/events", tags=["History"], responses=schemas.ok(schemas.EventPage, 400, 404, 503)
)
async def gpu_events(
    request: Request,
    desk: AtDesk,
    uuid: parameters.Uuid,
    kind: Kinds = None,
    start: EventStart = None,
    end: EventStart = None,
    limit: EventLimit = 100,
    cursor: parameters.Cursor = "",
) -> Response:
    """Events of one GPU or MIG device, newest first."""
    table = desk.table()
    subject = subject_of(table, uuid)
    start_ms, end_ms = _event_range(start, end)
    found = await desk.state.events(
        subject_ids={subject.subject_id},
        start_ms=start_ms,
        end_ms=end_ms,
        kinds=_kinds(kind),
        limit=limit,
        cursor=cursor or None,
    )
    return await desk.once(request, lambda: _event_page(table, found))


def _event_range(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    now = now_ms()
    start_ms = None if start is None else time_at(start, "start", now)
    end_ms = None if end is None else time_at(end, "end", now)
    if start_ms is not None and end_ms is not None:
        check_order(start_ms, end_ms)
    return start_ms, end_ms


def _kinds(texts: list[str] | None) -> set[str] | None:
    kinds = split_names(texts or [])
    if len(kinds) > MAX_KINDS:
        raise Problem(400, f"At most {MAX_KINDS} kinds at once.", parameter="kind")
    return set(kinds) or None


def _event_page(table: Table, found: EventPage) -> dict[str, Any]:
    return {
        "next_cursor": found.cursor,
        "events": [_event_document(table, event) for event in found.events],
    }


def _event_document(table: Table, event: EventRow) -> dict[str, Any]:
    """An event; ``subject`` is null where it is not in the fleet any more."""
    subject = table.names_of_ids.get(event.subject_id)
    return {
        "time": format_ms(event.time_ms),
        "kind": event.kind,
        "severity": event.severity,
        "node": table.node_names.get(event.node_id),
        "subject": None
        if subject is None
        else {
            "kind": subject.kind,
            "key": subject.key,
            "index": subject.index,
            "name": subject.name,
        },
        "code": event.code or None,
        "message": event.message,
        "data": dict(event.data),
    }
