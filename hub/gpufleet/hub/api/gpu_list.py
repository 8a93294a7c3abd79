"""The list of GPUs: what is asked for, and the rows that answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpufleet.client.fields import Fields, UnknownField
from gpufleet.client.filter import Expr, FilterError, parse
from gpufleet.client.nearest import ended
from gpufleet.hub.api.order import (
    Indices,
    OrderError,
    SortKey,
    arrange,
    cursor_after,
    parse_sort,
    start_after,
)
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.select import select
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import format_ms
from gpufleet.proto.catalog import HEALTH_STATES, RECOVERY_ACTIONS, SubjectKind, metrics

MAX_FIELDS = 200

VALUE_WORDS = {
    "health": {name: float(i) for i, name in enumerate(HEALTH_STATES)},
    "recovery_action": {name: float(i) for i, name in enumerate(RECOVERY_ACTIONS)},
}

FIELDS = Fields(
    (m.name, m.kind.value, VALUE_WORDS.get(m.name, {})) for m in metrics(SubjectKind.GPU)
)
"""Every name that a filter, a sort order and ``fields`` may use."""

LABELS = "labels"
ALL_FIELDS: tuple[str, ...] = (*FIELDS.by_name, LABELS)


@dataclass(frozen=True, slots=True)
class GpuQuery:
    """A question to the list as it was asked; equal ones share their answer."""

    filter: str = ""
    sort: str = ""
    fields: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A question understood. ``names`` are the fields of a row, ``uuid`` always first."""

    expr: Expr | None
    keys: tuple[SortKey, ...]
    names: tuple[str, ...]


def plan(query: GpuQuery) -> Plan:
    """Understand a question, or say in a Problem what is wrong with it."""
    try:
        expr = parse(query.filter, FIELDS)
        keys = parse_sort(query.sort, FIELDS)
        names = _parse_fields(query.fields)
    except FilterError as error:
        raise Problem(400, str(error), parameter="filter", position=error.position) from None
    except OrderError as error:
        raise Problem(400, str(error), parameter="sort") from None
    except UnknownField as error:
        raise Problem(
            400, ended(f"The fields cannot be used: {error}"), parameter="fields"
        ) from None
    return Plan(expr, keys, names)


def _parse_fields(text: str) -> tuple[str, ...]:
    wanted = [part for part in (part.strip() for part in text.split(",")) if part]
    if not wanted:
        return ALL_FIELDS
    if len(wanted) > MAX_FIELDS:
        raise UnknownField(f"there are {len(wanted)} of them, at most {MAX_FIELDS} are possible")
    found = (LABELS if name == LABELS else FIELDS.find(name).field.name for name in wanted)
    return tuple(dict.fromkeys(("uuid", *found)))


def ordered(table: Table, asked: Plan) -> Indices:
    """Every GPU that passes, in order."""
    return arrange(table, select(asked.expr, table), asked.keys)


def rows(table: Table, names: tuple[str, ...], indices: Indices) -> list[tuple[Any, ...]]:
    """The GPUs' cells as JSON has them, a tuple a GPU in the order of ``names``."""
    chosen = indices.tolist()
    everything = len(chosen) == len(table) and chosen == list(range(len(chosen)))
    columns = []
    for name in names:
        column = table.json(name)
        columns.append(column if everything else [column[i] for i in chosen])
    return list(zip(*columns, strict=True))


def page(
    table: Table, asked: Plan, limit: int, cursor: str = "", offset: int = 0
) -> dict[str, Any]:
    """The document of ``/gpus``: what lies behind a cursor, or from an offset on."""
    found = ordered(table, asked)
    start = offset
    if cursor:
        try:
            start = start_after(table, found, asked.keys, cursor)
        except OrderError as error:
            raise Problem(400, str(error), parameter="cursor") from None
    shown = found[start : start + limit]
    more = start + limit < len(found)
    return {
        "time": format_ms(table.snapshot.time_ms),
        "version": table.snapshot.version,
        "total": len(found),
        "next_cursor": cursor_after(table, int(shown[-1]), asked.keys) if more else None,
        "gpus": [
            dict(zip(asked.names, row, strict=True)) for row in rows(table, asked.names, shown)
        ],
    }
