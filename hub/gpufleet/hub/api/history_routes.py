"""REST of what was: metrics of a GPU over time."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from gpufleet.client.nearest import hint
from gpufleet.hub.api import parameters, schemas
from gpufleet.hub.api.answer import AtDesk, now_ms, subject_of
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.times import TimeError, format_ms, parse_time
from gpufleet.hub.api.values import bit_names, numbers
from gpufleet.hub.store.history import History, Series
from gpufleet.hub.store.history import Request as SeriesRequest
from gpufleet.hub.views import SubjectView
from gpufleet.proto.catalog import BY_NAME, Metric, SubjectKind

HEALTH = "health"
"""Derived by the hub and never sampled."""
MAX_METRICS = 32
MAX_POINTS = 5000
MAX_VALUES = 60_000
"""Points times metrics of one answer."""

Points = Annotated[int, Query(ge=1, le=MAX_POINTS, description="Points a metric at most.")]

router = APIRouter()


def time_at(text: str, name: str, now: int) -> int:
    """A parameter's time in Unix milliseconds, or a Problem that names the parameter."""
    try:
        return parse_time(text, now)
    except TimeError as error:
        raise Problem(400, f"{name}: {error}", parameter=name) from None


def _range(start: str, end: str) -> tuple[int, int]:
    now = now_ms()
    start_ms, end_ms = time_at(start, "start", now), time_at(end, "end", now)
    if start_ms >= end_ms:
        detail = (
            f"The range is empty: start ({format_ms(start_ms)}) must be before"
            f" end ({format_ms(end_ms)})."
        )
        raise Problem(400, detail, parameter="start")
    return start_ms, end_ms


def split_names(texts: list[str]) -> list[str]:
    """Names of a parameter that may be repeated, comma-separated, or both."""
    parts = (part.strip() for text in texts for part in text.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def _metrics(texts: list[str], subject: SubjectView) -> list[Metric]:
    names = split_names(texts)
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
    if HEALTH in names:
        detail = (
            "Health has no samples: its changes are events, see"
            f" /api/v1/gpus/{subject.key}/events?kind=health_changed."
        )
        raise Problem(400, detail, parameter="metric")
    return [known[name] for name in names]


@router.get(
    "/gpus/{uuid}/history", tags=["History"], responses=schemas.ok(schemas.History, 400, 404)
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
