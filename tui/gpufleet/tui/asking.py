"""What is asked of the hub, and how answers become what views draw. Pure but for the calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gpufleet.client import columns
from gpufleet.client.address import Query, path_part
from gpufleet.client.lines import Row
from gpufleet.client.moments import milliseconds, seconds_text
from gpufleet.client.query import only
from gpufleet.tui.picture import Past, Point
from gpufleet.tui.state import Metric

WHOLE_GPUS = 600
"""Up to so many GPUs every row is asked for with all its fields each time."""
SPARSE_FIELDS = (
    "uuid", "node", "index", "name", "health", "stale", "utilization_ratio", "memory_used_bytes",
    "memory_total_bytes", "temperature_celsius", "power_watts", "power_limit_watts", "users",
    "process_count",
)  # fmt: skip
"""Of more GPUs these are asked for now and then; the rest only for those that are seen."""
UUIDS_A_QUESTION = 36
"""So many fit into one filter."""


class Hub(Protocol):
    """Who answers: ``gpufleet.client.hub.Hub``. HubError is the only thing that goes wrong."""

    def get(self, path: str, query: Query | None = None) -> Any:
        """The document at a path."""

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to an order."""

    def close(self) -> None:
        """Lets the connection go."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What the screen shows now, and so what must be known."""

    filter: str = ""
    users: bool = False
    more: tuple[str, ...] = ()
    """Fields that lines are grouped or sorted by."""
    visible: tuple[str, ...] = ()
    """UUIDs of the GPUs that are seen."""
    folded: tuple[str, ...] = ()
    """Nodes of a large fleet whose line is seen."""
    histories: tuple[str, ...] = ()
    """Those of them whose recent load is not known."""
    nodes: tuple[str, ...] = ()
    """Nodes that are seen folded and whose recent load is not known."""
    spark_start_ms: int = 0
    detail: str = ""
    start_ms: int = 0
    end_ms: int = 0
    live: bool = True
    columns: int = 0
    alerts: bool = False


def all_fields(wants: Wants) -> tuple[str, ...]:
    """Fields of a row that is shown whole."""
    return tuple(dict.fromkeys((*columns.fields(wants.users), "labels", *wants.more)))


def sparse_fields(wants: Wants) -> tuple[str, ...]:
    """Fields of rows of a large fleet."""
    more = ("programs", "jobs") if wants.users else ()
    return tuple(dict.fromkeys((*SPARSE_FIELDS, *more, *wants.more)))


def rows(hub: Hub, filter: str, fields: Sequence[str], limit: int) -> tuple[list[Row], int]:
    """Rows that pass a filter, and how many there are in all."""
    query = {"filter": filter, "fields": ",".join(fields), "limit": str(limit)}
    document = hub.get("/api/v1/gpus", query)
    return list(document["gpus"]), int(document["total"])


def rows_of(hub: Hub, uuids: Sequence[str], fields: Sequence[str]) -> dict[str, Row]:
    """The rows of certain GPUs."""
    found: dict[str, Row] = {}
    for start in range(0, len(uuids), UUIDS_A_QUESTION):
        part = uuids[start : start + UUIDS_A_QUESTION]
        some, _ = rows(hub, only(*part), fields, len(part))
        found.update((str(row["uuid"]), row) for row in some)
    return found


def points(series: Mapping[str, Any]) -> list[Point]:
    """A series of the hub, gauge or state."""
    times = series["time"]
    blank: list[float | None] = [None] * len(times)
    lows = series.get("min") or blank
    highs = series.get("max") or blank
    means = series.get("avg") or series.get("last") or blank
    return [
        Point(milliseconds(t), mean, low, high)
        for t, mean, low, high in zip(times, means, lows, highs, strict=True)
    ]


def past(hub: Hub, uuid: str, start_ms: int, end_ms: int, columns_: int) -> Past:
    """One GPU's charts between two times."""
    document = hub.get(
        f"/api/v1/gpus/{path_part(uuid)}/history",
        {
            "metric": ",".join(metric.value for metric in Metric),
            "start": seconds_text(start_ms),
            "end": seconds_text(end_ms),
            "points": str(min(max(columns_, 10), 2000)),
        },
    )
    return Past(
        uuid=uuid,
        start_ms=start_ms,
        end_ms=end_ms,
        step_ms=int(document["step_seconds"] * 1000),
        source=str(document["source"]),
        series={name: points(series) for name, series in document["series"].items()},
    )


