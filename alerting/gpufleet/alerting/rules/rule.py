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
    Fact,
    Flag,
    FlagName,
    Number,
    Or,
    Reduction,
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
        found = parts(self.condition) + (parts(self.clear) if self.clear is not None else [])
        return frozenset(part.name for part in found if isinstance(part, Flag))

    def compared(self) -> Compare | None:
        """The first comparison in it; ``None``: it compares nothing."""
        return next(iter(_comparisons(self.condition)), None)

    def told(self) -> Told | None:
        """What its value, threshold and unit are told from; ``None``: nothing is, or several."""
        found = _comparisons(self.condition)
        if not found or (len({one.left for one in found}) > 1 and _either(self.condition)):
            return None
        first = found[0]
        one_threshold = not _either(self.condition) or len({one.right for one in found}) == 1
        return Told(first.left, first.op, first.right if one_threshold else None)


@dataclass(frozen=True, slots=True)
class Told:
    """The number that a rule is about, and what it is compared with."""

    value: Number
    op: str
    threshold: Number | None
    """``None``: with one of several."""

    def metric(self, schema: Schema) -> str:
        """The metric's name where the number is one as it is; "" for what is reckoned from some."""
        match self.value:
            case Value(name):
                return name
            case Window(reduction, name, _) if reduction is not Reduction.DELTA:
                return name if not schema.metrics[name].counter else ""
            case _:
                return ""

    def unit(self, schema: Schema) -> str:
        """Its unit, "" where there is none or nobody can tell."""
        match self.value:
            case Value(name) | Window(_, name, _):
                return schema.metrics[name].unit
            case Fact(name):
                return schema.facts[name]
            case Share():
                return "ratio"
            case _:
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


def _comparisons(node: Number | Condition) -> list[Compare]:
    """Those that it is made of by and and or, in order."""
    match node:
        case Compare():
            return [node]
        case And(terms) | Or(terms):
            return [one for term in terms for one in _comparisons(term)]
        case _:
            return []


def _either(node: Condition) -> bool:
    """Whether not all of its comparisons need hold."""
    match node:
        case Or():
            return True
        case And(terms):
            return any(_either(term) for term in terms)
        case _:
            return False
