"""Joins what is known of telemetry that stands still to the engine: its flag of each sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.frozen import METRICS, Frozen
from gpufleet.alerting.rules.evaluate import World
from gpufleet.alerting.rules.rule import RuleSet
from gpufleet.alerting.rules.schema import Schema
from gpufleet.alerting.rules.tree import FlagName

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class FrozenWatch:
    """The detector beside the rules; ``wanted`` is False while no rule asks for it."""

    def __init__(self, world: World, schema: Schema) -> None:
        self._world = world
        self._known = all(name in schema.metrics for name in METRICS)
        named = [schema.metrics[name] for name in METRICS if name in schema.metrics]
        self._rows = np.array([metric.row for metric in named], np.intp)
        self._frozen = Frozen(world.capacity)
        self.wanted = False

    def follow(self, rules: RuleSet) -> None:
        """Rules are in force: see whether one asks for the flag."""
        self.wanted = self._known and FlagName.TELEMETRY_FROZEN in rules.flags()

    def feed(self, slots: Ints, ticks: Ints, values: Floats) -> None:
        """A sample of each slot."""
        if not self.wanted:
            return
        self._frozen.grow(self._world.capacity)
        flag = self._frozen.feed(slots, ticks, values[self._rows[:, None], slots])
        self._world.flags[FlagName.TELEMETRY_FROZEN][slots] = flag

    def forget(self, slot: int) -> None:
        """Another subject is in this slot now, or none."""
        self._frozen.grow(slot + 1)
        self._frozen.forget(slot)
