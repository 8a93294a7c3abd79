"""A health history as plain JSON and back, so that latches can outlive the process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gpufleet.alerting.health_growth import Growth
from gpufleet.alerting.health_history import HealthHistory, SeenXid

_DEFAULT = HealthHistory()


def document(history: HealthHistory) -> dict[str, Any]:
    """What differs from the history of a GPU of which nothing was seen."""
    found: dict[str, Any] = {}
    for field in fields(history):
        value = getattr(history, field.name)
        if value != getattr(_DEFAULT, field.name):
            found[field.name] = _plain(value)
    return found


def history(document: Mapping[str, Any]) -> HealthHistory:
    """The history that a document came from. Keys of a newer version are ignored."""
    known: dict[str, Any] = {}
    for field in fields(HealthHistory):
        if field.name not in document:
            continue
        value, default = document[field.name], getattr(_DEFAULT, field.name)
        if isinstance(default, Growth):
            value = Growth(
                value["baseline"],
                tuple((tick_ms, increase) for tick_ms, increase in value["recent"]),
                value["last_ms"],
                value["total"],
            )
        elif field.name == "xids":
            value = tuple(SeenXid(code, tuple(times)) for code, times in value)
        elif field.name == "thermal":
            value = tuple((start, end) for start, end in value)
        elif isinstance(default, frozenset):
            value = frozenset(value)
        elif isinstance(default, tuple):
            value = tuple(value)
        known[field.name] = value
    return HealthHistory(**known)


def _plain(value: Any) -> Any:
    if isinstance(value, Growth):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, SeenXid):
        return [value.code, list(value.times_ms)]
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
