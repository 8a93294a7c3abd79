"""A parsed filter over one row, as a client has it: pure Python, no numpy."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpufleet.client.fields import Field, FieldKind
from gpufleet.client.filter import And, Comparison, Expr, Flag, Missing, Not, Or
from gpufleet.client.pattern import Pattern

ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matches(expr: Expr | None, row: Mapping[str, Any]) -> bool:
    """Whether a row of ``/gpus`` passes; no filter passes every row.

    Labels are under ``labels``; a value that is not there, ``None`` or an empty list is absent.
    """
    match expr:
        case None:
            return True
        case And(terms):
            return all(matches(term, row) for term in terms)
        case Or(terms):
            return any(matches(term, row) for term in terms)
        case Not(term):
            return not matches(term, row)
        case Missing(field):
            return value_of(field, row) is None
        case Flag(field):
            return value_of(field, row) is True
        case Comparison():
            return _compare(expr, value_of(expr.field, row))


def value_of(field: Field, row: Mapping[str, Any]) -> Any:
    """The row's value of a field, ``None`` where it is absent."""
    if field.label is not None:
        return (row.get("labels") or {}).get(field.label)
    value = row.get(field.name)
    return None if value == [] or value == () else value


def _compare(comparison: Comparison, value: Any) -> bool:
    if value is None:
        return False
    if comparison.field.kind is FieldKind.SET:
        return compare_set(comparison.op, str(comparison.value), value)
    if comparison.op == "~=":
        return Pattern(str(comparison.value)).found_in(value)
    return ORDER[comparison.op](value, comparison.value)


def compare_set(op: str, wanted: str, values: Sequence[str]) -> bool:
    """``=``: one is equal; ``~=``: one contains it; ``!=``: there are some and none is equal."""
    if op == "=":
        return wanted in values
    if op == "!=":
        return bool(values) and wanted not in values
    pattern = Pattern(wanted)
    return any(pattern.found_in(value) for value in values)
