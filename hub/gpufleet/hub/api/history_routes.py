"""REST of what was: samples of a GPU over time, and events."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gpufleet.client.nearest import hint
from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, node_named, now_ms, subject_of
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import TimeError, format_ms, parse_time
from gpufleet.hub.api.values import bit_names, numbers
from gpufleet.hub.store.events import EventPage
from gpufleet.hub.store.history import History, Series
from gpufleet.hub.store.history import Request as SeriesRequest
from gpufleet.hub.store.write import EventRow
from gpufleet.hub.views import SubjectView
from gpufleet.proto.catalog import BY_NAME, Metric, SubjectKind

MAX_METRICS = 32
MAX_POINTS = 5000
MAX_VALUES = 60_000
"""Points times metrics of one answer."""
MAX_EVENTS = 1000
MAX_KINDS = 32

Points = Annotated[int, Query(ge=1, le=MAX_POINTS, description="Points a metric at most.")]

router = APIRouter()


def _time(text: str, name: str, now: int) -> int:
    try:
        return parse_time(text, now)
    except TimeError as error:
        raise Problem(400, f"{name}: {error}", parameter=name) from None


def _range(start: str, end: str) -> tuple[int, int]:
    now = now_ms()
    start_ms, end_ms = _time(start, "start", now), _time(end, "end", now)
    if start_ms >= end_ms:
        detail = (
            f"The range is empty: start ({format_ms(start_ms)}) must be before"
            f" end ({format_ms(end_ms)})."
        )
        raise Problem(400, detail, parameter="start")
    return start_ms, end_ms


def _split(texts: list[str]) -> list[str]:
    """Names of a parameter that may be repeated, comma-separated, or both."""
    parts = (part.strip() for text in texts for part in text.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def _metrics(texts: list[str], subject: SubjectView) -> list[Metric]:
    names = _split(texts)
    kind = SubjectKind(subject.kind)
    known = {name: m for name, m in BY_NAME.items() if kind in m.subjects}
    if not names:
        detail = "Say which metrics: ?metric=temperature_celsius (see /api/v1/metrics-catalog)."
        raise Problem(400, detail, parameter="metric")
    if len(names) > MAX_METRICS:
        detail = f"At most {MAX_METRICS} metrics at once, not {len(names)}."
        raise Problem(400, detail, parameter="metric")
    for name in names:
        if name not in known:
            near = hint(name, known) or "; see /api/v1/metrics-catalog."
            detail = f"A {kind.value.upper()} has no metric {name[:60]!r}{near}"
            raise Problem(400, detail, parameter="metric")
    return [known[name] for name in names]


@router.get(
    "/gpus/{uuid}/history", tags=["history"], responses=schemas.ok(schemas.History, 400, 404)
)
async def history(
    request: Request,
    desk: AtDesk,
    uuid: parameters.Uuid,
    metric: Annotated[
        list[str] | None,
        Query(max_length=MAX_METRICS, description="Metric names, repeated or comma-separated."),
    ] = None,
    start: parameters.Start = "-1h",
    end: parameters.End = "now",
    points: Annotated[
        int, Query(ge=1, le=MAX_POINTS, description="Points a metric at most.")
    ] = 500,
) -> Response:
    """Metrics of one GPU over time: samples where they fit, else buckets of one width.

    Each series has `time` and `n` (samples in the bucket), and by kind: gauge `avg`, `min`, `max`;
    counter `last`, `increase`; state `last`, `min`, `max`; bits `bits`, `active_seconds`.
    """
    subject = subject_of(desk.table(), uuid)
    metrics = _metrics(metric or [], subject)
    if points * len(metrics) > MAX_VALUES:
        detail = f"points times metrics is at most {MAX_VALUES}; ask for fewer points or metrics."
        raise Problem(400, detail, parameter="points")
    start_ms, end_ms = _range(start, end)
    requests = [SeriesRequest(subject.subject_id, m) for m in metrics]
    found = await desk.state.history(requests, start_ms, end_ms, points)
    return await desk.once(request, lambda: _history_document(subject, found))


def _history_document(subject: SubjectView, history: History) -> dict[str, Any]:
    return {
        "uuid": subject.key,
        "start": format_ms(history.start_ms),
        "end": format_ms(history.end_ms),
        "step_seconds": history.step_ms / 1000,
        "raw": history.raw,
        "series": {series.metric.name: _series_document(series) for series in history.series},
    }


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
            document[name] = [_short(metric, v) for v in values.tolist()]
        else:
            document[name] = numbers(metric, values)
    return document


def _short(metric: Metric, value: float) -> float | None:
    """A mean to a hundredth of the metric's resolution."""
    return round(value, len(str(metric.divisor)) + 1) if np.isfinite(value) else None


Kinds = Annotated[
    list[str] | None,
    Query(max_length=MAX_KINDS, description="Kinds of events, repeated or comma-separated."),
]
EventLimit = Annotated[int, Query(ge=1, le=MAX_EVENTS, description="Events at most.")]
EventStart = Annotated[str | None, Query(max_length=60, description="As in history; inclusive.")]


@router.get("/events", tags=["history"], responses=schemas.ok(schemas.EventPage, 400))
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
    "/gpus/{uuid}/events", tags=["history"], responses=schemas.ok(schemas.EventPage, 400, 404)
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
    return (
        None if start is None else _time(start, "start", now),
        None if end is None else _time(end, "end", now),
    )


def _kinds(texts: list[str] | None) -> set[str] | None:
    kinds = _split(texts or [])
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
