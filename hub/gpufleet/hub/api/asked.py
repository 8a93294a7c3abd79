"""What a question of history asks for: names, metrics, a range, checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterable

from gpufleet.client.nearest import hint
from gpufleet.hub.api.answer import node_named, now_ms, subject_of
from gpufleet.hub.api.parameters import MAX_GPUS
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import TimeError, format_ms, parse_time
from gpufleet.hub.views import SubjectView
from gpufleet.proto.catalog import BY_NAME, Metric, SubjectKind

UNSAMPLED = {
    "health": "Health has no samples: its changes are events, see"
    " /api/v1/events?kind=health_changed.",
    "clock_skew_seconds": "The clock's skew has no samples: /api/v1/nodes has the newest, and when"
    " it was too great is told by /api/v1/events?kind=clock_skew.",
}
"""Metrics that the hub makes and does not keep, and where to look instead."""
_A_SUBJECT = {SubjectKind.GPU: "A GPU", SubjectKind.MIG: "A MIG device", SubjectKind.NODE: "A node"}
MAX_METRICS = 32


def time_at(text: str, name: str, now: int) -> int:
    """A parameter's time in Unix milliseconds, or a Problem that names the parameter."""
    try:
        return parse_time(text, now)
    except TimeError as error:
        raise Problem(400, f"{name}: {error}", parameter=name) from None


def time_range(start: str, end: str) -> tuple[int, int]:
    """``start`` and ``end`` in Unix milliseconds, the first before the second."""
    now = now_ms()
    start_ms, end_ms = time_at(start, "start", now), time_at(end, "end", now)
    check_order(start_ms, end_ms)
    return start_ms, end_ms


def check_order(start_ms: int, end_ms: int) -> None:
    """A Problem where the first is not before the second."""
    if start_ms >= end_ms:
        detail = (
            f"The range is empty: start ({format_ms(start_ms)}) must be before"
            f" end ({format_ms(end_ms)})."
        )
        raise Problem(400, detail, parameter="start")


def split_names(texts: Iterable[str]) -> list[str]:
    """Names of a parameter that may be repeated, comma-separated, or both."""
    parts = (part.strip() for text in texts for part in text.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def metrics_of(
    texts: Iterable[str], kinds: Iterable[SubjectKind], most: int = MAX_METRICS
) -> list[Metric]:
    """The metrics that are named, each one that every one of ``kinds`` has."""
    names = split_names(texts)
    if not names:
        detail = "Say which metrics: ?metric=temperature_celsius (see /api/v1/metrics-catalog)."
        raise Problem(400, detail, parameter="metric")
    if len(names) > most:
        detail = f"At most {most} metrics at once, not {len(names)}."
        raise Problem(400, detail, parameter="metric")
    for kind in kinds:
        known = {name: m for name, m in BY_NAME.items() if kind in m.subjects}
        for name in names:
            if name not in known:
                near = hint(name, known) or "; see /api/v1/metrics-catalog."
                detail = f"{_A_SUBJECT[kind]} has no metric {name[:60]!r}{near}"
                raise Problem(400, detail, parameter="metric")
    for name in names:
        if name in UNSAMPLED:
            raise Problem(400, UNSAMPLED[name], parameter="metric")
    return [BY_NAME[name] for name in names]


def gpus_named(texts: Iterable[str]) -> list[str]:
    """The UUIDs that are named, not too many."""
    uuids = split_names(texts)
    if len(uuids) > MAX_GPUS:
        detail = f"At most {MAX_GPUS} GPUs by name at once, not {len(uuids)}; name their node."
        raise Problem(400, detail, parameter="gpu")
    return uuids


def subjects_of(table: Table, gpus: Iterable[str], node: str | None) -> list[SubjectView] | None:
    """The GPUs and MIG devices that are named, and all GPUs of a node; None: nothing is named."""
    uuids = gpus_named(gpus)
    if not uuids and node is None:
        return None
    found = {uuid: subject_of(table, uuid) for uuid in uuids}
    if node is not None:
        for slot in node_named(table, node).subjects:
            subject = table.snapshot.subjects[slot]
            if subject is not None and subject.kind == "gpu":
                found.setdefault(subject.key, subject)
    return list(found.values())
