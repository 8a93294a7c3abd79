"""Clocks for tests of the agent: one that only moves when nothing else does, one that runs fast."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class FakeClock:
    """Stands still while ``busy`` says that threads still work; a wait then moves it."""

    def __init__(self, wall_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = wall_ms
        self.seconds = 1000.0
        self.busy: Callable[[], bool] = lambda: False

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        self.now_ms += round(seconds * 1000)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        while self.busy():
            if event.wait(0.001):
                return True
        if not event.is_set():
            self.advance(max(seconds, 0.001))
        return event.is_set()


class FastClock:
    """Real time, so many times as fast."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._began = time.monotonic()
        self._wall_ms = time.time_ns() // 1_000_000

    def wall_ms(self) -> int:
        return self._wall_ms + round((time.monotonic() - self._began) * 1000 * self._factor)

    def monotonic(self) -> float:
        return time.monotonic() * self._factor

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds) / self._factor)


def until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait for a condition that another thread brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.002)
