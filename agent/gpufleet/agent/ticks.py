"""Ticks: wall-clock boundaries, strictly increasing in an epoch, missed ones counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick that is due: its time, how many before it were missed, and whether the clock
    had been stepped back, so that a new epoch begins with it."""

    time_ms: int
    missed: int
    new_epoch: bool


class Ticker:
    """Decides which tick is due; it is told the time and never reads a clock."""

    def __init__(self, interval_ms: int) -> None:
        self.interval_ms = interval_ms
        self._last_ms: int | None = None
        self._last_monotonic = 0.0

    def delay_ms(self, wall_ms: int) -> int:
        """How long to wait for the next tick."""
        upcoming = wall_ms - wall_ms % self.interval_ms + self.interval_ms
        if self._last_ms is not None and not self._stepped_back(wall_ms):
            upcoming = max(upcoming, self._last_ms + 1)
        return upcoming - wall_ms

    def take(self, wall_ms: int, monotonic: float) -> Tick | None:
        """The tick that is due now, or ``None`` if the last one is still running."""
        time_ms = wall_ms - wall_ms % self.interval_ms
        last = self._last_ms
        missed, new_epoch = 0, False
        if last is not None:
            if self._stepped_back(wall_ms):
                new_epoch = True
            elif time_ms <= last:
                return None
            else:
                # A clock stepped forward is no missed tick: no more were missed than time allows.
                gone_ms = (monotonic - self._last_monotonic) * 1000
                skipped = (time_ms - last) // self.interval_ms - 1
                missed = max(0, min(skipped, round(gone_ms / self.interval_ms) - 1))
        self._last_ms = time_ms
        self._last_monotonic = monotonic
        return Tick(time_ms, missed, new_epoch)

    def _stepped_back(self, wall_ms: int) -> bool:
        """A step of less than an interval is waited out; a longer one would repeat ticks."""
        return self._last_ms is not None and wall_ms < self._last_ms - self.interval_ms
