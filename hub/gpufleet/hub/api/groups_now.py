"""Groups of the GPUs that pass a filter, as they are now: by node, model, label or user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.client.fields import Field, FieldKind
from gpufleet.client.nearest import hint
from gpufleet.hub.api.documents import by_health
from gpufleet.hub.api.natural import natural_key
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.select import select
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.api.totals import SPREADS, SUMS, rounded_mean
from gpufleet.hub.api.values import Floats, json_values
from gpufleet.hub.trend import STEP_MS, Trend
from gpufleet.hub.views import ProcessView
from gpufleet.proto.catalog import BY_NAME

MAX_NAMES = 20
"""Of users, programs and so on that one group tells."""
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GroupQuery:
    """A question to the groups; equal ones share their answer."""

    by: str
    filter: str
    sort: str
    limit: int
    offset: int
    points: int


def check_grouping(by: str) -> None:
    """A Problem for what nobody can group by."""
    name, _, label = by.partition(".")
    if not (by in ("node", "model", "user") or (name == "label" and label)):
        detail = f"by is node, model, user or label.NAME (such as label.rack), not {by[:60]!r}."
        raise Problem(400, detail, parameter="by")


class Grouped:
    """GPUs in groups. A GPU of two users is in both; ``None`` names those in no group."""

    def __init__(self, table: Table, by: str, chosen: NDArray[np.bool_]) -> None:
        self.table = table
        self.by_user = by == "user"
        members: dict[str | None, list[int]] = {}
        names = _names(table, by)
        for index in np.flatnonzero(chosen).tolist():
            for name in names[index]:
                members.setdefault(name, []).append(index)
        self.names = list(members)
        self.members: list[Ints] = [np.array(found, np.int64) for found in members.values()]
        self.starts = np.cumsum([0, *(len(found) for found in self.members)])[:-1]
        self.all = np.concatenate(self.members) if members else np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def spread(self, name: str) -> tuple[Ints, Floats, Floats, Floats]:
        """How many have a metric, and mean, least and greatest of it, a value a group."""
        column = self.table.numbers(name)[self.all]
        counts, sums = self._sums(column)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = sums / counts
        return (
            counts,
            means,
            np.fmin.reduceat(column, self.starts),
            np.fmax.reduceat(column, self.starts),
        )

    def total(self, name: str) -> tuple[Ints, Floats]:
        """How many have a metric, and its sum, NaN where none has it."""
        counts, sums = self._sums(self.table.numbers(name)[self.all])
        return counts, np.where(counts > 0, sums, np.nan)

    def count(self, mask: NDArray[np.bool_]) -> Ints:
        """How many GPUs of each group are in the mask of all GPUs."""
        return np.add.reduceat(mask[self.all].astype(np.int64), self.starts)

    def _sums(self, column: Floats) -> tuple[Ints, Floats]:
        known = np.isfinite(column)
        counts = np.add.reduceat(known.astype(np.int64), self.starts)
        return counts, np.add.reduceat(np.where(known, column, 0), self.starts)

    @cached_property
    def free(self) -> NDArray[np.bool_]:
        """Of all GPUs those that are heard from, that nobody uses and no job was given."""
        unused = self.table.numbers("process_count") == 0
        return np.asarray(unused & self.table.gpus.fresh & ~self.table.allocated)

    def processes(self, i: int) -> list[ProcessView]:
        """The processes of a group; of a user the user's own."""
        found: list[ProcessView] = []
        if not self.table.processes:
            return found
        for index in self.members[i].tolist():
            if self.table.gpus.fresh[index]:
                here = self.table.processes_of(self.table.gpus.subjects[index].key)
                found += [p for p in here if not self.by_user or p.user == self.names[i]]
        return found


def _names(table: Table, by: str) -> list[tuple[str | None, ...]]:
    """The groups of each GPU."""
    if by == "user":
        return [users or (None,) for users in table.sets("users")]
    if by == "node":
        return [(subject.node,) for subject in table.gpus.subjects]
    name = "name" if by == "model" else by
    return [(text,) for text in table.texts(Field(name, FieldKind.TEXT).name)]


def groups_document(table: Table, trend: Trend, query: GroupQuery, expr: Any) -> dict[str, Any]:
    """The document of ``/groups``."""
    grouped = Grouped(table, query.by, select(expr, table))
    order = _order(grouped, query.sort)
    shown = order[query.offset : query.offset + query.limit]
    return {
        "time": format_ms(table.snapshot.time_ms),
        "version": table.snapshot.version,
        "by": query.by,
        "total": len(grouped),
        "load_end": format_ms(trend.end_ms) if trend.end_ms else None,
        "load_step_seconds": STEP_MS // 1000,
        "groups": _rows(grouped, trend, query.points, shown) if shown else [],
    }


