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
class Memory:
    """What of one slot is stored; its means are made again from stored samples."""

    latch: Latch | None = None
    from_ms: int | None = None
    """Samples before it are no measure: processes, limit or MIG mode changed, or a step ended."""

    def to_json(self) -> dict[str, float]:
        """As it is stored. Nothing is left out but what is not known."""
        found: dict[str, float] = {}
        if self.from_ms is not None:
            found["from_ms"] = self.from_ms
        if self.latch is not None:
            found["power_before"] = self.latch.power_before
            found["utilization_before"] = self.latch.utilization_before
            found["limit_watts"] = self.latch.limit_watts
            found["since_ms"] = self.latch.since_ms
        return found

    @classmethod
    def from_json(cls, stored: Mapping[str, float]) -> Memory:
        """The same again. KeyError: a latch that lacks a part."""
        latch = None
        if "since_ms" in stored:
            latch = Latch(
                float(stored["power_before"]),
                float(stored["utilization_before"]),
                float(stored["limit_watts"]),
                int(stored["since_ms"]),
            )
        from_ms = stored.get("from_ms")
        return cls(latch, None if from_ms is None else int(from_ms))
