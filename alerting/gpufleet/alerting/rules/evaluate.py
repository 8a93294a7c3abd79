"""Evaluates expressions over many subjects at once: numpy in, numpy out.

A number is float64 with NaN for absent. A condition is two masks, *true* and *false*; where
neither is set it is not known, and stays so through and, or and not as Kleene has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.rules.clock import by_samples
from gpufleet.alerting.rules.schema import Schema
from gpufleet.alerting.rules.tree import (
    And,
    Arithmetic,
    Bit,
    Compare,
    Condition,
    Const,
    Count,
    Fact,
    Flag,
    FlagName,
    Not,
    Number,
    Or,
    Reduction,
    Share,
    Value,
    Was,
    Window,
    Xid,
    parts,
)
from gpufleet.alerting.rules.windows import Bins

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Masks = tuple[Flags, Flags]
"""(true, false) of a condition."""

_COMPARE: Mapping[str, Callable[[Floats, Floats], Flags]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}


@dataclass(frozen=True, slots=True)
class Kept:
    """What one set of bins holds: a metric or a condition over a window, for every reduction."""

    of: Value | Condition
    window_ms: int
    growth: bool
    """Of a counter what it grew by."""
    sampled: bool
    """Fed by samples, else once a second by the hub."""


@dataclass(slots=True)
class World:
    """What the evaluator remembers between rounds, and what the hub knows, for every slot."""

    schema: Schema
    capacity: int
    facts: dict[str, Floats] = field(default_factory=dict)
    interval_ms: Ints = field(init=False)
    second_ms: Ints = field(init=False)
    """The hub's own interval."""
    node_slot: Ints = field(init=False)
    """The slot of the node of each GPU; -1: none."""
    stale: Flags = field(init=False)
    """Slots that are not heard from now: their values and flags are of before."""
    flags: dict[FlagName, Floats] = field(init=False)
    """1, 0, or NaN where the hub does not know."""
    bins: dict[Kept, Bins] = field(default_factory=dict)
    was: dict[Was, Flags] = field(default_factory=dict)
    xids: dict[int, dict[int, int]] = field(default_factory=dict)
    """Slot → Xid → when it came last (ms)."""

    def __post_init__(self) -> None:
        self.facts = {name: np.full(self.capacity, np.nan) for name in self.schema.facts}
        self.interval_ms = np.full(self.capacity, 1000, np.int64)
        self.second_ms = np.full(self.capacity, 1000, np.int64)
        self.node_slot = np.full(self.capacity, -1, np.int64)
        self.stale = np.zeros(self.capacity, np.bool_)
        self.flags = {name: np.full(self.capacity, np.nan) for name in FlagName}

    def prepare(self, condition: Condition) -> None:
        """Keep what this expression has to remember."""
        for part in parts(condition):
            if isinstance(part, Window | Share):
                kept = kept_of(part, self.schema)
                if kept not in self.bins:
                    self.bins[kept] = Bins(kept.window_ms, self.capacity, counter=kept.growth)
            elif isinstance(part, Was) and part not in self.was:
                self.was[part] = np.zeros(self.capacity, np.bool_)

    def keep_only(self, conditions: list[Condition]) -> None:
        """Forget what no expression asks for any more."""
        wanted = {part for condition in conditions for part in parts(condition)}
        kept = {kept_of(part, self.schema) for part in wanted if isinstance(part, Window | Share)}
        self.bins = {key: bins for key, bins in self.bins.items() if key in kept}
        self.was = {part: held for part, held in self.was.items() if part in wanted}

    def grow(self, capacity: int) -> None:
        """Room for more slots."""
        more = capacity - self.capacity
        if more <= 0:
            return
        nothing = np.full(more, np.nan)
        self.facts = {n: np.append(column, nothing) for n, column in self.facts.items()}
        self.flags = {n: np.append(column, nothing) for n, column in self.flags.items()}
        self.interval_ms = np.append(self.interval_ms, np.full(more, 1000, np.int64))
        self.second_ms = np.full(capacity, 1000, np.int64)
        self.node_slot = np.append(self.node_slot, np.full(more, -1, np.int64))
        self.stale = np.append(self.stale, np.zeros(more, np.bool_))
        self.was = {
            part: np.append(held, np.zeros(more, np.bool_)) for part, held in self.was.items()
        }
        for bins in self.bins.values():
            bins.grow(capacity)
        self.capacity = capacity

    def forget(self, slot: int) -> None:
        """Another subject is in this slot now, or none."""
        for column in (*self.facts.values(), *self.flags.values()):
            column[slot] = np.nan
        self.stale[slot] = False
        for held in self.was.values():
            held[slot] = False
        for bins in self.bins.values():
            bins.forget(slot)
        self.xids.pop(slot, None)


