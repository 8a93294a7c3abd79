"""Joins the detector of power steps to the engine: feeds it samples, tells its flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.power.latch import Memory
from gpufleet.alerting.power.steps import HISTORY_MS, PowerSteps
from gpufleet.alerting.rules.evaluate import World
from gpufleet.alerting.rules.rule import RuleSet
from gpufleet.alerting.rules.schema import Schema
from gpufleet.alerting.rules.tree import Flag, FlagName, parts

METRICS = ("power_watts", "power_limit_watts", "utilization_ratio")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class PowerWatch:
    """The detector beside the rules; ``wanted`` is False while no rule asks for it."""

    def __init__(self, world: World, schema: Schema) -> None:
        self._world = world
        self._known = all(name in schema.metrics for name in METRICS)
        self._rows = [schema.metrics[name].row for name in METRICS if name in schema.metrics]
        self.steps = PowerSteps(world.capacity)
        self.wanted = False

    def follow(self, rules: RuleSet) -> None:
        """Rules are in force: see whether one asks for power steps."""
        flag = Flag(FlagName.POWER_STEP)
        self.wanted = self._known and any(
            flag in parts(rule.condition) for rule in rules.rules if rule.enabled
        )

    @property
    def history_ms(self) -> int:
        """How far back stored samples are wanted after a restart."""
        return HISTORY_MS if self.wanted else 0

    def feed(self, slots: Ints, ticks: Ints, values: Floats, *, judged: bool = False) -> None:
        """A sample of each slot; ``judged``: stored ones that were judged before a restart."""
        if not self.wanted:
            return
        self.steps.grow(self._world.capacity)
        power, limit, utilization = (values[row, slots] for row in self._rows)
        take = self.steps.refill if judged else self.steps.feed
        take(slots, ticks, self._world.interval_ms[slots], power, limit, utilization)
        self._world.flags[FlagName.POWER_STEP][slots] = self.steps.flags[slots]

    def changed(self, slots: Ints, times_ms: Ints) -> None:
        """What runs on these GPUs changed: a step around it is none."""
        if self.wanted and len(slots):
            self.steps.grow(self._world.capacity)
            self.steps.note_changed(slots, times_ms)

    def forget(self, slot: int) -> None:
        """Another subject is in this slot now, or none."""
        if slot < self.steps.capacity:
            self.steps.forget(slot)

    def memory(self, slots: Iterable[int]) -> Mapping[int, Memory]:
        """What must survive of these slots."""
        if not self.wanted:
            return {}
        return self.steps.memory([slot for slot in slots if slot < self.steps.capacity])

    def restore(self, slot: int, memory: Memory) -> None:
        """Go on with what was stored."""
        self.steps.grow(self._world.capacity)
        self.steps.restore(slot, memory)
