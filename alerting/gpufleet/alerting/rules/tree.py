"""The tree of a rule's expression. Numbers and conditions are different types of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Const:
    """A number."""

    value: float


@dataclass(frozen=True, slots=True)
class Value:
    """The newest value of a metric."""

    name: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A static fact of the subject."""

    name: str


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``+ - * /`` of two numbers; a division by zero is absent."""

    op: str
    left: Number
    right: Number


class Reduction(Enum):
    """What a window of a number is reduced to."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    STDDEV = "stddev"
    DELTA = "delta"


@dataclass(frozen=True, slots=True)
class Window:
    """A metric over the last ``window_ms``: absent until half of it is covered."""

    reduction: Reduction
    metric: str
    window_ms: int


@dataclass(frozen=True, slots=True)
class Share:
    """Share of the samples of the last ``window_ms`` in which a condition held, 0 to 1."""

    condition: Condition
    window_ms: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many GPUs of the node satisfy a condition (node scope)."""

    condition: Condition


Number = Const | Value | Fact | Arithmetic | Window | Share | Count


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of numbers; absent where one of them is."""

    op: str
    left: Number
    right: Number


@dataclass(frozen=True, slots=True)
class And:
    """False as soon as one term is, true where all are, else not known."""

    terms: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True as soon as one term is, false where all are, else not known."""

    terms: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; not known stays not known."""

    term: Condition


@dataclass(frozen=True, slots=True)
class Bit:
    """Whether any flag of ``mask`` is set in a metric of bits."""

    metric: str
    mask: int


@dataclass(frozen=True, slots=True)
class Xid:
    """Whether one of these Xids (none: any) came within ``window_ms``."""

    codes: tuple[int, ...]
    window_ms: int


@dataclass(frozen=True, slots=True)
class Was:
    """Whether a condition held at an earlier sample."""

    condition: Condition


class FlagName(Enum):
    """What the hub itself knows to be so or not so of a subject."""

    MISSING = "missing"
    """A GPU is lost or gone from its node; a node sends nothing."""
    HUNG = "collector_hung"
    """Nothing of the driver has answered for several polls."""
    POWER_STEP = "power_step"
    """Power jumped without a reason and stayed (alerting.power)."""
    POWER_UNREADABLE = "power_unreadable"
    """A GPU that works tells no power, though it has told one before."""
    TELEMETRY_FROZEN = "telemetry_frozen"
    """Readings of a GPU that works stand still (alerting.frozen)."""
    NVLINK_DOWN = "nvlink_down"
    """A link of the GPU that was up is down."""


SAMPLED_FLAGS = frozenset(
    {FlagName.POWER_STEP, FlagName.POWER_UNREADABLE, FlagName.TELEMETRY_FROZEN}
)
"""Those that each sample tells; the others are told by the hub's clock."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of the hub's."""

    name: FlagName


Condition = Compare | And | Or | Not | Bit | Xid | Was | Flag


def parts(node: Number | Condition) -> list[Number | Condition]:
    """A node and everything in it."""
    found: list[Number | Condition] = [node]
    match node:
        case Arithmetic(_, left, right) | Compare(_, left, right):
            found += parts(left) + parts(right)
        case And(terms) | Or(terms):
            for term in terms:
                found += parts(term)
        case Not(inner) | Was(inner) | Share(inner, _) | Count(inner):
            found += parts(inner)
        case _:
            pass
    return found
