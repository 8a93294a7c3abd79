"""Which columns the list has at a width, and where: the most important come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpufleet.client.columns import COLUMNS, Column
from gpufleet.client.lines import Row

_NATURAL = -1
_STEPS: tuple[tuple[str, int], ...] = (
    ("letter", 1),
    ("place", 8),
    ("load", 4),
    ("temp", 4),
    ("power", 5),
    ("place", 12),
    ("memory", 5),
    ("load", 11),
    ("memory", 11),
    ("power", 9),
    ("model", 9),
    ("spark", 10),
    ("place", _NATURAL),
    ("memory", 18),
    ("load", 15),
    ("users", 8),
    ("model", 15),
    ("fan", 4),
    ("health", 8),
    ("clock", 8),
    ("spark", 16),
    ("health", 16),
    ("memory", 22),
    ("load", 18),
    ("users", 14),
    ("power", 18),
    ("spark", 24),
    ("health", 30),
    ("model", 20),
    ("power", 22),
    ("spark", 40),
    ("load", 24),
    ("memory", 30),
    ("health", 48),
)
"""In what order columns come and grow while there is room."""
_USER_STEPS: tuple[tuple[str, int], ...] = (
    ("place", 8),
    ("gpus", 5),
    ("load", 4),
    ("memory", 5),
    ("place", 12),
    ("memory", 11),
    ("nodes", 8),
    ("load", 11),
    ("power", 9),
    ("place", _NATURAL),
    ("programs", 14),
    ("nodes", 14),
    ("jobs", 8),
    ("processes", 6),
    ("nodes", 22),
    ("programs", 22),
    ("jobs", 14),
    ("power", 11),
    ("load", 18),
    ("memory", 22),
    ("spark", 12),
    ("nodes", 36),
    ("programs", 30),
    ("jobs", 24),
    ("spark", 24),
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A column with its place in the row."""

    column: Column
    x: int
    width: int


_MAY_BE_ABSENT = {"fan": "fan_speed_ratio", "clock": "clock_sm_hertz"}
"""Columns that are left out where no line has a value: data centre GPUs have no fan."""


def absent(rows: Sequence[Row]) -> frozenset[str]:
    """Columns for which none of these rows has a value."""
    return frozenset(
        name
        for name, field in _MAY_BE_ABSENT.items()
        if all(row.get(field) is None for row in rows)
    )


def layout(
    room: int, longest_place: int, without: frozenset[str] = frozenset(), *, users: bool = False
) -> list[Placed]:
    """The columns that fit into ``room`` cells, each with its place, from left to right."""
    gap = 1 if room < 100 else 2
    widths: dict[str, int] = {}
    left = room + gap
    for name, wanted in _USER_STEPS if users else _STEPS:
        if name in without:
            continue
        size = min(max(longest_place, 12), 32) if wanted == _NATURAL else wanted
        cost = size - widths[name] if name in widths else size + gap
        if name == "letter":
            cost = size + 1
        if 0 < cost <= left:
            widths[name] = size
            left -= cost
    grows = "spark" if "spark" in widths else "place"
    if grows in widths:
        widths[grows] += min(left, 60) if grows == "spark" else left
    placed, x = [], 0
    for column in COLUMNS:
        if column.id in widths:
            placed.append(Placed(column, x, widths[column.id]))
            x += widths[column.id] + (1 if column.id == "letter" else gap)
    return placed
