"""The list's columns: what each is called, shows, means and sorts by, the same in every client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gpufleet.client import severity, units
from gpufleet.client.lines import Line, Row
from gpufleet.client.severity import Severity

COLDEST, HOTTEST = 25.0, 95.0
"""Celsius at the ends of a temperature's ramp of colours."""


def _no_value(row: Row) -> Any:
    return None


def _plain(row: Row) -> Severity:
    return Severity.NONE


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``key`` gives a row's value to sort by, ``None`` where it has none."""

    id: str
    title: str
    meaning: str
    text: Callable[[Line], str]
    """A line's cell in words; a client with room may draw more (a bar beside it)."""
    key: Callable[[Row], Any] = _no_value
    fields: tuple[str, ...] = ()
    """Fields of the hub's rows that it shows or sorts by."""
    sort: str = ""
    """The field by which the hub sorts as it does; empty where that is another order."""
    severity: Callable[[Row], Severity] = _plain
    short: str = ""
    """The title where there is little room."""
    right: bool = False
    falling: bool = True
    """Whether the first press sorts the greatest first."""
    room: int = 8
    """Characters that its texts usually take."""


def ratio_of(part: float | None, whole: float | None) -> float | None:
    """``part / whole``; ``None`` where either is not known or the whole is nothing."""
    return part / whole if part is not None and whole else None


def heat(degrees: float | None) -> float | None:
    """Where a temperature lies between COLDEST and HOTTEST, 0 to 1 and beyond."""
    return None if degrees is None else (degrees - COLDEST) / (HOTTEST - COLDEST)


def memory_ratio(row: Row) -> float | None:
    """How much of the memory is in use."""
    ratio: float | None = row.get("memory_used_ratio")
    if ratio is not None:
        return ratio
    return ratio_of(row.get("memory_used_bytes"), row.get("memory_total_bytes"))


def power_ratio(row: Row) -> float | None:
    """How much of the power limit is drawn."""
    return ratio_of(row.get("power_watts"), row.get("power_limit_watts"))


def place_text(line: Line) -> str:
    """``node / GPU 0``; a group by its name."""
    if line.group:
        return line.title
    return f"{line.row.get('node')} / GPU {line.row.get('index')}"


def users_text(row: Row) -> str:
    """Who is on a GPU or was given it, ``free`` where nobody; where nobody told whose, how many."""
    if users := row.get("users"):
        return ", ".join(map(str, users))
    many = row.get("process_count")
    if many:
        return "1 process" if many == 1 else f"{int(many):,} processes"
    if jobs := row.get("jobs"):
        return f"job {jobs[0]}"
    return "free" if many == 0 and not row.get("stale") else units.NOTHING


def users_severity(row: Row) -> Severity:
    """A free GPU is good news."""
    return Severity.HEALTHY if users_text(row) == "free" else Severity.NONE


