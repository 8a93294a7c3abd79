"""What a row of the GPU list can be asked by: names, aliases and kinds of its fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from gpufleet.client.nearest import hint

HEALTH_LEVELS: Mapping[str, float] = MappingProxyType(
    {"healthy": 0, "caution": 1, "warning": 2, "critical": 3}
)


class FieldKind(Enum):
    """How a field compares."""

    NUMBER = "number"
    TEXT = "text"
    SET = "set"
    """Several texts; a comparison holds where it holds for one of them."""
    FLAG = "flag"
    """True or false; it may stand alone in a filter."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field by its full name; ``words`` are the numbers that have a name."""

    name: str
    kind: FieldKind
    ratio: bool = False
    words: Mapping[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str | None:
        """The key of the node's label that this field is, ``None`` for any other."""
        return self.name.removeprefix(LABEL) if self.name.startswith(LABEL) else None


@dataclass(frozen=True, slots=True)
class Named:
    """A field as somebody wrote it; its numbers are divided by ``divisor`` (100: percent)."""

    field: Field
    divisor: int = 1


LABEL = "label."

_ALIASES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "temp": ("temperature_celsius", 1),
        "util": ("utilization_ratio", 100),
        "mem": ("memory_used_ratio", 100),
        "power": ("power_watts", 1),
        "fan": ("fan_speed_ratio", 100),
        "model": ("name", 1),
        "user": ("users", 1),
        "job": ("jobs", 1),
        "pod": ("pods", 1),
        "program": ("programs", 1),
        "throttle": ("throttle_reasons", 1),
        "alert": ("alerts", 1),
    }
)

_N, _T, _S, _F = FieldKind.NUMBER, FieldKind.TEXT, FieldKind.SET, FieldKind.FLAG

ROW_FIELDS: tuple[Field, ...] = (
    Field("uuid", _T),
    Field("node", _T),
    Field("index", _N),
    Field("name", _T),
    Field("method", _T),
    Field("node_up", _F),
    Field("stale", _F),
    Field("sample_time", _T),
    Field("health", _N, words=HEALTH_LEVELS),
    Field("health_state", _T),
    Field("health_reasons", _S),
    Field("fault", _T),
    Field("alerts", _S),
    Field("users", _S),
    Field("programs", _S),
    Field("jobs", _S),
    Field("pods", _S),
    Field("process_count", _N),
)
"""Fields of a row beside the catalogue's metrics, in the order in which they are shown."""


class UnknownField(ValueError):
    """Nobody knows a field of this name. The text is one sentence."""


class Fields:
    """The names that a filter, a sort order or a choice of fields may use.

    ``metrics`` are the catalogue's for a GPU as ``(name, kind, words)``, kind being the
    catalogue's word: the hub takes them from its table, a client from ``/metrics-catalog``.
    """

    def __init__(self, metrics: Iterable[tuple[str, str, Mapping[str, float]]]) -> None:
        fields = {f.name: f for f in ROW_FIELDS}
        for name, kind, words in metrics:
            if name not in fields:
                fields[name] = Field(
                    name, _S if kind == "bits" else _N, name.endswith("_ratio"), dict(words)
                )
        self.by_name: Mapping[str, Field] = MappingProxyType(fields)
        self.aliases: Mapping[str, str] = MappingProxyType(
            {alias: name for alias, (name, _) in _ALIASES.items() if name in fields}
        )

    def find(self, text: str) -> Named:
        """The field of this name or alias; UnknownField with the nearest name if none is."""
        if text.startswith(LABEL) and len(text) > len(LABEL):
            return Named(Field(text, _T))
        if text in self.by_name:
            return Named(self.by_name[text])
        if text in self.aliases:
            name, divisor = _ALIASES[text]
            return Named(self.by_name[name], divisor)
        near = hint(text, [*self.by_name, *self.aliases, "label.NAME"])
        raise UnknownField(f"there is no field {text[:60]!r}{near}")
