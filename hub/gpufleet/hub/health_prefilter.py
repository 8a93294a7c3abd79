"""Which GPUs' newest samples are off nominal in any way, found for the whole fleet at once.

Whatever gpufleet.alerting.health could answer with a level above 0, or would have to remember,
must be found here; finding more than that only costs time. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting import health_limits as limits
from gpufleet.proto.catalog import BY_NAME

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ZERO_WHEN_SOUND = (
    "ecc_uncorrected_volatile_total",
    "recovery_action",
    "remapped_rows_failed",
    "remapped_rows_pending",
    "remapped_rows_uncorrectable",
    "retired_pages_pending",
    "sram_threshold_exceeded",
)
_SLOWED = limits.HW_SLOWDOWN | limits.THERMAL | limits.HW_POWER_BRAKE

_HOT, _MEMORY, _MARGIN, _GENERATION, _WIDTH = range(5)
_REPLAYS, _NVLINK, _ENERGY = range(3)


class Prefilter:
    """Thresholds and last counters by slot. NaN compares false: what is not known never counts."""

    def __init__(self) -> None:
        self._limits = np.empty((5, 0))
        self._past = np.empty((3, 0))

    def grow(self, slots: int) -> None:
        """Make room for ``slots`` slots."""
        more = slots - self._past.shape[1]
        if more > 0:
            self._limits = np.hstack([self._limits, np.full((5, more), np.nan)])
            self._past = np.hstack([self._past, np.full((3, more), np.nan)])

    def set_facts(self, slot: int, facts: Mapping[str, Any]) -> None:
        """Take the thresholds of one slot from its GPU's facts."""
        hot = [
            _lowered(facts, "slowdown_temperature_celsius", limits.MARGIN_CELSIUS),
            _lowered(facts, "shutdown_temperature_celsius", limits.SHUTDOWN_RESERVE_CELSIUS),
            _lowered(facts, "max_operating_temperature_celsius", 0),
        ]
        margins = [
            limits.MARGIN_CELSIUS,
            limits.margin_limit(facts, "max_operating_tlimit_celsius"),
            limits.margin_limit(facts, "slowdown_tlimit_celsius"),
            limits.margin_limit(facts, "shutdown_tlimit_celsius"),
        ]
        self._limits[:, slot] = (
            min(hot),
            _lowered(facts, "memory_max_temperature_celsius", 0),
            max(m for m in margins if m is not None) + limits.SHUTDOWN_RESERVE_CELSIUS,
            limits.limit(facts, "pcie_link_generation_max") or np.nan,
            limits.limit(facts, "pcie_link_width_max") or np.nan,
        )

    def forget(self, slot: int) -> None:
        """Begin the counters of one slot anew."""
        self._past[:, slot] = np.nan

    def counters(self, slot: int) -> dict[str, float | None]:
        """The last counters of a slot, as ``resumed`` wants them."""
        replays, nvlink, energy = (None if v != v else v for v in self._past[:, slot].tolist())
        return {"pcie_replays": replays, "nvlink_errors": nvlink, "energy_joules": energy}

    def off_nominal(self, values: Floats, rows: Mapping[int, int]) -> Flags:
        """True for each slot whose column in ``values`` needs a closer look."""
        slots = values.shape[1]
        found = np.zeros(slots, np.bool_)
        limit, past = self._limits[:, :slots], self._past[:, :slots]

        def row(name: str) -> Floats | None:
            index = rows.get(BY_NAME[name].id)
            return None if index is None else values[index]

        for name in _ZERO_WHEN_SOUND:
            if (value := row(name)) is not None:
                found |= value > 0
        for name in ("retired_pages_single_bit", "retired_pages_double_bit"):
            if (value := row(name)) is not None:
                found |= value >= limits.RETIRED_PAGES / 2
        if (temperature := row("temperature_celsius")) is not None:
            found |= temperature >= limit[_HOT]
            if (fan := row("fan_speed_ratio")) is not None:
                found |= (fan == 0) & (temperature > limits.FAN_NEEDED_ABOVE_CELSIUS)
        if (memory := row("memory_temperature_celsius")) is not None:
            found |= memory > limit[_MEMORY]
        if (margin := row("temperature_margin_celsius")) is not None:
            found |= margin <= limit[_MARGIN]
        if (width := row("pcie_link_width")) is not None:
            found |= width < limit[_WIDTH]
        generation, utilization = row("pcie_link_generation"), row("utilization_ratio")
        if generation is not None and utilization is not None:
            slow = generation < limit[_GENERATION]
            found |= slow & (utilization > limits.BUSY_RATIO)
        if (reasons := row("throttle_reasons")) is not None:
            with np.errstate(invalid="ignore"):
                bits = reasons.astype(np.int64)
            found |= ((bits & _SLOWED) != 0) & (reasons == reasons)
        if (replays := row("pcie_replay_total")) is not None:
            found |= replays > past[_REPLAYS]
        if (nvlink := row("nvlink_errors_total")) is not None:
            found |= nvlink > np.nan_to_num(past[_NVLINK])
        return found

    def restarted(self, values: Floats, rows: Mapping[int, int]) -> Flags:
        """True for each slot whose energy counter started over: its GPU or driver was reset."""
        index = rows.get(BY_NAME["energy_joules_total"].id)
        slots = values.shape[1]
        if index is None:
            return np.zeros(slots, np.bool_)
        restarted: Flags = values[index] < self._past[_ENERGY, :slots]
        return restarted

    def remember(self, values: Floats, rows: Mapping[int, int], fresh: Flags) -> None:
        """Keep the counters of the ``fresh`` slots for the next look."""
        for kept, name, outlives_absence in (
            (_REPLAYS, "pcie_replay_total", False),
            (_NVLINK, "nvlink_errors_total", True),
            (_ENERGY, "energy_joules_total", True),
        ):
            past = self._past[kept, : values.shape[1]]
            index = rows.get(BY_NAME[name].id)
            if index is None:
                if not outlives_absence:
                    past[fresh] = np.nan
                continue
            value = values[index]
            np.copyto(past, value, where=fresh & (value == value) if outlives_absence else fresh)


def _lowered(facts: Mapping[str, Any], name: str, by: float) -> float:
    threshold = limits.limit(facts, name)
    return np.inf if threshold is None else threshold - by