def _field(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


def _worst(row: Row) -> Any:
    level = row.get("health")
    return None if level is None else (level, bool(row.get("fault")), bool(row.get("stale")))


def _first_user(row: Row) -> Any:
    users = row.get("users")
    return str(users[0]).casefold() if users else None


def _many(field: str) -> Callable[[Row], Any]:
    return lambda row: len(row.get(field) or ()) or None


def _names(field: str) -> Callable[[Line], str]:
    return lambda line: ", ".join(map(str, line.row.get(field) or ()))


def nodes_text(line: Line) -> str:
    """The nodes of a group, or a GPU's own."""
    nodes = line.row.get("nodes")
    return ", ".join(map(str, [line.row.get("node")] if nodes is None else nodes))


def _power_text(line: Line) -> str:
    return units.watts_of(line.row.get("power_watts"), line.row.get("power_limit_watts"))


def _memory_text(line: Line) -> str:
    return units.part(line.row.get("memory_used_bytes"), line.row.get("memory_total_bytes"))


COLUMNS: tuple[Column, ...] = (
    Column(
        "letter",
        "",
        "health as a letter",
        lambda line: severity.letter(line.row),
        _worst,
        ("health", "stale"),
        "health",
        severity.of_health,
        room=1,
    ),
    Column(
        "place",
        "node / GPU",
        "node and index",
        place_text,
        fields=("node", "index"),
        short="GPU",
        falling=False,
        room=20,
    ),
    Column(
        "model",
        "model",
        "model",
        lambda line: units.model(line.row.get("name")),
        lambda row: (row.get("name") or "").casefold() or None,
        ("name",),
        "name",
        falling=False,
        room=16,
    ),
    Column(
        "load",
        "load",
        "load",
        lambda line: units.percent(line.row.get("utilization_ratio")),
        _field("utilization_ratio"),
        ("utilization_ratio",),
        "utilization_ratio",
        right=True,
        room=4,
    ),
    Column(
        "memory",
        "memory",
        "memory in use",
        _memory_text,
        _field("memory_used_bytes"),
        ("memory_used_bytes", "memory_total_bytes", "memory_used_ratio"),
        "memory_used_bytes",
        short="mem",
        right=True,
        room=11,
    ),
    Column(
        "temp",
        "temp",
        "temperature",
        lambda line: units.celsius(line.row.get("temperature_celsius")),
        _field("temperature_celsius"),
        ("temperature_celsius", "temperature_margin_celsius"),
        "temperature_celsius",
        severity.of_temperature,
        right=True,
        room=4,
    ),
    Column(
        "power",
        "power",
        "power",
        _power_text,
        _field("power_watts"),
        ("power_watts", "power_limit_watts"),
        "power_watts",
        right=True,
        room=11,
    ),
    Column(
        "fan",
        "fan",
        "fan speed",
        lambda line: units.percent(line.row.get("fan_speed_ratio")),
        _field("fan_speed_ratio"),
        ("fan_speed_ratio",),
        "fan_speed_ratio",
        severity.of_fan,
        right=True,
        room=4,
    ),
    Column(
        "clock",
        "SM clock",
        "SM clock",
        lambda line: units.hertz(line.row.get("clock_sm_hertz")),
        _field("clock_sm_hertz"),
        ("clock_sm_hertz",),
        "clock_sm_hertz",
        right=True,
    ),
    Column(
        "users",
        "users",
        "first user's name",
        lambda line: users_text(line.row),
        _first_user,
        ("users", "process_count"),
        "users",
        users_severity,
        falling=False,
        room=12,
    ),
    Column(
        "health",
        "health",
        "health, the worst first",
        lambda line: severity.health_text(line.row),
        _worst,
        ("health", "health_reasons", "fault"),
        "health",
        severity.of_health,
        room=30,
    ),
    Column(
        "gpus",
        "GPUs",
        "how many GPUs",
        lambda line: units.count(len(line.members)) if line.group else "",
        lambda row: row.get("count", 0),
        right=True,
        room=5,
    ),
    Column(
        "processes",
        "procs",
        "how many processes",
        lambda line: units.count(line.row.get("process_count")),
        _field("process_count"),
        ("process_count",),
        "process_count",
        right=True,
        room=5,
    ),
    Column("nodes", "on", "how many nodes", nodes_text, _many("nodes"), room=20),
    Column(
        "programs",
        "programs",
        "how many programs",
        _names("programs"),
        _many("programs"),
        ("programs",),
        room=16,
    ),
    Column("jobs", "jobs", "how many jobs", _names("jobs"), _many("jobs"), ("jobs",), room=12),
    Column("spark", "recent load", "load", lambda line: "", _field("utilization_ratio"), room=20),
)
BY_ID: Mapping[str, Column] = {column.id: column for column in COLUMNS}
USER_ONLY = ("gpus", "processes", "nodes", "programs", "jobs")
SORTS = tuple(c.id for c in COLUMNS if c.id not in ("letter", "spark", *USER_ONLY))
"""Columns that a person can sort by."""
USER_SORTS = ("gpus", "place", "load", "memory", "power", *USER_ONLY[1:])
"""The same in the users view."""


def fields(users: bool) -> tuple[str, ...]:
    """What the hub is asked for each GPU."""
    shown = (c for c in COLUMNS if users or c.id not in USER_ONLY)
    return tuple(dict.fromkeys(["uuid", *(field for column in shown for field in column.fields)]))


def hub_sort(column: str, descending: bool) -> str:
    """The hub's sort order that is a column's, for a part of a large list; places are its usual."""
    found = BY_ID[column].sort
    if not found:
        return "-node,-index" if column == "place" and descending else ""
    return f"-{found}" if descending else found
