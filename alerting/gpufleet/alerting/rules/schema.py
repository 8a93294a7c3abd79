"""The names that a rule's expression may use, as the hub gives them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gpufleet.alerting.state import Scope


@dataclass(frozen=True, slots=True)
class MetricName:
    """A metric of the catalogue. ``row`` is its row in the values that the engine is given."""

    name: str
    row: int
    scopes: frozenset[Scope]
    unit: str = ""
    counter: bool = False
    bits: Mapping[str, int] = field(default_factory=dict)
    """Names of its flags and their masks, for a metric of bits."""
    hub: bool = False
    """The hub derives it: rules on it alone run by the hub's clock, without samples."""


@dataclass(frozen=True, slots=True)
class Schema:
    """All names. ``facts`` are numbers that do not change, or seldom: name → unit."""

    metrics: Mapping[str, MetricName]
    facts: Mapping[str, str] = field(default_factory=dict)

    def names(self, scope: Scope) -> list[str]:
        """What an expression of this scope may name."""
        return [*(m.name for m in self.metrics.values() if scope in m.scopes), *self.facts]


def nearest(word: str, known: Iterable[str]) -> str:
    """`` Did you mean X?`` for the known name nearest to ``word``, or ""."""
    near = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f" Did you mean {near[0]}?" if near else ""
