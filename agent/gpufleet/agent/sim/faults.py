"""The faults that the simulator can show, by name (docs/sim.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpufleet.agent.model import FaultState
from gpufleet.agent.sim.effect import NO_EFFECT, Detail, Effect, dcgm, effect, links
from gpufleet.agent.sim.wave import NORMAL, Condition
from gpufleet.alerting.health import DcgmFinding


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault, by any of the ways in which it shows.

    ``work`` is set where the GPU does certain work from the start; ``active`` is then the
    condition that comes and goes in each period. Everything else is there after ``period_s``.
    """

    sentence: str
    period_s: int
    work: str = ""
    active: Condition = NORMAL
    settles: tuple[str, int] | None = None
    """Threshold of the board, and degrees above it, that the core settles at while active."""
    rests: bool = False
    """The program does nothing while active."""
    needs: str = ""
    """What of ``Board`` must be there."""
    fault: FaultState | None = None
    code: int = 0
    effect: Effect = NO_EFFECT
    meanwhile: Effect = NO_EFFECT
    """Is there from the start."""
    detail: Detail | None = None
    freezes: bool = False
    """Every value stays as it was."""
    xid: int = 0
    """The Xid that comes when the period is over; 0: none."""
    again: bool = False
    """The Xid comes after each period."""


_HEAT_BITS, _SW_THERMAL_BIT, _SLOWDOWN_BIT, _BRAKE_BITS = 0x68, 0x20, 0x8, 0x88
_CRC_STEP_MS = 5
_REPLAY_STEP_MS = 2_000

_UNCORRECTED = effect(
    added={"ecc_uncorrected_volatile_total": 1, "ecc_uncorrected_aggregate_total": 1}
)


