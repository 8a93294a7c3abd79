"""Which lines the list shows: GPUs grouped, sorted, folded. Pure, over the hub's rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Row = Mapping[str, Any]
"""A row of ``/api/v1/gpus``: fields by name, ``None`` where the hub has no value."""

AUTO_FLAT_GPUS = 64
"""Up to so many GPUs each has its row at once; more are folded by node."""
NO_GROUP = "none"
FREE, NOT_KNOWN = "(free)", "(not known)"
"""Groups of GPUs without a user: nobody is on it, or nobody told who is."""
NOBODY = frozenset({FREE, NOT_KNOWN})
GROUPINGS = ("auto", NO_GROUP, "node", "model", "user")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a GPU, or a group of them whose ``row`` sums up its members."""

    key: str
    """Unique among the lines: a GPU's UUID, with ``@`` and the group where it is in several."""
    row: Row
    members: tuple[Row, ...] = ()
    """The GPUs of a group; empty for a GPU."""
    title: str = ""
    open: bool = False
    depth: int = 0

    @property
    def group(self) -> bool:
        """Whether it is a group."""
        return bool(self.members)


@dataclass(frozen=True, slots=True)
class Order:
    """How lines are arranged."""

    group: str = "auto"
    """``auto``, ``none``, ``node``, ``model``, ``user`` or ``label.NAME``."""
    sort: str = "place"
    descending: bool = False
    toggled: frozenset[str] = frozenset()
    """Groups that are the other way round than usual."""
    all_open: bool | None = None
    """Whether groups are usually open; ``None``: as many GPUs as there are say."""


def grouping(order: Order, gpus: int) -> str:
    """What is grouped by, ``auto`` decided."""
    if order.group != "auto":
        return order.group
    return NO_GROUP if gpus <= AUTO_FLAT_GPUS else "node"


def arrange(rows: Sequence[Row], order: Order, sort_key: Callable[[Row], Any]) -> list[Line]:
    """The lines from top to bottom. ``sort_key`` gives a row's value of the sorted column.

    Rows without a value come last whatever the direction; ties are in order of place.
    """
    by = grouping(order, len(rows))
    placed = sorted(rows, key=place_key)
    if by == NO_GROUP:
        return [Line(str(row["uuid"]), row) for row in ordered(placed, order, sort_key)]
    groups: dict[str, list[Row]] = {}
    for row in placed:
        for name in names_of(row, by):
            groups.setdefault(name, []).append(row)
    heads = [
        Line(f"{by}:{name}", summed(name, by, members), tuple(members), name)
        for name, members in groups.items()
    ]
    usual = order.all_open if order.all_open is not None else len(rows) <= AUTO_FLAT_GPUS
    keyed = sorted(heads, key=lambda line: natural(line.title))
    lines = []
    for head in _ordered_lines(keyed, order, sort_key):
        is_open = usual != (head.key in order.toggled)
        lines.append(Line(head.key, head.row, head.members, head.title, is_open))
        if is_open:
            inside = ordered(head.members, order, sort_key)
            # A GPU of two users is in both groups, and each line has a key of its own.
            at = f"@{head.title}" if by == "user" else ""
            lines += [Line(f"{row['uuid']}{at}", row, depth=1) for row in inside]
    return lines


def ordered(rows: Iterable[Row], order: Order, sort_key: Callable[[Row], Any]) -> list[Row]:
    """Rows that are in order of place, by the sorted column."""
    if order.sort == "place":
        found = list(rows)
        return found[::-1] if order.descending else found
    known, unknown = [], []
    for row in rows:
        key = sort_key(row)
        if key is None:
            unknown.append(row)
        else:
            known.append((key, row))
    known.sort(key=lambda pair: pair[0], reverse=order.descending)
    return [row for _, row in known] + unknown


def _ordered_lines(
    lines: Sequence[Line], order: Order, sort_key: Callable[[Row], Any]
) -> list[Line]:
    by_row = {id(line.row): line for line in lines}
    return [by_row[id(row)] for row in ordered([line.row for line in lines], order, sort_key)]