def _order(grouped: Grouped, sort: str) -> list[int]:
    """Groups in order; those without a value and without a name come last."""
    name = sort.removeprefix("-")
    if name and name not in SORTS:
        near = hint(name, SORTS) or f"; write one of {', '.join(SORTS)}."
        raise Problem(400, f"Groups cannot be sorted by {name[:60]!r}{near}", parameter="sort")
    if not len(grouped):
        return []
    texts = [(text is None, natural_key(text or "")) for text in grouped.names]
    order = sorted(range(len(grouped)), key=texts.__getitem__)
    if name in ("", "group"):
        named = sum(not absent for absent, _ in texts)
        return order[:named][::-1] + order[named:] if sort.startswith("-") else order
    values = _sort_values(grouped, name)
    if sort.startswith("-"):
        values = -values
    place = np.array(order, np.int64)
    return [int(i) for i in place[np.argsort(values[place], kind="stable")]]


def _sort_values(grouped: Grouped, name: str) -> Floats:
    if name == "gpus":
        return np.array([len(members) for members in grouped.members], np.float64)
    if name == "free":
        return grouped.count(grouped.free).astype(np.float64)
    if name == "health":
        return grouped.spread("health")[3]
    if name == "processes":
        return np.array([len(grouped.processes(i)) for i in range(len(grouped))], np.float64)
    if name == "process_memory_bytes":
        sums = [_memory(grouped.processes(i)) for i in range(len(grouped))]
        return np.array([np.nan if n is None else n for n in sums], np.float64)
    if name in SUMS:
        return grouped.total(name)[1]
    _, means, _, greatest = grouped.spread(name)
    return greatest if name.endswith("_celsius") else means


SORTS = (
    *("group", "gpus", "free", "health", "processes", "process_memory_bytes"),
    *SPREADS,
    *SUMS,
)
"""What groups are sorted by: means of ratios, the hottest, sums, the worst health."""


def _rows(grouped: Grouped, trend: Trend, points: int, shown: list[int]) -> list[dict[str, Any]]:
    free, stale = grouped.count(grouped.free), grouped.count(~grouped.table.gpus.fresh)
    rows = [_head(grouped, i) | {"free": int(free[i]), "stale": int(stale[i])} for i in shown]
    for name in SPREADS:
        counts, means, least, greatest = grouped.spread(name)
        metric = BY_NAME[name]
        for row, n, mean, low, high in zip(
            rows,
            counts[shown].tolist(),
            means[shown].tolist(),
            json_values(metric, least[shown]),
            json_values(metric, greatest[shown]),
            strict=True,
        ):
            middle = rounded_mean(metric, mean)
            row[name] = {"gpus": n, "mean": middle, "min": low, "max": high}
    for name in SUMS:
        counts, sums = grouped.total(name)
        totals = json_values(BY_NAME[name], sums[shown])
        for row, n, total in zip(rows, counts[shown].tolist(), totals, strict=True):
            row[name] = {"gpus": n, "sum": total}
    for row, i in zip(rows, shown, strict=True):
        row["load"] = group_load(grouped, i, trend, points) if points else None
    return rows


def _head(grouped: Grouped, i: int) -> dict[str, Any]:
    subjects = [grouped.table.gpus.subjects[index] for index in grouped.members[i].tolist()]
    nodes = dict.fromkeys(subject.node for subject in subjects)
    levels = [subject.health.level for subject in subjects]
    processes = grouped.processes(i)
    views = grouped.table.snapshot.nodes
    return {
        "group": grouped.names[i],
        "gpus": len(subjects),
        "nodes_up": sum(node in views and views[node].up for node in nodes),
        "health": max((level for level in levels if level is not None), default=None),
        "by_health": by_health(levels),
        "processes": len(processes),
        "process_memory_bytes": _memory(processes),
        "nodes": _few(nodes),
        "models": _few(subject.name for subject in subjects),
        "users": _few(process.user for process in processes),
        "programs": _few(process.program for process in processes),
        "jobs": _few(process.job for process in processes),
    }


def _memory(processes: Iterable[ProcessView]) -> int | None:
    known = [p.memory_bytes for p in processes if p.memory_bytes is not None]
    return sum(known) if known else None


def _few(texts: Iterable[str | None]) -> Mapping[str, Any]:
    """How many different ones there are, and the names of the first."""
    found = list(dict.fromkeys(text for text in texts if text))
    return {"total": len(found), "names": found[:MAX_NAMES]}


def group_load(grouped: Grouped, i: int, trend: Trend, points: int) -> list[float | None]:
    """The mean load of a group's GPUs, a value a step."""
    slots = grouped.table.gpus.slots[grouped.members[i]]
    ratios = trend.ratios(slots, points)
    known = np.isfinite(ratios)
    counts = known.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(known, ratios, 0).sum(axis=0) / counts
    return ratio_list(means)


def ratio_list(ratios: Floats) -> list[float | None]:
    """Ratios to a hundredth, ``None`` where absent."""
    return [None if value != value else round(value, 2) for value in ratios.tolist()]
