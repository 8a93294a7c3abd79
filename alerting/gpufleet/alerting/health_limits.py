"""The numbers behind the health level, and how a limit is read from a GPU's facts."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

SHUTDOWN_RESERVE_CELSIUS = 2
SLOWDOWN_HELD_MS = MINUTE_MS
HYSTERESIS_CELSIUS = 5
MARGIN_CELSIUS = 5
MARGIN_CLEARS_CELSIUS = 8
FAN_NEEDED_ABOVE_CELSIUS = 60

THERMAL_WINDOW_MS = 5 * MINUTE_MS
THERMAL_SHARE = 0.1
SLOWDOWN_WINDOW_MS = 10 * MINUTE_MS
SLOWDOWNS_A_MINUTE = 0.6

HW_SLOWDOWN = 0x8
SW_THERMAL = 0x20
HW_THERMAL = 0x40
HW_POWER_BRAKE = 0x80
THERMAL = SW_THERMAL | HW_THERMAL
"""Bits of throttle_reasons (nvmlClocksEventReason* of nvml.h). All others never count."""

RETIRED_PAGES = 63
UNCORRECTABLE_REMAPS = 512

BUSY_RATIO = 0.5
DOWNSHIFT_HELD_MS = MINUTE_MS
"""The generation is read every 30 s: when work has just begun it is still that of an idle GPU."""
NVLINK_CRC_A_SECOND = 100
NVLINK_KEPT_MS = HOUR_MS

HUNG_POLLS = 3
MAX_GAP_MS = 45_000

_GIGATRANSFERS = (2.5, 5, 8, 16, 32, 64)


def limit(facts: Mapping[str, Any], name: str) -> float | None:
    """A fact that limits a reading: a number above 0 (a vGPU guest's zeros are no limits)."""
    value = facts.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return value
    return None


def margin_limit(facts: Mapping[str, Any], name: str) -> float | None:
    """A fact that limits ``temperature_margin_celsius`` (-5, -2, 0 are usual)."""
    value = facts.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return None


def replays_a_minute(facts: Mapping[str, Any]) -> int:
    """PCIe replays a minute that a sound link may have: one bit error in 10^12.

    16 for generation 4 x16, 31 for generation 5 x16. What of the link is not known counts as the
    fastest there is, so that not knowing never raises an alarm.
    """
    generation = limit(facts, "pcie_link_generation_max") or len(_GIGATRANSFERS)
    width = limit(facts, "pcie_link_width_max") or 16
    rate = _GIGATRANSFERS[min(max(int(generation), 1), len(_GIGATRANSFERS)) - 1]
    return ceil(rate * width * 60 / 1000)
