"""Joins what is known of power to the engine: feeds it samples, tells its flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.power.latch import Memory
from gpufleet.alerting.power.readings import PowerReadings
from gpufleet.alerting.power.steps import HISTORY_MS, PowerSteps
from gpufleet.alerting.rules.evaluate import World
from gpufleet.alerting.rules.rule import RuleSet
from gpufleet.alerting.rules.schema import Schema
from gpufleet.alerting.rules.tree import FlagName

METRICS = ("power_watts", "power_limit_watts", "utilization_ratio")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class PowerWatch:
    """The detectors beside the rules; ``wanted`` is False while no rule asks for them."""

    def __init__(self, world: World, schema: Schema) -> None:
        self._world = world
        self._known = all(name in schema.metrics for name in METRICS)
        self._rows = [schema.metrics[name].row for name in METRICS if name in schema.metrics]
        self.steps = PowerSteps(world.capacity)
        self.readings = PowerReadings(world.capacity)
        self.wanted = False

    def follow(self, rules: RuleSet) -> None:
        """Rules are in force: see whether one asks for these flags."""
        flags = {FlagName.POWER_STEP, FlagName.POWER_UNREADABLE}
        self.wanted = self._known and bool(flags & rules.flags())

    @property
    def history_ms(self) -> int:
        """How far back stored samples are wanted after a restart."""
        return HISTORY_MS if self.wanted else 0

    def feed(self, slots: Ints, ticks: Ints, values: Floats, *, judged: bool = False) -> None:
        """A sample of each slot; ``judged``: stored ones that were judged before a restart."""
        if not self.wanted:
            return
        self._grow()
        power, limit, utilization = (values[row, slots] for row in self._rows)
        take = self.steps.refill if judged else self.steps.feed
        take(slots, ticks, self._world.interval_ms[slots], power, limit, utilization)
        self._world.flags[FlagName.POWER_STEP][slots] = self.steps.flags[slots]
        unreadable = self.readings.unreadable(slots, power, utilization)
        self._world.flags[FlagName.POWER_UNREADABLE][slots] = unreadable

    def _grow(self) -> None:
        self.steps.grow(self._world.capacity)
        self.readings.grow(self._world.capacity)

    def changed(self, slots: Ints, times_ms: Ints) -> None:
        """What runs on these GPUs changed: a step around it is none."""
        if self.wanted and len(slots):
            self._grow()
            self.steps.note_changed(slots, times_ms)

    def forget(self, slot: int) -> None:
        """Another subject is in this slot now, or none."""
        if slot < self.steps.capacity:
            self.steps.forget(slot)
            self.readings.forget(slot)

    def memory(self, slots: Iterable[int]) -> Mapping[int, Memory]:
        """What must survive of these slots."""
        if not self.wanted:
            return {}
        return self.steps.memory([slot for slot in slots if slot < self.steps.capacity])

    def restore(self, slot: int, memory: Memory) -> None:
        """Go on with what was stored."""
        self._grow()
        self.steps.restore(slot, memory)
