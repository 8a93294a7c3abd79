"""What nvidia-smi prints of a board of the fake driver, so that both methods can be compared.

From the same state as the fake libnvidia-ml: what is not there is N/A, as in the real program.
"""

from __future__ import annotations

from .fake_gpus import MIB, Gpu
from .fake_smi import gpu as xml_of

_ARCHITECTURES = {4: "Pascal", 7: "Ampere", 8: "Ada Lovelace", 9: "Hopper", 10: "Blackwell"}
_VIRTUALIZATION = ("None", "Pass-Through", "VGPU")
_ACTIONS = ("None", "Reset", "Reboot", "Drain P2P", "Drain and Reset")
_REASONS = {
    "gpu_idle": 0x1,
    "applications_clocks_setting": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
    "display_clocks_setting": 0x100,
}
_COUNTER = "clocks_event_reasons_counters/clocks_event_reasons_counters_"
_POWER = "gpu_power_readings"
_LINK = "pci/pci_gpu_link_info"


def log_entry(index: int, state: Gpu) -> str:
    """The ``<gpu>`` element of a board."""

    def said(key: str, form: str = "{}", scale: float = 1) -> str:
        value = state.get(key)
        return "N/A" if value is None else form.format(float(value) / scale)

    def whole(key: str, form: str = "{}") -> str:
        value = state.get(key)
        return "N/A" if value is None else form.format(value)

    def flag(key: str, words: tuple[str, ...]) -> str:
        value = state.get(key)
        return "N/A" if value is None else words[int(value)]

    on_off, no_yes = ("Disabled", "Enabled"), ("No", "Yes")
    leaves: dict[str, str | None] = {
        "uuid": whole("uuid"),
        "product_name": whole("name"),
        "product_brand": "GeForce" if "GeForce" in str(state["name"]) else "NVIDIA",
        "product_architecture": _ARCHITECTURES[int(state.get("architecture", 9))],
        "serial": whole("serial"),
        "board_part_number": whole("board_part_number"),
        "vbios_version": whole("vbios"),
        "minor_number": whole("minor"),
        "persistence_mode": flag("persistence_mode", on_off),
        "gpu_virtualization_mode/virtualization_mode": flag("virtualization_mode", _VIRTUALIZATION),
        "mig_mode/current_mig": flag("mig.mode", on_off),
        "mig_mode/pending_mig": flag("mig.mode", on_off),
        "ecc_mode/current_ecc": flag("ecc.mode", on_off),
        "ecc_mode/pending_ecc": flag("ecc.mode", on_off),
        "gpu_recovery_action": flag("recovery_action", _ACTIONS),
        "fan_speed": whole("fan.0", "{} %"),
        "performance_state": "Unknown" if state["pstate"] == 32 else whole("pstate", "P{}"),
        "temperature/gpu_temp": whole("temp", "{} C"),
        "temperature/memory_temp": whole("memory_temp", "{} C"),
        "temperature/gpu_temp_tlimit": whole("margin", "{} C"),
        f"{_POWER}/instant_power_draw": said("power", "{:.2f} W", 1000),
        f"{_POWER}/average_power_draw": said("power_average", "{:.2f} W", 1000),
        f"{_POWER}/current_power_limit": said("power_limit.enforced", "{:.2f} W", 1000),
        "pci/replay_counter": whole("pcie.replay"),
        f"{_LINK}/pcie_gen/current_link_gen": whole("pcie.generation"),
        f"{_LINK}/pcie_gen/max_link_gen": whole("pcie.generation_max"),
        f"{_LINK}/pcie_gen/max_device_link_gen": whole("pcie.generation_gpu_max"),
        f"{_LINK}/link_widths/current_link_width": whole("pcie.width", "{}x"),
        f"{_LINK}/link_widths/max_link_width": whole("pcie.width_max", "{}x"),
        f"{_COUNTER}sw_power_cap": said("violation.power", "{:.0f} us", 1000),
        f"{_COUNTER}sw_therm_slowdown": said("violation.thermal", "{:.0f} us", 1000),
        "ecc_errors/aggregate/sram_threshold_exceeded": flag("ecc.sram_threshold", no_yes),
        "remapped_rows/remapped_row_corr": whole("remapped.correctable"),
        "remapped_rows/remapped_row_unc": whole("remapped.uncorrectable"),
        "remapped_rows/remapped_row_pending": flag("remapped.pending", no_yes),
        "remapped_rows/remapped_row_failure": flag("remapped.failure", no_yes),
        "retired_pages/multiple_single_bit_retirement/retired_count": whole("retired.single_bit"),
        "retired_pages/double_bit_retirement/retired_count": whole("retired.double_bit"),
        "retired_pages/pending_retirement": flag("retired.pending", no_yes),
    }
    for part in ("total", "reserved", "used", "free"):
        leaves[f"fb_memory_usage/{part}"] = said(f"memory.{part}", "{:.0f} MiB", MIB)
    for ours, theirs in (("gpu", "gpu"), ("memory", "memory"), ("encoder", "encoder")):
        leaves[f"utilization/{theirs}_util"] = whole(f"util.{ours}", "{} %")
    leaves["utilization/decoder_util"] = whole("util.decoder", "{} %")
    for ours, theirs in (("graphics", "graphics"), ("sm", "sm"), ("memory", "mem")):
        leaves[f"clocks/{theirs}_clock"] = whole(f"clock.{ours}", "{} MHz")
        leaves[f"max_clocks/{theirs}_clock"] = whole(f"clock_max.{ours}", "{} MHz")
    leaves["clocks/video_clock"] = whole("clock.video", "{} MHz")
    leaves["max_clocks/video_clock"] = whole("clock_max.video", "{} MHz")
    for which in ("default", "min", "max"):
        key = f"power_limit.{which}"
        leaves[f"{_POWER}/{which}_power_limit"] = said(key, "{:.2f} W", 1000)
    for ours, tlimit, theirs in (
        ("shutdown", "shutdown", "max"),
        ("slowdown", "slowdown", "slow"),
        ("gpu_max", "gpu_max", "max_gpu"),
        ("memory_max", "memory_max", "max_mem"),
    ):
        absolute, margin = whole(f"threshold.{ours}", "{} C"), whole(f"tlimit.{tlimit}", "{} C")
        leaves[f"temperature/gpu_temp_{theirs}_threshold"] = absolute
        leaves[f"temperature/gpu_temp_{theirs}_tlimit_threshold"] = margin
    for since in ("volatile", "aggregate"):
        for kind in ("corrected", "uncorrected"):
            count = whole(f"ecc.{kind}_{since}")
            name = kind.replace("corrected", "correctable")
            leaves[f"ecc_errors/{since}/dram_{name}"] = count
        for leaf in ("correctable", "uncorrectable_parity", "uncorrectable_secded"):
            leaves[f"ecc_errors/{since}/sram_{leaf}"] = (
                "N/A" if f"ecc.corrected_{since}" not in state else "0"
            )
    held = None if "throttle" not in state else int(str(state["throttle"]), 0)
    for name, bit in _REASONS.items():
        leaves[f"clocks_event_reasons/clocks_event_reason_{name}"] = (
            "N/A" if held is None else "Active" if held & bit else "Not Active"
        )
    return xml_of(index, leaves, bus_id=str(state["pci"]))
