"""Faults on demand: what ``--scenario NAME[:gpu[,gpu]][@period]`` means (docs/sim.md)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpufleet.agent.model import Fault, FaultState
from gpufleet.agent.sim_boards import Board
from gpufleet.agent.sim_wave import NORMAL, Condition, Wave, wave
from gpufleet.agent.sim_work import WORK

_ACTIVE_SHARE = 44 / 90
"""Share of each period in which a fault that comes and goes is there."""

_CALM_BEFORE = 26 / 90
"""Share of each period before that; the rest is time to cool down again."""


class ScenarioError(ValueError):
    """A scenario that does not exist or cannot be had here. The text is one sentence."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """``work`` is set where the fault shows in the wave; else it is there after ``period_s``."""

    sentence: str
    period_s: int
    work: str = ""
    active: Condition = NORMAL
    needs: str = ""
    fault: FaultState | None = None
    code: int = 0
    xid: int = 0
    """The Xid that comes once, when the period is over; 0: none."""


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
            Condition(cooling=0.25, hardware_slowdown=True),
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
        "stuck_kernel": Scenario("a kernel spins: 100 % utilisation at little power", 60, "stuck"),
        "ecc": Scenario(
            "corrected ECC errors trickle; after the period one is uncorrectable",
            60,
            needs="ecc",
        ),
        "remap": Scenario("a memory row waits for a reset to be remapped", 30, needs="ecc"),
        "xid48": Scenario(
            "an uncorrectable ECC error (Xid 48): reset needed", 60, needs="ecc", xid=48
        ),
        "nvlink": Scenario("NVLink replays and CRC errors grow", 30, needs="nvlinks"),
        "pcie": Scenario("the PCIe link falls to 8 lanes and replays", 30),
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


@dataclass(frozen=True, slots=True)
class Injection:
    """One scenario on some GPUs (``None``: those that it is meant for by default)."""

    name: str
    period_ms: int
    gpus: frozenset[int] | None = None

    @property
    def scenario(self) -> Scenario:
        return SCENARIOS[self.name]

    def hits(self, index: int) -> bool:
        """Whether GPU ``index`` is meant."""
        if self.gpus is None:
            return self.name == "idle" or index == 0
        return index in self.gpus

    def fault(self) -> Fault | None:
        """The fault that a reading has once the period is over, if it is of that sort."""
        scenario = self.scenario
        if scenario.fault is None:
            return None
        return Fault(scenario.fault, scenario.sentence, scenario.code)

    def wave(self, board: Board) -> Wave | None:
        """The wave that shows the fault, if it is of that sort; its length is the period."""
        scenario = self.scenario
        if not scenario.work:
            return None
        loads = WORK["notebook" if scenario.work == "held" else scenario.work](0)
        seconds = self.period_ms // 1000
        first = round(seconds * _CALM_BEFORE)
        active = range(first, first + round(seconds * _ACTIVE_SHARE))
        return wave(
            board,
            [loads[second % len(loads)] for second in range(seconds)],
            [scenario.active if second in active else NORMAL for second in range(seconds)],
        )


_PART = re.compile(r"([a-z_0-9]+)(?::(\d+(?:,\d+)*))?(?:@(\d{1,5})(s|m|h)?)?")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse(text: str, gpus: int) -> tuple[Injection, ...]:
    """``NAME[:gpu[,gpu]][@period]``, several joined by ``+``; "" is none."""
    return tuple(_injection(part.strip(), gpus) for part in text.split("+")) if text else ()


def _injection(part: str, gpus: int) -> Injection:
    match = _PART.fullmatch(part)
    if match is None:
        raise ScenarioError(
            f"scenario {part!r} is not understood: write NAME[:gpu[,gpu]][@seconds],"
            " for example overheat:0,2@120"
        )
    name, listed, number, unit = match.groups(default="")
    if name not in SCENARIOS:
        near = difflib.get_close_matches(name, SCENARIOS, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else "choose one of " + ", ".join(SCENARIOS) + "."
        raise ScenarioError(f"there is no scenario {name!r}: {hint}")
    period_s = int(number) * _UNITS[unit] if number else SCENARIOS[name].period_s
    if SCENARIOS[name].work and not 10 <= period_s <= 21_600:
        raise ScenarioError(
            f"a period of {period_s} s does not suit scenario {name!r}: choose 10 s to 6 h"
        )
    chosen = frozenset(map(int, listed.split(","))) if listed else None
    for index in sorted(chosen or ()):
        if index >= gpus:
            hint = f"choose 0 to {gpus - 1}" if gpus else "make some with --gpus"
            raise ScenarioError(
                f"scenario {part!r} names GPU {index}, but there are {gpus}: {hint}"
            )
    return Injection(name, period_s * 1000, chosen)


def check_board(injection: Injection, board: Board, index: int) -> None:
    """ScenarioError where the board lacks what the scenario breaks."""
    needs = injection.scenario.needs
    if needs and not getattr(board, needs):
        what = {"ecc": "ECC memory", "nvlinks": "NVLink"}[needs]
        raise ScenarioError(
            f"scenario {injection.name!r} cannot be had on GPU {index}: a simulated {board.name}"
            f" has no {what}; name another GPU"
        )
