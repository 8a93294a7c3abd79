"""Readings of a GPU in nvidia-smi's log, as the catalogue's scaled integers, and its detail."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpufleet.agent.smi.answers import Leaves, count, failure, number, total, word, yes
from gpufleet.agent.smi.facts import VGPU_GUEST
from gpufleet.proto.catalog import BY_NAME, THROTTLE_REASONS


def _metric(name: str) -> int:
    return BY_NAME[name].id


UTILIZATION = _metric("utilization_ratio")
MEMORY_USED = _metric("memory_used_bytes")
MEMORY_TOTAL = _metric("memory_total_bytes")
TEMPERATURE = _metric("temperature_celsius")
MEMORY_TEMPERATURE = _metric("memory_temperature_celsius")
POWER = _metric("power_watts")
POWER_AVERAGE = _metric("power_average_watts")
FAN = _metric("fan_speed_ratio")
PERFORMANCE_STATE = _metric("performance_state")
RECOVERY_ACTION = _metric("recovery_action")
THROTTLE = _metric("throttle_reasons")
CLOCKS = {
    _metric("clock_graphics_hertz"): "clocks/graphics_clock",
    _metric("clock_sm_hertz"): "clocks/sm_clock",
    _metric("clock_memory_hertz"): "clocks/mem_clock",
    _metric("clock_video_hertz"): "clocks/video_clock",
}

CORE = frozenset({UTILIZATION, MEMORY_USED, TEMPERATURE, POWER, PERFORMANCE_STATE, *CLOCKS})
"""Of these every GPU that can be read at all answers one."""

_PERCENTS = {
    UTILIZATION: "utilization/gpu_util",
    _metric("memory_controller_utilization_ratio"): "utilization/memory_util",
    _metric("encoder_utilization_ratio"): "utilization/encoder_util",
    _metric("decoder_utilization_ratio"): "utilization/decoder_util",
}
_MEMORY = {
    MEMORY_USED: "used",
    _metric("memory_free_bytes"): "free",
    _metric("memory_reserved_bytes"): "reserved",
}
_TEMPERATURES = {TEMPERATURE: "gpu_temp", MEMORY_TEMPERATURE: "memory_temp"}
_WATTS = {
    # The GPU's own power only: a module's is that of two GPUs and their CPU.
    POWER: (
        "gpu_power_readings/instant_power_draw",
        "gpu_power_readings/power_draw",
        "gpu_power_readings/average_power_draw",
        "power_readings/power_draw",
    ),
    POWER_AVERAGE: ("gpu_power_readings/average_power_draw",),
    _metric("power_limit_watts"): (
        "gpu_power_readings/current_power_limit",
        "power_readings/enforced_power_limit",
    ),
}
_ECC = {
    _metric(f"ecc_{kind}_{since}_total"): tuple(f"ecc_errors/{since}/{leaf}" for leaf in leaves)
    for since in ("volatile", "aggregate")
    for kind, leaves in (
        ("corrected", ("sram_correctable", "dram_correctable")),
        (
            "uncorrected",
            (
                "sram_uncorrectable",
                "sram_uncorrectable_parity",
                "sram_uncorrectable_secded",
                "dram_uncorrectable",
            ),
        ),
    )
}
_ECC_OLD = {
    _metric(f"ecc_{kind}_{since}_total"): f"ecc_errors/{since}/{bits}/total"
    for since in ("volatile", "aggregate")
    for kind, bits in (("corrected", "single_bit"), ("uncorrected", "double_bit"))
}
_COUNTS = {
    _metric("pcie_link_generation"): "pci/pci_gpu_link_info/pcie_gen/current_link_gen",
    _metric("pcie_replay_total"): "pci/replay_counter",
    _metric("remapped_rows_correctable"): "remapped_rows/remapped_row_corr",
    _metric("remapped_rows_uncorrectable"): "remapped_rows/remapped_row_unc",
    _metric("retired_pages_single_bit"): (
        "retired_pages/multiple_single_bit_retirement/retired_count"
    ),
    _metric("retired_pages_double_bit"): "retired_pages/double_bit_retirement/retired_count",
}
_LINK_GENERATION = _metric("pcie_link_generation")
_LINK_WIDTH = _metric("pcie_link_width")
_FLAGS = {
    _metric("remapped_rows_pending"): ("remapped_rows/remapped_row_pending",),
    _metric("remapped_rows_failed"): ("remapped_rows/remapped_row_failure",),
    _metric("retired_pages_pending"): (
        "retired_pages/pending_retirement",
        "retired_pages/pending_blacklist",
    ),
    _metric("sram_threshold_exceeded"): ("ecc_errors/aggregate/sram_threshold_exceeded",),
}
_MARGIN = _metric("temperature_margin_celsius")
_THROTTLE_THERMAL = _metric("throttle_thermal_seconds_total")
_THROTTLE_POWER = _metric("throttle_power_seconds_total")
_THROTTLE_COUNTERS = "clocks_event_reasons_counters/clocks_event_reasons_counters_"
_PARTS_OF_THROTTLING = (
    "sw_power_cap",
    "hw_power_brake",
    "sw_therm_slowdown",
    "hw_therm_slowdown",
    "sync_boost",
)
RECOVERY = {
    "none": 0,
    "reset": 1,
    "gpu reset": 1,
    "reboot": 2,
    "node reboot": 2,
    "drain p2p": 3,
    "drain and reset": 4,
    "imex recovery": 5,
    "imex restart": 5,
    "bus reset": 6,
    "system reboot": 7,
}
_REASON = re.compile(r"clocks_(?:event|throttle)_reasons/clocks_(?:event|throttle)_reason_(\w+)")
REASON_BITS = {name: bit for bit, name in THROTTLE_REASONS.items()} | {
    "applications_clocks_setting": 0x2,
    "display_clocks_setting": 0x100,
    "hw_power_brake_slowdown": 0x80,
}
_BRANDS_WITH_FANS = ("GeForce", "Titan", "NVIDIA Titan", "Quadro", "NVIDIA RTX", "NVS")

_HOTTEST = 200
_FASTEST_MHZ = 100_000
_FASTEST_FAN = 200  # nvml.h: may exceed 100 % of what is meant as the loudest
_MEBIBYTE = 1 << 20


def gpu_values(leaves: Leaves) -> dict[int, int]:
    """Catalogue id → scaled integer of everything that is a reading."""
    values: dict[int, int] = {}
    for metric, path in _PERCENTS.items():
        percent = number(leaves, "%", path)
        if percent is not None and 0 <= percent <= 100:
            values[metric] = round(percent * 10)
    values.update(memory_values(leaves))
    _heat(leaves, values)
    for metric, path in CLOCKS.items():
        megahertz = number(leaves, "MHz", path)
        if megahertz is not None and 0 <= megahertz < _FASTEST_MHZ:
            values[metric] = round(megahertz)
    state = re.fullmatch(r"P(\d{1,2})", word(leaves, "performance_state") or "")
    if state is not None and int(state[1]) <= 15:
        values[PERFORMANCE_STATE] = int(state[1])
    for metric, path in _COUNTS.items():
        counted = count(leaves, path)
        if counted is not None and (counted or metric != _LINK_GENERATION):
            values[metric] = counted
    if (width := number(leaves, "x", "pci/pci_gpu_link_info/link_widths/current_link_width")) and (
        0 < width <= 32
    ):
        values[_LINK_WIDTH] = round(width)
    for metric, paths in _ECC.items():
        there = [path for path in paths if path in leaves]
        errors = total(leaves, *there) if there else count(leaves, _ECC_OLD[metric])
        if errors is not None:
            values[metric] = errors
    for metric, paths in _FLAGS.items():
        flag = yes(leaves, *paths)
        if flag is not None:
            values[metric] = int(flag)
    if (action := _recovery_action(leaves)) is not None:
        values[RECOVERY_ACTION] = action
    if (held := _throttle_reasons(leaves)) is not None:
        values[THROTTLE] = held
    spent = throttle_microseconds(leaves)
    if "sw_power_cap" in spent:
        values[_THROTTLE_POWER] = spent["sw_power_cap"] // 1000
    # Both may hold at once: their sum could grow by more than the time that passed.
    if thermal := [spent[part] for part in spent if "therm" in part]:
        values[_THROTTLE_THERMAL] = max(thermal) // 1000
    _leave_out_zeros(leaves, values)
    return values


def memory_values(leaves: Leaves) -> dict[int, int]:
    """``fb_memory_usage`` of a GPU or MIG device; a board without memory of its own has none."""
    size = number(leaves, "MiB", "fb_memory_usage/total")
    if not size or size < 0:
        return {}
    values = {MEMORY_TOTAL: round(size) * _MEBIBYTE}
    for metric, name in _MEMORY.items():
        part = number(leaves, "MiB", f"fb_memory_usage/{name}")
        if part is not None and 0 <= part <= size:
            values[metric] = round(part) * _MEBIBYTE
    return values


def _heat(leaves: Leaves, values: dict[int, int]) -> None:
    """Temperatures, power and fan."""
    for metric, name in _TEMPERATURES.items():
        degrees = number(leaves, "C", f"temperature/{name}")
        if degrees is not None and 0 <= degrees <= _HOTTEST:
            values[metric] = round(degrees)
    margin = number(leaves, "C", "temperature/gpu_temp_tlimit")
    if margin is not None and abs(margin) <= _HOTTEST:
        values[_MARGIN] = round(margin)
    for metric, paths in _WATTS.items():
        watts = number(leaves, "W", *paths)
        if watts is not None and 0 <= watts < 100_000:
            values[metric] = round(watts * 1000)
    if values.get(_metric("power_limit_watts")) == 0:
        del values[_metric("power_limit_watts")]
    fan = number(leaves, "%", "fan_speed")
    if fan is not None and 0 <= fan <= _FASTEST_FAN and (fan > 0 or _has_fan(leaves)):
        values[FAN] = round(fan * 10)


def _has_fan(leaves: Leaves) -> bool:
    """Whether 0 % can be a fan that stands still.

    Passive boards, cooled by their server, say 0 % as well. What tells them apart is the line of
    products: those for workstations have fans, those for servers (brands Tesla and NVIDIA) none.
    """
    brand = word(leaves, "product_brand")
    return brand is not None and brand.startswith(_BRANDS_WITH_FANS)


def _recovery_action(leaves: Leaves) -> int | None:
    said = word(leaves, "gpu_recovery_action")
    if said is not None:
        return RECOVERY.get(said.lower())
    if yes(leaves, "gpu_reset_status/drain_and_reset_recommended"):
        return 4
    needed = yes(leaves, "gpu_reset_status/reset_required")  # drivers before 565
    return None if needed is None else int(needed)


def _throttle_reasons(leaves: Leaves) -> int | None:
    """Bits of the reasons that are active; None where one of them could not be read."""
    bits, answered = 0, False
    for reason, text in reasons(leaves):
        if failure(text):
            return None
        bit = REASON_BITS.get(reason, 0)
        if text == "Active":
            bits |= bit
        answered = answered or (bit > 0 and text in ("Active", "Not Active"))
    return bits if answered else None


def reasons(leaves: Leaves) -> Iterator[tuple[str, str]]:
    for path, text in leaves.items():
        if path.startswith("clocks_") and (match := _REASON.fullmatch(path)) is not None:
            yield match[1], text


def throttle_microseconds(leaves: Leaves) -> dict[str, int]:
    found = {}
    for part in _PARTS_OF_THROTTLING:
        held = number(leaves, "us", _THROTTLE_COUNTERS + part)
        if isinstance(held, int) and held >= 0:
            found[part] = held
    return found


def _leave_out_zeros(leaves: Leaves, values: dict[int, int]) -> None:
    """Zeros of a vGPU guest are no readings, nor are zero degrees at zero hertz anywhere."""
    guest = (word(leaves, "gpu_virtualization_mode/virtualization_mode") or "").lower()
    dead = values.get(TEMPERATURE) == 0 and not any(values.get(clock) for clock in CLOCKS)
    if guest != VGPU_GUEST and not dead:
        return
    for metric in (TEMPERATURE, MEMORY_TEMPERATURE, POWER, POWER_AVERAGE, FAN, _MARGIN, *CLOCKS):
        if values.get(metric) == 0:
            del values[metric]
