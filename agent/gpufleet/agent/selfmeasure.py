"""What the agent itself costs, and what it gives up when that is too much."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from gpufleet.proto.catalog import BY_NAME

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Cost:
    """The agent's own figures at one tick; ``None``: not known."""

    cpu_seconds: float
    resident_bytes: int | None
    collect_seconds: float
    sent_bytes: int
    spool_bytes: int
    unacknowledged_ticks: int
    dropped_ticks: int
    missed_ticks: int


_NAMES = {
    "agent_cpu_seconds_total": "cpu_seconds",
    "agent_resident_memory_bytes": "resident_bytes",
    "agent_collect_seconds": "collect_seconds",
    "agent_sent_bytes_total": "sent_bytes",
    "agent_spool_bytes": "spool_bytes",
    "agent_unacknowledged_ticks": "unacknowledged_ticks",
    "agent_dropped_ticks_total": "dropped_ticks",
    "agent_missed_ticks_total": "missed_ticks",
}

COLUMNS = tuple(sorted(BY_NAME[name].id for name in _NAMES))
"""Catalogue ids that ``values`` answers."""


def values(cost: Cost) -> dict[int, int]:
    """Catalogue id → scaled integer."""
    found = {}
    for name, field in _NAMES.items():
        value = getattr(cost, field)
        if value is not None:
            found[BY_NAME[name].id] = BY_NAME[name].raw(value)
    return found


def cpu_seconds() -> float:
    """CPU time of this process since its start."""
    return time.process_time()


def resident_bytes(proc: Path = Path("/proc")) -> int | None:
    """Resident memory of this process (/proc/self/statm)."""
    try:
        return int((proc / "self/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return None


class Shed(IntEnum):
    """What is given up, each including those before."""

    NOTHING = 0
    PROCESSES = 1
    SLOW_TIER = 2
    """The slow tier is read four times as rarely."""


SLOW_STRETCH = 4
WINDOW_SECONDS = 60.0
CALM_WINDOWS = 10
"""After so many windows below half the budget one step is taken back."""


class Budget:
    """Decides what to give up from the CPU time used in each window of a minute."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._began: tuple[float, float] | None = None
        self._busy = False
        self._calm = 0
        self.shed = Shed.NOTHING
        self.last_ratio = 0.0
        """Share of a core used in the last whole window."""

    def observe(self, monotonic: float, cpu: float, *, draining: bool) -> Shed:
        """Called each tick; a window in which a backlog was sent says nothing about collecting."""
        self._busy = self._busy or draining
        if self._began is None:
            self._began = (monotonic, cpu)
            return self.shed
        elapsed = monotonic - self._began[0]
        if elapsed < WINDOW_SECONDS:
            return self.shed
        used = (cpu - self._began[1]) / elapsed
        busy, self._busy = self._busy, False
        self._began = (monotonic, cpu)
        self.last_ratio = used
        if used > self._ratio and not busy:
            self.shed = Shed(min(self.shed + 1, Shed.SLOW_TIER))
            self._calm = 0
        elif used < self._ratio / 2:
            self._calm += 1
            if self._calm >= CALM_WINDOWS and self.shed:
                self.shed = Shed(self.shed - 1)
                self._calm = 0
        else:
            self._calm = 0
        return self.shed
