"""The rows of the health table on faults, errors, links and findings, with their sentences."""

from __future__ import annotations

from collections.abc import Iterator

from gpufleet.alerting import health_limits as limits
from gpufleet.alerting.health_history import HealthHistory
from gpufleet.alerting.health_inputs import Extras, Facts, Values
from gpufleet.alerting.health_look import downshifted, narrowed

Finding = tuple[int, str]
"""(level, sentence)."""

_FAULTS: dict[str, Finding] = {
    "lost": (3, "The GPU is lost: the driver cannot reach it; reboot the node"),
    "missing": (3, "The GPU is missing: the driver no longer lists it"),
    "reset_required": (3, "The GPU needs a reset before it can be used or read"),
    "no_permission": (1, "The GPU cannot be read: the agent has no permission"),
}

_RECOVERY: dict[int, Finding] = {
    1: (3, "The driver asks for a reset of the GPU (recovery action 1)"),
    2: (3, "The driver asks for a reboot of the node (recovery action 2)"),
    3: (2, "The driver asks to drain peer-to-peer traffic (recovery action 3)"),
    4: (3, "The driver asks to drain the GPU and reset it (recovery action 4)"),
    5: (3, "The driver asks for a recovery of the IMEX domain (recovery action 5)"),
    6: (3, "The driver asks for a reset of the GPU's PCIe bus (recovery action 6)"),
    7: (3, "The driver asks for a reboot of the system (recovery action 7)"),
}


def fault_row(fault: str, history: HealthHistory | None, now_ms: int, interval_ms: int) -> Finding:
    """The row of a GPU that cannot be read."""
    known = _FAULTS.get(fault)
    if known is not None:
        return known
    if fault != "hung":
        return 1, f"The GPU cannot be read ({fault})"
    since_ms = history.fault_since_ms if history is not None and history.fault == fault else None
    if since_ms is not None and now_ms - since_ms >= limits.HUNG_POLLS * interval_ms:
        return 3, f"The collector hangs at this GPU for {limits.HUNG_POLLS} polls or more"
    return 1, "The GPU did not answer in time at the last poll"


def error_rows(values: Values, history: HealthHistory | None) -> Iterator[Finding]:
    """Recovery action, ECC errors, remapped rows and retired pages."""
    action = int(values.get("recovery_action", 0))
    if action > 0:
        yield _RECOVERY.get(action) or (
            3,
            f"The driver asks for a recovery action that is not known here ({action})",
        )
    errors = values.get("ecc_uncorrected_volatile_total", 0)
    if errors > 0:
        if history is not None and history.contained:
            yield 2, f"{errors:.0f} uncorrected ECC errors since the driver was loaded, contained"
        else:
            yield 3, f"{errors:.0f} uncorrected ECC errors since the driver was loaded"
    if values.get("sram_threshold_exceeded", 0) > 0:
        yield 3, "Uncorrected SRAM errors passed the threshold for replacement"
    if values.get("remapped_rows_failed", 0) > 0:
        yield 3, "Remapping of a memory row failed"
    if values.get("remapped_rows_pending", 0) > 0:
        yield 2, "Remapping of a memory row waits for a reset of the GPU"
    rows = values.get("remapped_rows_uncorrectable", 0)
    if rows > 0:
        level = 2 if rows >= limits.UNCORRECTABLE_REMAPS else 1
        yield level, f"{rows:.0f} memory rows were remapped for uncorrectable errors"
    pages = values.get("retired_pages_single_bit", 0) + values.get("retired_pages_double_bit", 0)
    if pages >= limits.RETIRED_PAGES:
        yield 3, f"{pages:.0f} memory pages are retired, {limits.RETIRED_PAGES} or more"
    if values.get("retired_pages_pending", 0) > 0:
        yield 2, "Retirement of a memory page waits for a reboot"


def link_rows(facts: Facts, values: Values, history: HealthHistory | None) -> Iterator[Finding]:
    """PCIe width and generation; NVLink errors where there is no history to say when."""
    if narrowed(facts, values):
        width, most = values["pcie_link_width"], facts["pcie_link_width_max"]
        yield 2, f"The PCIe link has {width:g} lanes of {most:g}"
    if downshifted(facts, values) and (history is None or _held(history)):
        generation, most = values["pcie_link_generation"], facts["pcie_link_generation_max"]
        yield (
            1,
            (
                f"The PCIe link is at generation {generation:g} of {most:g} "
                f"while utilisation is {values['utilization_ratio']:.0%}"
            ),
        )
    if history is None and values.get("nvlink_errors_total", 0) > 0:
        yield 1, f"{values['nvlink_errors_total']:.0f} NVLink errors since the driver was loaded"


def links_down(history: HealthHistory, extras: Extras) -> list[int]:
    """NVLinks that were up and are down."""
    up = extras.nvlinks_up or {}
    return [link for link in sorted(history.links_up) if up.get(link) is False]


def extra_rows(extras: Extras, values: Values, history: HealthHistory | None) -> Iterator[Finding]:
    """Findings that no metric carries."""
    if extras.inforom_valid is False:
        yield 2, "The InfoROM is corrupted or its checksum is invalid"
    temperature = values.get("temperature_celsius", 0)
    if extras.fan_error and temperature > limits.FAN_NEEDED_ABOVE_CELSIUS:
        yield 2, f"A fan reports an error at a GPU temperature of {temperature:g} °C"
    if history is not None:
        down = links_down(history, extras)
        if down:
            yield 3, f"NVLink {', '.join(map(str, down))} was up and is down"
    if history is None:
        if extras.nvlink_recovery_total:
            yield 2, f"{extras.nvlink_recovery_total} NVLink replays and recoveries"
        if extras.nvlink_crc_total:
            yield 1, f"{extras.nvlink_crc_total} NVLink CRC errors since the driver was loaded"
    for finding in extras.dcgm:
        if not finding.power_capping:
            level, verdict = (3, "failure") if finding.failed else (2, "warning")
            yield level, f"DCGM reports a {verdict} of {finding.subsystem}: {finding.sentence}"


def _held(history: HealthHistory) -> bool:
    since_ms, last_ms = history.downshift_since_ms, history.last_tick_ms
    if since_ms is None or last_ms is None:
        return False
    return last_ms - since_ms >= limits.DOWNSHIFT_HELD_MS
