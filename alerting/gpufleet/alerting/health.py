"""Health of one GPU: a level 0-3 with every reason as a sentence (docs/health.md has the table).

``assess`` judges one look; what must be seen over time comes from a ``HealthHistory`` that the
caller keeps and advances with ``observe``. Both are pure. Limits are those of health_limits.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpufleet.alerting.health_heat import heat_rows
from gpufleet.alerting.health_history import (
    HealthHistory,
    SeenXid,
    acknowledge_xids,
    expired,
    note_fault,
    note_reset,
    note_xid,
    observe,
    resumed,
)
from gpufleet.alerting.health_inputs import (
    INPUTS,
    NO_EXTRAS,
    DcgmFinding,
    Extras,
    Facts,
    Values,
)
from gpufleet.alerting.health_limits import HW_POWER_BRAKE
from gpufleet.alerting.health_rows import Finding, error_rows, extra_rows, fault_row, link_rows
from gpufleet.alerting.health_trends import trend_rows

__all__ = [
    "HEALTHY",
    "INPUTS",
    "LEVELS",
    "NO_EXTRAS",
    "UNKNOWN",
    "DcgmFinding",
    "Extras",
    "Facts",
    "Health",
    "HealthHistory",
    "SeenXid",
    "Values",
    "acknowledge_xids",
    "assess",
    "expired",
    "note_fault",
    "note_reset",
    "note_xid",
    "observe",
    "resumed",
]

LEVELS: tuple[str, ...] = ("healthy", "caution", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Health:
    """Level 0-3 with its reasons, the gravest first; level ``None``: nothing was ever read."""

    level: int | None
    reasons: tuple[str, ...] = ()

    @property
    def status(self) -> str | None:
        """The level's name, ``None`` where there is none."""
        return None if self.level is None else LEVELS[self.level]

    def document(self, basis: str) -> dict[str, Any]:
        """The document of REST and snapshots; ``basis`` is ``snapshot`` or ``history``."""
        return {
            "level": self.level,
            "status": self.status,
            "reasons": list(self.reasons),
            "basis": basis,
        }


HEALTHY = Health(0)
UNKNOWN = Health(None)


def assess(
    facts: Facts,
    values: Values,
    fault: str | None,
    history: HealthHistory | None,
    now_ms: int,
    *,
    interval_ms: int = 1000,
    extras: Extras = NO_EXTRAS,
) -> Health:
    """Health of one GPU from its facts and its newest values, both by name in base units.

    ``fault`` is why it cannot be read (lost, hung, no_permission, reset_required, missing, error).
    With ``history``, which has already observed these values, trends and Xids count as well;
    without it only what one look can say. ``now_ms`` is the caller's clock, for the age of Xids
    and of the fault; ``interval_ms`` how often the GPU is asked.
    """
    found: list[Finding] = []
    if fault is not None:
        found.append(fault_row(fault, history, now_ms, interval_ms))
    if values:
        found.extend(error_rows(values, history))
        found.extend(heat_rows(facts, values, history))
        found.extend(link_rows(facts, values, history))
        if int(values.get("throttle_reasons", 0)) & HW_POWER_BRAKE:
            found.append((2, "Hardware power brake is active: the power supply asks for less"))
    if extras is not NO_EXTRAS:
        found.extend(extra_rows(extras, values, history))
    if history is not None:
        found.extend(trend_rows(history, facts, now_ms))
    if found:
        found.sort(key=lambda finding: -finding[0])
        return Health(found[0][0], tuple(sentence for _, sentence in found))
    if values or (history is not None and history.ever_read):
        return HEALTHY
    return UNKNOWN