def _link_errors(step_ms: int) -> Effect:
    return effect(added={"nvlink_errors_total": 1}, growing={"nvlink_errors_total": step_ms})


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "demo": Scenario(
            "a calm node in which one GPU overheats again and again",
            90,
            "steady",
            Condition(cooling=0.4),
        ),
        "idle": Scenario("nobody uses any GPU", 60, "idle"),
        "overheat": Scenario(
            "cooling fails and comes back: above 80 °C in nearly half of each period",
            90,
            "steady",
            Condition(cooling=0.4),
        ),
        "throttle": Scenario(
            "hardware thermal slowdown comes and goes",
            120,
            "steady",
            Condition(cooling=0.25, throttle=_HEAT_BITS, speed=0.5),
        ),
        "sw_thermal": Scenario(
            "the driver slows the GPU for heat that no sensor here shows",
            120,
            "steady",
            Condition(throttle=_SW_THERMAL_BIT, speed=0.7),
        ),
        "hw_slowdown": Scenario(
            "hardware slowdowns, one after the other, without a reason",
            60,
            "steady",
            Condition(throttle=_SLOWDOWN_BIT, speed=0.5),
        ),
        "power_brake": Scenario(
            "the power supply asks for less: hardware power brake",
            120,
            "steady",
            Condition(throttle=_BRAKE_BITS, speed=0.5),
        ),
        "near_slowdown": Scenario(
            "5 °C are left to the slowdown temperature", 300, "steady", settles=("slowdown", -5)
        ),
        "too_hot": Scenario(
            "1 °C above the maximum operating temperature",
            300,
            "steady",
            settles=("operating_limit", 1),
        ),
        "at_slowdown": Scenario(
            "at the slowdown temperature", 600, "steady", settles=("slowdown", 0)
        ),
        "near_shutdown": Scenario(
            "1 °C below the shutdown temperature", 300, "steady", settles=("shutdown", -1)
        ),
        "hbm_hot": Scenario(
            "the memory is above its maximum temperature, the core is not",
            300,
            "steady",
            Condition(memory_excess=2.0),
            needs="memory_limit",
        ),
        "pcie_slow": Scenario(
            "the PCIe link stays at generation 1 under load",
            300,
            "steady",
            Condition(pcie_generation=1),
        ),
        "overpower": Scenario(
            "the board draws more than 105 % of its limit",
            300,
            "steady",
            Condition(power=1.35, limit_holds=False),
        ),
        "busyidle": Scenario(
            "a job stops to work, keeps its memory, and goes on", 1200, "steady", rests=True
        ),
        "powercap": Scenario(
            "the power limit is lowered to 60 % and put back",
            120,
            "steady",
            Condition(power_limit=0.6),
        ),
        "powerstep": Scenario(
            "power falls to half at unchanged utilisation, and comes back",
            1200,
            "steady",
            Condition(power=0.5),
        ),
        "fanfail": Scenario(
            "the fans stop and start again (boards without fans only get hot)",
            300,
            "steady",
            Condition(cooling=0.4, fan_turns=False),
        ),
        "memheld": Scenario("memory is held at 0 % utilisation", 60, "held"),
        "memfull": Scenario("more than 90 % of the memory is in use", 60, "full"),
        "stuck_kernel": Scenario("a kernel spins: 100 % utilisation at little power", 60, "stuck"),
        "zeropower": Scenario(
            "power reads 0 W while the GPU works",
            60,
            "steady",
            effect=effect({"power_watts": 0, "power_average_watts": 0}),
        ),
        "nopower": Scenario(
            "power cannot be read while the GPU works",
            60,
            "steady",
            effect=effect(absent=("power_watts", "power_average_watts")),
        ),
        "frozen": Scenario("the driver gives the same values for ever", 60, "steady", freezes=True),
        "ecc": Scenario(
            "corrected ECC errors trickle; after the period one is uncorrectable",
            60,
            needs="ecc",
            effect=_UNCORRECTED,
            meanwhile=effect(
                growing={
                    "ecc_corrected_volatile_total": 7_000,
                    "ecc_corrected_aggregate_total": 7_000,
                }
            ),
        ),
        "xid94": Scenario(
            "an uncorrectable ECC error is contained (Xid 94): one program ends",
            60,
            needs="remaps_rows",
            effect=_UNCORRECTED,
            xid=94,
        ),
        "remap": Scenario(
            "a memory row waits for a reset to be remapped",
            30,
            needs="remaps_rows",
            effect=effect({"remapped_rows_pending": 1}, {"remapped_rows_uncorrectable": 1}),
        ),
        "remapped": Scenario(
            "a memory row was remapped for an uncorrectable error",
            30,
            needs="remaps_rows",
            effect=effect(added={"remapped_rows_uncorrectable": 1}),
        ),
        "remap_many": Scenario(
            "512 memory rows are remapped for uncorrectable errors",
            30,
            needs="remaps_rows",
            effect=effect(added={"remapped_rows_uncorrectable": 512}),
        ),
        "remap_failed": Scenario(
            "remapping of a memory row failed (Xid 64)",
            30,
            needs="remaps_rows",
            effect=effect({"remapped_rows_failed": 1}),
            xid=64,
        ),
        "sram": Scenario(
            "errors of the on-chip memory passed the threshold for replacement",
            30,
            needs="remaps_rows",
            effect=effect({"sram_threshold_exceeded": 1}),
        ),
        "retire": Scenario(
            "a memory page waits for a reboot to be retired",
            30,
            needs="retires_pages",
            effect=effect({"retired_pages_pending": 1}, {"retired_pages_double_bit": 1}),
        ),
        "retired": Scenario(
            "63 or more memory pages are retired",
            30,
            needs="retires_pages",
            effect=effect(added={"retired_pages_single_bit": 40, "retired_pages_double_bit": 23}),
        ),
        "xid48": Scenario(
            "an uncorrectable ECC error (Xid 48): reset needed",
            60,
            needs="ecc",
            effect=effect(
                {"remapped_rows_pending": 1, "retired_pages_pending": 1, "recovery_action": 1},
                {
                    "ecc_uncorrected_volatile_total": 1,
                    "ecc_uncorrected_aggregate_total": 1,
                    "remapped_rows_uncorrectable": 1,
                    "retired_pages_double_bit": 1,
                },
            ),
            xid=48,
        ),
        "nvlink": Scenario(
            "NVLink errors grow, nobody says of which kind",
            30,
            needs="nvlinks",
            effect=_link_errors(_REPLAY_STEP_MS),
        ),
        "nvlink_replay": Scenario(
            "NVLink 0 replays",
            30,
            needs="nvlinks",
            effect=_link_errors(_REPLAY_STEP_MS),
            detail=links(counter="replay_errors", step_ms=_REPLAY_STEP_MS),
        ),
        "nvlink_crc": Scenario(
            "NVLink 0 has 200 CRC errors a second",
            30,
            needs="nvlinks",
            effect=_link_errors(_CRC_STEP_MS),
            detail=links(counter="crc_errors", step_ms=_CRC_STEP_MS),
        ),
        "nvlink_down": Scenario("NVLink 3 goes down", 30, needs="nvlinks", detail=links(down=3)),
        "pcie": Scenario(
            "the PCIe link falls to 8 lanes and replays",
            30,
            effect=effect(
                {"pcie_link_width": 8}, {"pcie_replay_total": 1}, {"pcie_replay_total": 1_500}
            ),
        ),
        "dcgm_warning": Scenario(
            "DCGM warns of a subsystem",
            30,
            detail=dcgm(
                "Warning", DcgmFinding("InfoROM", False, "A corrupt InfoROM has been detected.")
            ),
        ),
        "dcgm_failure": Scenario(
            "DCGM finds a failed subsystem",
            30,
            detail=dcgm(
                "Failure", DcgmFinding("Memory", True, "Uncorrectable memory errors were found.")
            ),
        ),
        "dcgm_capping": Scenario(
            "DCGM warns of ordinary power capping, which is no fault",
            30,
            detail=dcgm(
                "Warning",
                DcgmFinding("Power", False, "Clocks event due to software power cap.", True),
            ),
        ),
        "xid79": Scenario(
            "GPU is lost: it has fallen off the bus (Xid 79); reboot the node",
            60,
            fault=FaultState.LOST,
            code=15,
            xid=79,
        ),
        "reset_required": Scenario(
            "GPU requires a reset: stop its programs and run nvidia-smi --gpu-reset",
            60,
            fault=FaultState.RESET_REQUIRED,
            code=16,
        ),
        "no_permission": Scenario(
            "no permission to read this GPU: give the agent's user access to its device file",
            0,
            fault=FaultState.NO_PERMISSION,
            code=4,
        ),
        "error": Scenario(
            "the driver answers with an unknown error",
            60,
            fault=FaultState.ERROR,
            code=999,
        ),
        "vanish": Scenario(
            "GPU is no longer among those that the driver lists",
            60,
            fault=FaultState.MISSING,
            code=6,
        ),
        "hang": Scenario(
            "reads of this GPU never return",
            30,
            fault=FaultState.HUNG,
        ),
    }
)

FAMILIES: tuple[str, ...] = ("xidCODE", "recoveryN")
"""Scenarios that have a number in their name; one that is listed above goes first."""

_FAMILY = re.compile(r"(xid|recovery)([1-9][0-9]{0,3})")


def scenario_of(name: str) -> Scenario | None:
    """The scenario of that name, ``None`` if there is none."""
    known = SCENARIOS.get(name)
    if known is not None:
        return known
    match = _FAMILY.fullmatch(name)
    if match is None:
        return None
    number = int(match[2])
    if match[1] == "xid":
        return Scenario(f"Xid {number} comes again and again", 60, xid=number, again=True)
    return Scenario(
        f"the driver asks for recovery action {number} (Xid 154)",
        60,
        effect=effect({"recovery_action": number}),
        xid=154,
    )
