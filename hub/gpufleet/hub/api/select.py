"""A parsed filter over the whole fleet at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from gpufleet.client.fields import Field, FieldKind
from gpufleet.client.filter import And, Comparison, Expr, Flag, Missing, Not, Or
from gpufleet.client.pattern import Pattern
from gpufleet.client.row_filter import ORDER, compare_set
from gpufleet.hub.api.table import Table

Mask = NDArray[np.bool_]


def select(expr: Expr | None, table: Table) -> Mask:
    """Which GPUs of the table pass; the same verdicts as ``gpufleet.client.row_filter``."""
    match expr:
        case None:
            return np.ones(len(table), np.bool_)
        case And(terms):
            return reduce(np.logical_and, [select(term, table) for term in terms])
        case Or(terms):
            return reduce(np.logical_or, [select(term, table) for term in terms])
        case Not(term):
            return ~select(term, table)
        case Missing(field):
            return _missing(field, table)
        case Flag(field):
            return np.asarray(table.numbers(field.name) == 1)
        case Comparison():
            return _compare(expr, table)


def _missing(field: Field, table: Table) -> Mask:
    if field.kind is FieldKind.TEXT:
        return np.array([text is None for text in table.texts(field.name)], np.bool_)
    if field.kind is FieldKind.SET:
        return np.array([not texts for texts in table.sets(field.name)], np.bool_)
    return np.isnan(table.numbers(field.name))


def _compare(comparison: Comparison, table: Table) -> Mask:
    field, op, value = comparison.field, comparison.op, comparison.value
    if field.kind in (FieldKind.NUMBER, FieldKind.FLAG):
        column = table.numbers(field.name)
        verdicts = np.asarray(ORDER[op](column, float(value)))
        return verdicts & ~np.isnan(column)
    wanted = str(value)
    if field.kind is FieldKind.SET:
        sets = table.sets(field.name)
        of_set = {texts: compare_set(op, wanted, texts) for texts in set(sets)}
        return np.array([of_set[texts] for texts in sets], np.bool_)
    texts = table.texts(field.name)
    test = _text_test(op, wanted)
    of_text = {text: text is not None and test(text) for text in set(texts)}
    return np.array([of_text[text] for text in texts], np.bool_)


def _text_test(op: str, wanted: str) -> Callable[[str], bool]:
    if op == "~=":
        return Pattern(wanted).found_in
    return lambda text: ORDER[op](text, wanted)
