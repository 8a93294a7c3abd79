"""The list's columns: what each is called, shows and sorts by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gpufleet.tui import list_cells
from gpufleet.tui.canvas import Canvas
from gpufleet.tui.lines import Line, Row
from gpufleet.tui.list_cells import Look


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``key`` gives a row's value to sort by, ``None`` where it has none."""

    id: str
    title: str
    meaning: str
    key: Callable[[Row], Any]
    draw: Callable[[Canvas, int, int, int, Line, Look], None]
    right: bool = False
    falling: bool = True
    """Whether the first press sorts the greatest first."""
    short: str = ""
    """The title where there is little room."""
    fields: tuple[str, ...] = ()
    """Fields of the hub's rows that it shows or sorts by."""


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


COLUMNS: tuple[Column, ...] = (
    Column(
        "letter",
        "",
        "health as a letter",
        _worst,
        list_cells.health_letter,
        fields=("health", "stale"),
    ),
    Column(
        "place",
        "node / GPU",
        "node and index",
        lambda row: None,
        list_cells.place,
        falling=False,
        short="GPU",
        fields=("node", "index"),
    ),
    Column(
        "model",
        "model",
        "model",
        lambda row: (row.get("name") or "").casefold() or None,
        list_cells.model,
        falling=False,
        fields=("name",),
    ),
    Column(
        "load",
        "load",
        "load",
        _field("utilization_ratio"),
        list_cells.load,
        True,
        fields=("utilization_ratio",),
    ),
    Column(
        "memory",
        "memory",
        "memory in use",
        _field("memory_used_bytes"),
        list_cells.memory,
        True,
        short="mem",
        fields=("memory_used_bytes", "memory_total_bytes", "memory_used_ratio"),
    ),
    Column(
        "temp",
        "temp",
        "temperature",
        _field("temperature_celsius"),
        list_cells.temperature,
        True,
        fields=("temperature_celsius",),
    ),
    Column(
        "power",
        "power",
        "power",
        _field("power_watts"),
        list_cells.power,
        True,
        fields=("power_watts", "power_limit_watts"),
    ),
    Column(
        "fan",
        "fan",
        "fan speed",
        _field("fan_speed_ratio"),
        list_cells.fan,
        True,
        fields=("fan_speed_ratio",),
    ),
    Column(
        "clock",
        "SM clock",
        "SM clock",
        _field("clock_sm_hertz"),
        list_cells.clock,
        True,
        fields=("clock_sm_hertz",),
    ),
    Column(
        "users",
        "users",
        "first user's name",
        _first_user,
        list_cells.users,
        falling=False,
        fields=("users", "process_count"),
    ),
    Column(
        "health",
        "health",
        "health, the worst first",
        _worst,
        list_cells.health,
        fields=("health", "health_reasons", "fault"),
    ),
    Column("gpus", "GPUs", "how many GPUs", lambda row: row.get("count", 0), list_cells.gpus, True),
    Column(
        "processes",
        "procs",
        "how many processes",
        _field("process_count"),
        list_cells.processes,
        True,
        fields=("process_count",),
    ),
    Column("nodes", "on", "how many nodes", _many("nodes"), list_cells.names("nodes")),
    Column(
        "programs",
        "programs",
        "how many programs",
        _many("programs"),
        list_cells.names("programs"),
        fields=("programs",),
    ),
    Column(
        "jobs", "jobs", "how many jobs", _many("jobs"), list_cells.names("jobs"), fields=("jobs",)
    ),
    Column("spark", "recent load", "load", _field("utilization_ratio"), list_cells.spark),
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
