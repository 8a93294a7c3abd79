"""One alert rule, and a set of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpufleet.alerting.rules.clock import by_samples
from gpufleet.alerting.rules.schema import Schema
from gpufleet.alerting.rules.tree import (
    And,
    Compare,
    Condition,
    Count,
    Flag,
    FlagName,
    Number,
    Or,
    Share,
    Value,
    Window,
    parts,
)
from gpufleet.alerting.state import Scope, Severity


@dataclass(frozen=True, slots=True)
class Match:
    """Which subjects a rule is for. ``op`` is ``=``, ``!=`` or ``~=`` (contains, ``*``)."""

    name: str
    """``node``, ``model`` or ``label.NAME``."""
    op: str
    value: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Its name is its identity in the file and in every table."""

    name: str
    group: str
    text: str
    """The expression as it was written."""
    condition: Condition
    severity: Severity = Severity.WARNING
    scope: Scope = Scope.GPU
    for_ms: int = 0
    for_inclusive: bool = False
    keep_firing_ms: int = 0
    clear_text: str = ""
    clear: Condition | None = None
    max_gap_ms: int | None = None
    """``None``: max(3 intervals, 45 s)."""
    match: tuple[Match, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    description: str = ""
    advice: str = ""
    repeat: bool = True
    """False: an episode is mailed once, whatever it lasts."""
    enabled: bool = True

    def by_samples(self, schema: Schema) -> bool:
        """Whether it runs at each sample; else, by the hub's clock, on what only the hub knows."""
        return by_samples(self.condition, schema)

    def flags(self) -> frozenset[FlagName]:
        """Flags of the hub's that it asks for."""
        return frozenset(part.name for part in parts(self.condition) if isinstance(part, Flag))

    def compared(self) -> Compare | None:
        """The comparison that its value, threshold and unit are told from."""
        return _first_comparison(self.condition)

    def metric(self) -> str:
        """The metric that it is about, "" where there is none."""
        comparison = self.compared()
        if comparison is None:
            return ""
        for part in parts(comparison.left):
            match part:
                case Value(name) | Window(_, name, _):
                    return name
                case Share(condition, _) | Count(condition):
                    inner = _first_comparison(condition)
                    named = [p.name for p in parts(condition) if isinstance(p, Value)]
                    return named[0] if inner is not None and named else ""
                case _:
                    pass
        return ""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules in force, in the order of the file."""

    rules: tuple[Rule, ...]
    source: str = ""
    """What they were read from, for people."""

    def by_name(self) -> Mapping[str, Rule]:
        return {rule.name: rule for rule in self.rules}

    def flags(self) -> frozenset[FlagName]:
        """Flags of the hub's that rules in force ask for."""
        return frozenset().union(*(rule.flags() for rule in self.rules if rule.enabled))


def _first_comparison(node: Number | Condition) -> Compare | None:
    match node:
        case Compare():
            return node
        case And(terms) | Or(terms):
            for term in terms:
                found = _first_comparison(term)
                if found is not None:
                    return found
            return None
        case _:
            return None
