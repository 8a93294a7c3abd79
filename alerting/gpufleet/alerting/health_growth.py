"""How a counter grew: its increases of the last minute, and over an episode of growth."""

from __future__ import annotations

from dataclasses import dataclass

from gpufleet.alerting.health_limits import MINUTE_MS


@dataclass(frozen=True, slots=True)
class Growth:
    """A counter seen over time."""

    baseline: float | None = None
    recent: tuple[tuple[int, float], ...] = ()
    """(time, increase) within the last minute, oldest first."""
    last_ms: int | None = None
    """Time of the last increase; ``None``: no episode of growth is open."""
    total: float = 0.0
    """Increase over the whole episode."""

    def last_minute(self) -> float:
        """Increase over the minute before the last sample."""
        return sum(increase for _, increase in self.recent)


NO_GROWTH = Growth()


def grown(
    growth: Growth,
    value: float | None,
    tick_ms: int,
    step_ms: int,
    *,
    kept_ms: int,
    born_counts: bool,
) -> Growth:
    """The growth after one more sample, ``step_ms`` after the one before.

    A value below the baseline is a new baseline. An episode ends ``kept_ms`` after its last
    increase; an increase over more than a minute counts with its share in the last one.
    ``born_counts``: a value above 0 at first sight is an increase, and the baseline outlives
    absent values; otherwise an absent value ends the baseline, since nobody knows how long the
    next increase took.
    """
    baseline = growth.baseline
    increase = 0.0
    if value is None:
        value = baseline if born_counts else None
    elif baseline is not None:
        increase = max(0.0, value - baseline)
    elif born_counts:
        increase = value
    if not increase and growth.last_ms is None:
        return growth if value == baseline else Growth(value)

    recent = tuple(r for r in growth.recent if r[0] > tick_ms - MINUTE_MS)
    last_ms, total = growth.last_ms, growth.total
    if increase:
        share = min(1.0, MINUTE_MS / step_ms) if step_ms > 0 else 1.0
        recent += ((tick_ms, increase * share),)
        last_ms, total = tick_ms, total + increase
    elif last_ms is not None and tick_ms - last_ms >= kept_ms:
        last_ms, total = None, 0.0
    return Growth(value, recent, last_ms, total)


def set_back(growth: Growth, tick_ms: int) -> Growth:
    """The growth after the node's clock was set back to ``tick_ms``."""
    if growth.last_ms is None:
        return growth
    return Growth(growth.baseline, (), min(growth.last_ms, tick_ms), growth.total)
