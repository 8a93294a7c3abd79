"""Faults on demand: what ``--scenario NAME[:gpu[,gpu]][@period]`` means (docs/sim.md)."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace

from gpufleet.agent.model import Fault
from gpufleet.agent.sim.boards import Board
from gpufleet.agent.sim.faults import FAMILIES, SCENARIOS, Scenario, scenario_of
from gpufleet.agent.sim.wave import NORMAL, Load, Wave, wave
from gpufleet.agent.sim.work import WORK, WORK_OF

_ACTIVE_SHARE = 44 / 90
"""Share of each period in which a fault that comes and goes is there."""

_CALM_BEFORE = 26 / 90
"""Share of each period before that; the rest is time to cool down again."""

_MOST_XIDS = 16
"""Xids told at once by a GPU that was not asked for long."""

_LONGEST_S = 21_600


class ScenarioError(ValueError):
    """A scenario that does not exist or cannot be had here. The text is one sentence."""


@dataclass(frozen=True, slots=True)
class Injection:
    """One scenario on some GPUs (``None``: those that it is meant for by default)."""

    name: str
    scenario: Scenario
    period_ms: int
    gpus: frozenset[int] | None = None

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

    def xids_ms(self, after_ms: int, until_ms: int) -> tuple[int, ...]:
        """When its Xid came since ``after_ms``, in ms since the scenario began; oldest first."""
        if not self.scenario.xid or until_ms < self.period_ms:
            return ()
        last = until_ms // self.period_ms if self.scenario.again else 1
        times = (n * self.period_ms for n in range(max(1, last - _MOST_XIDS + 1), last + 1))
        return tuple(time_ms for time_ms in times if time_ms > after_ms)

    def wave(self, board: Board, warmer: float) -> Wave | None:
        """The wave that shows the fault, if it is of that sort; its length is the period.

        ``warmer`` is by how many degrees this very board is warmer than others of its model.
        """
        scenario = self.scenario
        if not scenario.work:
            return None
        work, variant = WORK_OF.get(scenario.work, (scenario.work, 0))
        loads = WORK[work](variant)
        seconds = self.period_ms // 1000
        first = round(seconds * _CALM_BEFORE)
        active = range(first, first + round(seconds * _ACTIVE_SHARE))
        fault = scenario.active
        if scenario.settles is not None:
            threshold, above = scenario.settles
            fault = replace(fault, celsius=getattr(board, threshold) + above + 0.5 - warmer)
        resting = active if scenario.rests else range(0)
        return wave(
            board,
            [
                Load() if second in resting else loads[second % len(loads)]
                for second in range(seconds)
            ],
            [fault if second in active else NORMAL for second in range(seconds)],
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
    scenario = scenario_of(name)
    if scenario is None:
        near = difflib.get_close_matches(name, (*SCENARIOS, *FAMILIES), 1, 0.5)
        known = ", ".join((*SCENARIOS, *FAMILIES))
        hint = f"did you mean {near[0]}?" if near else f"choose one of {known}."
        raise ScenarioError(f"there is no scenario {name!r}: {hint}")
    period_s = int(number) * _UNITS[unit] if number else scenario.period_s
    if scenario.work and not 10 <= period_s <= _LONGEST_S:
        raise ScenarioError(
            f"a period of {period_s} s does not suit scenario {name!r}: choose 10 s to 6 h"
        )
    if scenario.again and period_s < 10:
        raise ScenarioError(
            f"a period of {period_s} s does not suit scenario {name!r}: choose 10 s or more"
        )
    chosen = frozenset(map(int, listed.split(","))) if listed else None
    for index in sorted(chosen or ()):
        if index >= gpus:
            hint = f"choose 0 to {gpus - 1}" if gpus else "make some with --gpus"
            raise ScenarioError(
                f"scenario {part!r} names GPU {index}, but there are {gpus}: {hint}"
            )
    return Injection(name, scenario, period_s * 1000, chosen)


def check_board(injection: Injection, board: Board, index: int) -> None:
    """ScenarioError where the board lacks what the scenario breaks."""
    needs = injection.scenario.needs
    if needs and not getattr(board, needs):
        what = {
            "ecc": "ECC memory",
            "remaps_rows": "memory rows to remap",
            "retires_pages": "memory pages to retire",
            "memory_limit": "sensor of the memory's temperature",
            "nvlinks": "NVLink",
        }[needs]
        mend = "call the node v100-1" if needs == "retires_pages" else "name another GPU"
        raise ScenarioError(
            f"scenario {injection.name!r} cannot be had on GPU {index}: a simulated {board.name}"
            f" has no {what}; {mend}"
        )