def recent_loads(
    hub: Hub, uuids: Sequence[str], start_ms: int, points_: int, every_ms: int
) -> dict[str, list[tuple[int, float | None]]]:
    """The load of several GPUs since a time, a value each ``every_ms``."""
    document = hub.get(
        "/api/v1/history",
        {
            "gpu": ",".join(uuids),
            "metric": Metric.LOAD.value,
            "start": seconds_text(start_ms),
            "points": str(points_),
        },
    )
    step = int(document["step_seconds"] * 1000)
    return {
        str(gpu["uuid"]): spread(
            [
                (point.time_ms, point.mean)
                for point in points(gpu["series"].get(Metric.LOAD.value, {"time": []}))
            ],
            step,
            every_ms,
        )
        for gpu in document["gpus"]
    }


def fleet_past_of(
    hub: Hub, uuids: Sequence[str], start_ms: int, points_: int, every_ms: int
) -> dict[str, list[tuple[int, float | None]]]:
    """The same as ``fleet_past`` from the GPUs' own samples, which reach up to now."""
    names = (Metric.LOAD.value, Metric.POWER.value)
    document = hub.get(
        "/api/v1/history",
        {
            "gpu": ",".join(uuids),
            "metric": ",".join(names),
            "start": seconds_text(start_ms),
            "points": str(points_),
        },
    )
    return {
        name: _over_gpus(document, name, every_ms, whole=name == Metric.POWER.value)
        for name in names
    }


def recent_node_load(
    hub: Hub, node: str, start_ms: int, points_: int, every_ms: int
) -> list[tuple[int, float | None]]:
    """The mean load of a node's GPUs since a time, a value each ``every_ms``."""
    document = hub.get(
        "/api/v1/history",
        {
            "node": node,
            "metric": Metric.LOAD.value,
            "start": seconds_text(start_ms),
            "points": str(points_),
        },
    )
    return _over_gpus(document, Metric.LOAD.value, every_ms, whole=False)


def _over_gpus(
    document: Mapping[str, Any], metric: str, every_ms: int, whole: bool
) -> list[tuple[int, float | None]]:
    """The sum (``whole``) or the mean of one metric over the GPUs of a document."""
    step = int(document["step_seconds"] * 1000)
    values: dict[int, list[float]] = {}
    for gpu in document["gpus"]:
        own = [(p.time_ms, p.mean) for p in points(gpu["series"].get(metric, {"time": []}))]
        for moment, value in spread(own, step, every_ms):
            if value is not None:
                values.setdefault(moment // every_ms, []).append(value)
    return [
        (bucket * every_ms, sum(found) if whole else sum(found) / len(found))
        for bucket, found in sorted(values.items())
    ]


def spread(
    values: Sequence[tuple[int, float | None]], step_ms: int, every_ms: int
) -> list[tuple[int, float | None]]:
    """Each value again every ``every_ms`` of its bucket of ``step_ms``."""
    times = range(0, max(step_ms, 1), every_ms)
    return [(moment + later, value) for moment, value in values for later in times]


def fleet_past(
    hub: Hub, start_ms: int, points_: int, every_ms: int
) -> dict[str, list[tuple[int, float | None]]]:
    """The fleet's mean load, and its power in watts, since a time."""
    names = (Metric.LOAD.value, Metric.POWER.value)
    document = hub.get(
        "/api/v1/history",
        {
            "group_by": "fleet",
            "metric": ",".join(names),
            "start": seconds_text(start_ms),
            "points": str(points_),
        },
    )
    found: dict[str, list[tuple[int, float | None]]] = {}
    for group in document["groups"]:
        for name, column in zip(names, ("avg", "sum"), strict=True):
            series = group["series"].get(name)
            if series is not None:
                times = [milliseconds(t) for t in series["time"]]
                values = list(zip(times, series[column], strict=True))
                found[name] = spread(values, int(document["step_seconds"] * 1000), every_ms)
    return found
