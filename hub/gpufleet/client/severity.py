"""How bad a value is, for its colour; temperatures by the same limits as the hub's health."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

MARGIN_CELSIUS = 5
FAN_NEEDED_ABOVE_CELSIUS = 60
"""As docs/health.md has them; a test holds them equal to the hub's."""


class Severity(Enum):
    """What a cell's colour says."""

    NONE = "none"
    """Neither good nor bad."""
    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    CAUTION = "caution"
    WARNING = "warning"
    CRITICAL = "critical"


COLOURS: Mapping[Severity, str] = MappingProxyType(
    {
        Severity.NONE: "text",
        Severity.UNKNOWN: "grey",
        Severity.HEALTHY: "green",
        Severity.CAUTION: "yellow",
        Severity.WARNING: "orange",
        Severity.CRITICAL: "red",
    }
)
"""The colour of each, by name; a theme may have another."""
LEVELS = ("healthy", "caution", "warning", "critical")
"""Names of the health levels 0 to 3."""
LETTERS = ("H", "C", "W", "X")
"""The same as letters: health is told without colour as well."""
STALE_LETTER = "S"
UNKNOWN_LETTER = "?"

Row = Mapping[str, Any]


def letter(row: Row) -> str:
    """Health as a letter. A GPU that is not heard from is S, whatever it was last."""
    if row.get("stale"):
        return STALE_LETTER
    level = row.get("health")
    return UNKNOWN_LETTER if level is None else LETTERS[int(level)]


def of_health(row: Row) -> Severity:
    """The health of a GPU or group; one that is not heard from has none, unless it broke before."""
    level = row.get("health")
    if row.get("stale") and (level is None or level < 3) and not row.get("fault"):
        return Severity.UNKNOWN
    return Severity.UNKNOWN if level is None else Severity(LEVELS[int(level)])


def of_temperature(row: Row) -> Severity:
    """Caution within MARGIN_CELSIUS of the slowdown threshold, warning beyond it."""
    margin = row.get("temperature_margin_celsius")
    if row.get("temperature_celsius") is None:
        return Severity.UNKNOWN
    if margin is None or margin > MARGIN_CELSIUS:
        return Severity.NONE
    return Severity.WARNING if margin < 0 else Severity.CAUTION


def of_fan(row: Row) -> Severity:
    """A warning where the fan stands still and the GPU is hot."""
    fan, degrees = row.get("fan_speed_ratio"), row.get("temperature_celsius")
    if fan is None:
        return Severity.UNKNOWN
    still = fan == 0 and degrees is not None and degrees > FAN_NEEDED_ABOVE_CELSIUS
    return Severity.WARNING if still else Severity.NONE


def health_text(row: Row) -> str:
    """Health in words, with its first reason; of a group how many are how."""
    fault, level = row.get("fault"), row.get("health")
    if "levels" in row:
        said = [f"{n} {LEVELS[i]}" for i, n in enumerate(row["levels"]) if n]
        if row["stale_count"]:
            said.append(f"{row['stale_count']} stale")
        if row["unknown"]:
            said.append(f"{row['unknown']} unknown")
        return ", ".join(reversed(said))
    word = "unknown" if level is None else LEVELS[int(level)]
    reasons = row.get("health_reasons") or ()
    if row.get("stale"):
        word = f"stale, was {word}" if level is not None else "stale"
    if fault:
        word = f"{word} ({fault})"
    return f"{word}: {reasons[0]}" if reasons and level else word
