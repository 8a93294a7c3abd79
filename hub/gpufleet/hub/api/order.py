"""Sort orders over the fleet, and cursors that keep their place while values change."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gpufleet.client.fields import Field, FieldKind, Fields, UnknownField
from gpufleet.client.nearest import ended
from gpufleet.hub.api.jsonbody import encode
from gpufleet.hub.api.natural import Key, natural_key
from gpufleet.hub.api.table import Table
from gpufleet.hub.store.errors import NO_CURSOR

MAX_KEYS = 6
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One field of a sort order."""

    field: Field
    descending: bool


class OrderError(ValueError):
    """A sort order or a cursor that cannot be used. One sentence."""


def parse_sort(text: str, fields: Fields) -> tuple[SortKey, ...]:
    """``-temperature_celsius,node``: a minus means the greatest first. Raises OrderError."""
    keys = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name = part.removeprefix("-").removeprefix("+").strip()
        try:
            keys.append(SortKey(fields.find(name).field, part.startswith("-")))
        except UnknownField as error:
            raise OrderError(ended(f"The sort order cannot be used: {error}")) from None
    if len(keys) > MAX_KEYS:
        raise OrderError(f"A sort order has at most {MAX_KEYS} fields, not {len(keys)}.")
    return tuple(keys)


def arrange(table: Table, chosen: NDArray[np.bool_], keys: tuple[SortKey, ...]) -> Indices:
    """The chosen GPUs in order: absent values last, ties by node, index and UUID."""
    indices = np.flatnonzero(chosen)
    if not keys:
        return indices
    columns = []
    for key in reversed(keys):
        ranks = table.ranks(key.field)[indices]
        columns.append(-ranks if key.descending else ranks)
    return indices[np.lexsort(columns)]


def cursor_after(table: Table, index: int, keys: tuple[SortKey, ...]) -> str:
    """An opaque text for the place after this GPU."""
    subject = table.gpus.subjects[index]
    place: list[Any] = [_spell(keys), [_value(table, key, index) for key in keys]]
    place += [subject.node, subject.index, subject.key]
    return base64.urlsafe_b64encode(encode(place)).rstrip(b"=").decode()


def start_after(table: Table, ordered: Indices, keys: tuple[SortKey, ...], cursor: str) -> int:
    """How many of the ordered GPUs lie at or before a cursor's place. Raises OrderError."""
    values, tie = _read_cursor(cursor, keys)
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        if _is_after(table, int(ordered[middle]), keys, values, tie):
            high = middle
        else:
            low = middle + 1
    return low


def _is_after(
    table: Table, index: int, keys: tuple[SortKey, ...], values: list[Any], tie: tuple[Any, ...]
) -> bool:
    for key, theirs in zip(keys, values, strict=True):
        mine = _value(table, key, index)
        if mine is None or theirs is None:
            if mine is None and theirs is None:
                continue
            return mine is None
        a, b = _comparable(mine), _comparable(theirs)
        if a != b:
            return a < b if key.descending else a > b
    subject = table.gpus.subjects[index]
    return (natural_key(subject.node), subject.index, subject.key) > tie


def _comparable(value: float | str) -> tuple[float, Key]:
    return (0.0, natural_key(value)) if isinstance(value, str) else (value, ())


def _value(table: Table, key: SortKey, index: int) -> float | str | None:
    if key.field.kind in (FieldKind.NUMBER, FieldKind.FLAG):
        number = float(table.numbers(key.field.name)[index])
        return None if np.isnan(number) else number
    return table.sort_texts(key.field)[index]


def _spell(keys: tuple[SortKey, ...]) -> str:
    return ",".join(("-" if key.descending else "") + key.field.name for key in keys)


def _read_cursor(cursor: str, keys: tuple[SortKey, ...]) -> tuple[list[Any], tuple[Any, ...]]:
    unknown = OrderError(NO_CURSOR)
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError):
        raise unknown from None
    match place:
        case [str() as spelt, list() as values, str() as node, int() as index, str() as uuid]:
            pass
        case _:
            raise unknown
    if spelt != _spell(keys) or len(values) != len(keys):
        raise OrderError("The cursor belongs to another sort order; ask without a cursor.")
    for key, value in zip(keys, values, strict=True):
        number = key.field.kind in (FieldKind.NUMBER, FieldKind.FLAG)
        wanted = (int, float) if number else (str,)
        if value is not None and (not isinstance(value, wanted) or isinstance(value, bool)):
            raise unknown
    return values, (natural_key(node), index, uuid)