def names_of(row: Row, by: str) -> tuple[str, ...]:
    """The groups that a GPU belongs to; for users there may be several."""
    if by == "node":
        return (str(row.get("node") or ""),)
    if by == "model":
        return (str(row.get("name") or "(no model)"),)
    if by == "user":
        if users := row.get("users"):
            return tuple(map(str, users))
        return (
            FREE
            if row.get("process_count") == 0 and not row.get("stale") and not row.get("jobs")
            else NOT_KNOWN,
        )
    label = by.removeprefix("label.")
    value = (row.get("labels") or {}).get(label, row.get(by))
    return (str(value) if value is not None else f"(no {label})",)


_SUMS = ("memory_used_bytes", "memory_total_bytes", "power_watts", "power_limit_watts")
_MEANS = ("utilization_ratio", "fan_speed_ratio", "clock_sm_hertz")
_GREATEST = ("temperature_celsius", "memory_temperature_celsius")


def summed(name: str, by: str, members: Sequence[Row]) -> dict[str, Any]:
    """A group as a row: means of load, fan and clock, sums of memory and power, the hottest, the
    worst health. What no member has is ``None``."""
    row: dict[str, Any] = {"title": name, "by": by, "count": len(members)}
    for fields, reduce in ((_SUMS, sum), (_MEANS, _mean), (_GREATEST, max)):
        for field in fields:
            values = [v for m in members if (v := m.get(field)) is not None]
            row[field] = reduce(values) if values else None
    used, total = row["memory_used_bytes"], row["memory_total_bytes"]
    row["memory_used_ratio"] = used / total if total and used is not None else None
    levels = [0, 0, 0, 0]
    unknown = stale = processes = 0
    names: dict[str, dict[str, None]] = {"users": {}, "programs": {}, "jobs": {}}
    for member in members:
        level = member.get("health")
        if level is None:
            unknown += 1
        else:
            levels[int(level)] += 1
        stale += bool(member.get("stale"))
        processes += int(member.get("process_count") or 0)
        for field, found in names.items():
            for each in member.get(field) or ():
                found[str(each)] = None
    row["levels"] = tuple(levels)
    row["health"] = max((i for i, n in enumerate(levels) if n), default=None)
    row["unknown"] = unknown
    row["stale_count"] = stale
    row["stale"] = stale == len(members)
    row["process_count"] = processes
    row.update({field: list(found) for field, found in names.items()})
    models = {member.get("name") for member in members}
    row["name"] = next(iter(models)) if len(models) == 1 else f"{len(models)} models"
    nodes = list(dict.fromkeys(str(member.get("node")) for member in members))
    row["node"] = nodes[0] if len(nodes) == 1 else None
    row["nodes"] = nodes
    return row


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


_DIGITS = re.compile(r"(\d+)")


@lru_cache(20_000)
def natural(text: str) -> tuple[tuple[int, str], ...]:
    """A key in which node2 comes before node10."""
    return tuple(
        (int(piece), "") if piece.isdecimal() and piece.isascii() else (-1, piece)
        for piece in _DIGITS.split(text.casefold())
        if piece
    )


def place_key(row: Row) -> Any:
    """Order of place: node, then index."""
    return natural(str(row.get("node") or "")), row.get("index") or 0, str(row.get("uuid"))


def found_by(lines: Sequence[Line], text: str, start: int, step: int) -> int | None:
    """The next line from ``start`` on whose names contain the text; it goes round once."""
    wanted = text.casefold()
    if not wanted or not lines:
        return None
    for offset in range(len(lines)):
        at = (start + offset * step) % len(lines)
        if wanted in words_of(lines[at]):
            return at
    return None


def words_of(line: Line) -> str:
    """What a search looks at: names of place, model, users, programs, health and its reasons."""
    row = line.row
    parts = [line.title, row.get("node"), f"gpu {row.get('index')}", row.get("name")]
    parts += [row.get("uuid"), row.get("fault"), row.get("health_state")]
    if row.get("index") is not None:
        parts.append(f"{row.get('node')}/{row.get('index')}")
    for field in ("users", "programs", "jobs", "health_reasons"):
        parts += row.get(field) or ()
    return " ".join(str(part) for part in parts if part).casefold()
