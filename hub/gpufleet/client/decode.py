"""JSON of a hub into frozen dataclasses: what is there must fit, what is new is passed over.

A hub may be newer than its client: fields that a class does not have are left out. One that is
missing takes its default, or ``None`` where it may be. Anything else that does not fit is Broken,
with the place where it was found.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from gpufleet.client.errors import Broken

T = TypeVar("T")


def read(kind: type[T], value: Any) -> T:
    """A document as an instance of a dataclass of ``documents`` and its neighbours."""
    found: T = _value(kind, value, "the answer")
    return found


def _value(kind: Any, value: Any, place: str) -> Any:
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _instance(kind, value, place)
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        parts = [part for part in typing.get_args(kind) if part is not type(None)]
        return None if value is None else _value(parts[0], value, place)
    if origin is tuple and isinstance(value, list):
        of = typing.get_args(kind)[0]
        return tuple([_value(of, one, place) for one in value])
    if origin is Mapping and isinstance(value, dict):
        of = typing.get_args(kind)[1]
        return {name: _value(of, one, f"{place}, {name}") for name, one in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if kind in (str, int, bool) and type(value) is kind:
        return value
    raise Broken(f"The hub's answer cannot be understood: {place} is {_short(value)}.")


def _instance(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise Broken(f"The hub's answer cannot be understood: {place} is {_short(value)}.")
    found = {}
    for name, of, optional, given in _fields(kind):
        if name in value:
            found[name] = _value(of, value[name], name)
        elif optional:
            found[name] = None
        elif not given:
            raise Broken(f"The hub's answer cannot be understood: {place} has no {name}.")
    return kind(**found)


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool, bool], ...]:
    """Of each field its name, type, whether it may be None, and whether it has a default."""
    hints = typing.get_type_hints(kind)
    return tuple(
        (
            field.name,
            hints[field.name],
            type(None) in typing.get_args(hints[field.name]),
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING,
        )
        for field in dataclasses.fields(kind)
    )


def _short(value: Any) -> str:
    """A value as an error may show it."""
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
