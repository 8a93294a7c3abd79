"""The rule for unexplained power steps, one GPU and one sample at a time, as plainly as can be."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

TEN_SECONDS = 10_000


@dataclass(slots=True)
class SlowSteps:
    """``latched`` and ``known`` are what the detector's flag is made of."""

    slot: int
    interval_ms: int
    power: dict[int, list[float]] = field(default_factory=dict)
    """Number of ten seconds → samples in it, as shares of the limit."""
    utilization: dict[int, list[float]] = field(default_factory=dict)
    filled: set[int] = field(default_factory=set)
    """Ten seconds that lie in the interval of a sample after them."""
    newest: int | None = None
    counts_from: int | None = None
    limit: float | None = None
    latched: bool = False
    known: bool = False
    home: bool = False
    before: tuple[float, float] = (0.0, 0.0)
    """Power and utilisation before the step."""
    since_ms: int = 0

    def number(self, tick: int) -> int:
        return (tick - self.slot % 10 * 1000) // TEN_SECONDS

    def feed(
        self, tick: int, watts: float | None, limit: float | None, utilization: float | None
    ) -> None:
        number, newest = self.number(tick), self.newest
        if newest is not None and number == newest - 1:
            number = newest
        if newest is not None and number < newest:
            self.power, self.utilization, self.filled = {}, {}, set()
            self.newest = newest = self.counts_from = None
        share = watts / limit if watts is not None and limit is not None else None
        if newest is None or number > newest:
            for earlier in range(number - 6, number):
                inside = (number - earlier) * TEN_SECONDS < self.interval_ms
                if inside and (newest is None or earlier > newest):
                    self._keep(earlier, share, utilization)
                    self.filled.add(earlier)
        self._keep(number, share, utilization)
        self.newest = number
        if limit is not None:
            if self.limit is not None and abs(limit - self.limit) > 0.01 * self.limit:
                self.limit = limit
                self.note_changed(tick)
            elif self.limit is None:
                self.limit = limit
        if newest is not None and number > newest:
            self._judge(tick)

    def _keep(self, number: int, share: float | None, utilization: float | None) -> None:
        for kept, value in ((self.power, share), (self.utilization, utilization)):
            kept.setdefault(number, [])
            if value is not None:
                kept[number].append(value)

    def note_changed(self, tick: int) -> None:
        number = self.number(tick)
        self._cut(number + 1)
        self.home = False
        if self.latched and number >= self.number(self.since_ms) - 36:
            self.latched, self.known = False, True

    def _cut(self, number: int) -> None:
        self.counts_from = max(self.counts_from or 0, number)

    def _means(self, kept: dict[int, list[float]], newest_age: int, count: int) -> list[float]:
        assert self.newest is not None
        means = []
        for age in range(newest_age, newest_age + count):
            number = self.newest - age
            values = kept.get(number, [])
            if values and number >= (self.counts_from or 0):
                means.append(sum(values) / len(values))
        return means

    def _median(self, kept: dict[int, list[float]], newest_age: int, count: int) -> float | None:
        assert self.newest is not None
        covered = 0.0
        for age in range(newest_age, newest_age + count):
            number = self.newest - age
            values = kept.get(number, [])
            if values and number >= (self.counts_from or 0):
                of_interval = len(values) * self.interval_ms / TEN_SECONDS
                covered += 1.0 if number in self.filled else min(1.0, of_interval)
        if covered * 2 < count - 1e-9:
            return None
        return median(self._means(kept, newest_age, count))

    def _judge(self, tick: int) -> None:
        assert self.newest is not None
        power, power_before = self._median(self.power, 1, 6), self._median(self.power, 7, 30)
        used = self._median(self.utilization, 1, 6)
        used_before = self._median(self.utilization, 7, 30)
        now = power is not None and used is not None
        then = power_before is not None and used_before is not None
        cut = self.counts_from is not None and self.counts_from > self.newest - 36
        self.known = now and (then or self.latched or cut)
        if then or not cut:
            self.home = False
        if self.latched:
            returned = power is not None and abs(power - self.before[0]) < 0.15
            moved = used is not None and abs(used - self.before[1]) > 0.25
            if returned or moved:
                self.latched, self.known, self.home = False, True, True
                self._cut(self.number(tick) - 6)
            return
        if self.home:
            power_before, used_before = self.before
        if power is None or power_before is None or used is None or used_before is None:
            return
        earlier = self._means(self.power, 7, 30)
        like = sum(abs(mean - power) < 0.15 for mean in earlier)
        new = self.home or like <= 0.1 * len(earlier)
        if abs(power - power_before) > 0.25 and abs(used - used_before) < 0.15 and new:
            self.latched, self.home = True, False
            self.before, self.since_ms = (power_before, used_before), tick
