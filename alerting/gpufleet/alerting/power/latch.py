"""A step of power that was found, and what of a slot has to survive a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latch:
    """An unexplained step that lasts. Powers are shares of the enforced limit."""

    power_before: float
    utilization_before: float
    limit_watts: float
    since_ms: int
    """The sample at which it was found, half a minute to a minute after it came."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a message tells of a step."""

    before_watts: float
    watts: float | None
    """The median of the last minute; None: not known now."""
    limit_watts: float
    since_ms: int

    @property
    def ratio(self) -> float | None:
        """The step as a share of the limit; negative: power fell."""
        return None if self.watts is None else (self.watts - self.before_watts) / self.limit_watts


@dataclass(frozen=True, slots=True)
class Level:
    """Where a GPU was before a step that has ended: a share of the limit, and utilisation."""

    power: float
    utilization: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What of one slot is stored; its means are made again from stored samples."""

    latch: Latch | None = None
    from_ms: int | None = None
    """Samples before it are no measure: processes, limit or MIG mode changed, or a step ended."""
    home: Level | None = None
    """The measure until there is one of samples after ``from_ms``."""

    def to_json(self) -> dict[str, float]:
        """As it is stored; what is not known is left out."""
        found: dict[str, float] = {}
        if self.from_ms is not None:
            found["from_ms"] = self.from_ms
        if self.latch is not None:
            found["power_before"] = self.latch.power_before
            found["utilization_before"] = self.latch.utilization_before
            found["limit_watts"] = self.latch.limit_watts
            found["since_ms"] = self.latch.since_ms
        if self.home is not None:
            found["home_power"] = self.home.power
            found["home_utilization"] = self.home.utilization
        return found

    @classmethod
    def from_json(cls, stored: Mapping[str, float]) -> Memory:
        """The same again. KeyError: a part of something is missing."""
        latch = home = None
        if "since_ms" in stored:
            latch = Latch(
                float(stored["power_before"]),
                float(stored["utilization_before"]),
                float(stored["limit_watts"]),
                int(stored["since_ms"]),
            )
        if "home_power" in stored:
            home = Level(float(stored["home_power"]), float(stored["home_utilization"]))
        from_ms = stored.get("from_ms")
        return cls(latch, None if from_ms is None else int(from_ms), home)
