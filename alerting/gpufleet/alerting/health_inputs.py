"""What the health level looks at beside facts: the metrics, and findings that no metric carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INPUTS: tuple[str, ...] = (
    "utilization_ratio",
    "temperature_celsius",
    "memory_temperature_celsius",
    "temperature_margin_celsius",
    "energy_joules_total",
    "fan_speed_ratio",
    "pcie_link_generation",
    "pcie_link_width",
    "pcie_replay_total",
    "nvlink_errors_total",
    "ecc_uncorrected_volatile_total",
    "remapped_rows_uncorrectable",
    "remapped_rows_pending",
    "remapped_rows_failed",
    "retired_pages_single_bit",
    "retired_pages_double_bit",
    "retired_pages_pending",
    "recovery_action",
    "sram_threshold_exceeded",
    "throttle_reasons",
)
"""Every metric that can change the level, by its name in the catalogue."""

Values = Mapping[str, float | int]
"""Metric name → value in its base unit. An absent value is an absent key."""

Facts = Mapping[str, Any]
"""Static facts of a GPU by name, in base units."""


@dataclass(frozen=True, slots=True)
class DcgmFinding:
    """What ``dcgmi health`` said of one subsystem.

    ``power_capping`` is True for the warning that DCGM gives on ordinary power capping.
    """

    subsystem: str
    failed: bool
    sentence: str
    power_capping: bool = False


@dataclass(frozen=True, slots=True)
class Extras:
    """Findings that are no metric. ``None`` or empty: not known.

    ``nvlinks_up`` maps a link's number to whether it is up; the NVLink counters count since the
    driver was loaded, ``nvlink_recovery_total`` replays and recoveries together.
    """

    inforom_valid: bool | None = None
    fan_error: bool | None = None
    nvlinks_up: Mapping[int, bool] | None = None
    nvlink_crc_total: int | None = None
    nvlink_recovery_total: int | None = None
    dcgm: tuple[DcgmFinding, ...] = ()


NO_EXTRAS = Extras()