def kept_of(part: Window | Share, schema: Schema) -> Kept:
    """The bins that a window is read from; several reductions of one metric share them."""
    if isinstance(part, Share):
        sampled = by_samples(part.condition, schema)
        return Kept(part.condition, part.window_ms, growth=False, sampled=sampled)
    metric = schema.metrics[part.metric]
    growth = metric.counter and part.reduction is Reduction.DELTA
    return Kept(Value(part.metric), part.window_ms, growth=growth, sampled=not metric.hub)


class Round:
    """One sample of each of some slots; evaluates numbers and conditions of these.

    ``values`` is float64 (rows, capacity), read at ``slots``; ``times_ms`` is each sample's time.
    Parts that several rules share are worked out once.
    """

    def __init__(self, world: World, slots: Ints, times_ms: Ints, values: Floats) -> None:
        self.world = world
        self.slots = slots
        self.times_ms = times_ms
        self.values = values
        self._numbers: dict[Number, Floats] = {}
        self._conditions: dict[Condition, Masks] = {}

    def remember(self, *, sampled: bool) -> None:
        """Take this round into the windows of its clock; before anything is evaluated.

        Conditions come after the metrics, whose windows they may name.
        """
        for kept, bins in self.world.bins.items():
            if kept.sampled is sampled and isinstance(kept.of, Value):
                bins.feed(self.slots, self.times_ms, self.number(kept.of))
        for kept, bins in self.world.bins.items():
            if kept.sampled is sampled and not isinstance(kept.of, Value):
                true, false = self.condition(kept.of)
                held = np.where(true, 1.0, np.where(false, 0.0, np.nan))
                bins.feed(self.slots, self.times_ms, held)

    def latch(self, *, sampled: bool) -> None:
        """Remember for ``was`` what held in this round; after everything was evaluated."""
        for part, held in self.world.was.items():
            if by_samples(part.condition, self.world.schema) is sampled:
                true, _ = self.condition(part.condition)
                held[self.slots] |= true

    def part_of(self, places: NDArray[np.intp]) -> Round:
        """The same of some of its slots, by their places in ``slots``."""
        return Round(self.world, self.slots[places], self.times_ms[places], self.values)

    def number(self, node: Number) -> Floats:
        """(n,) of the round's slots."""
        known = self._numbers.get(node)
        if known is None:
            known = self._numbers[node] = self._number(node)
        return known

    def _number(self, node: Number) -> Floats:
        world, slots = self.world, self.slots
        match node:
            case Const(value):
                return np.full(len(slots), value)
            case Value(name):
                newest: Floats = self.values[world.schema.metrics[name].row].take(slots)
                return newest
            case Fact(name):
                return world.facts[name][slots]
            case Arithmetic(op, left, right):
                return self._arithmetic(op, self.number(left), self.number(right))
            case Window(reduction, _, _):
                return self._window(kept_of(node, world.schema), reduction)
            case Share(_, _):
                return self._window(kept_of(node, world.schema), Reduction.AVG)
            case Count(condition):
                return self._count(condition)

    def _window(self, kept: Kept, reduction: Reduction) -> Floats:
        interval = self.world.interval_ms if kept.sampled else self.world.second_ms
        return self.world.bins[kept].read(self.slots, reduction, interval)

    @staticmethod
    def _arithmetic(op: str, left: Floats, right: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            result: Floats
            match op:
                case "+":
                    result = left + right
                case "-":
                    result = left - right
                case "*":
                    result = left * right
                case _:
                    result = left / right
        result[~np.isfinite(result)] = np.nan
        return result

    def _count(self, condition: Condition) -> Floats:
        """How many GPUs of each node satisfy it, of the values as they are now.

        Absent where it is known of no GPU of the node that is heard from.
        """
        node_of = self.world.node_slot
        gpus = np.flatnonzero((node_of >= 0) & ~self.world.stale)
        times = np.full(len(gpus), int(self.times_ms.max(initial=0)), np.int64)
        true, false = Round(self.world, gpus, times, self.values).condition(condition)
        counts = np.bincount(node_of[gpus[true]], minlength=self.world.capacity)
        known = np.bincount(node_of[gpus[true | false]], minlength=self.world.capacity)
        return np.where(known[self.slots] > 0, counts[self.slots].astype(np.float64), np.nan)

    def holds_somewhere(self, node: Condition) -> bool:
        """Whether a condition may be true for any slot: False is certain, and cheap to know."""
        match node:
            case Compare(op, left, right) if node not in self._conditions:
                a = self.number(left)
                b: Any = right.value if isinstance(right, Const) else self.number(right)
                return bool(_COMPARE[op](a, b).any())
            case And(terms):
                return all(self.holds_somewhere(term) for term in terms)
            case Or(terms):
                return any(self.holds_somewhere(term) for term in terms)
            case _:
                return bool(self.condition(node)[0].any())

    def condition(self, node: Condition) -> Masks:
        """(true, false) of the round's slots."""
        known = self._conditions.get(node)
        if known is None:
            known = self._conditions[node] = self._condition(node)
        return known

    def _condition(self, node: Condition) -> Masks:
        match node:
            case Compare(op, left, right):
                return self._compare(op, left, right)
            case And(terms):
                masks = [self.condition(term) for term in terms]
                true, false = masks[0]
                for more_true, more_false in masks[1:]:
                    true, false = true & more_true, false | more_false
                return true, false
            case Or(terms):
                masks = [self.condition(term) for term in terms]
                true, false = masks[0]
                for more_true, more_false in masks[1:]:
                    true, false = true | more_true, false & more_false
                return true, false
            case Not(term):
                true, false = self.condition(term)
                return false, true
            case Bit(metric, mask):
                value = self.number(Value(metric))
                known = ~np.isnan(value)
                bits = np.where(known, value, 0.0).astype(np.uint64) & np.uint64(mask)
                return known & (bits != 0), known & (bits == 0)
            case Xid(codes, window_ms):
                return self._xid(codes, window_ms)
            case Was(_):
                held = self.world.was[node][self.slots]
                return held, ~held
            case Flag(name):
                flag = self.world.flags[name][self.slots]
                return flag == 1.0, flag == 0.0

    def _compare(self, op: str, left: Number, right: Number) -> Masks:
        a = self.number(left)
        b: Floats | float = right.value if isinstance(right, Const) else self.number(right)
        true = _COMPARE[op](a, b)  # type: ignore[arg-type]
        known = ~np.isnan(a)
        if not isinstance(right, Const):
            known &= ~np.isnan(b)
        return true & known, known & ~true

    def _xid(self, codes: tuple[int, ...], window_ms: int) -> Masks:
        true = np.zeros(len(self.slots), np.bool_)
        if self.world.xids:
            for place in np.flatnonzero(np.isin(self.slots, list(self.world.xids))).tolist():
                came = self.world.xids[int(self.slots[place])]
                since = int(self.times_ms[place]) - window_ms
                true[place] = any(
                    time_ms > since for code, time_ms in came.items() if not codes or code in codes
                )
        return true, ~true
