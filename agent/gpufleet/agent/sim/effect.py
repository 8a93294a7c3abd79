"""What counters, states and details show of a fault that a wave of work does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gpufleet.agent.model import Json
from gpufleet.agent.sim.boards import Board
from gpufleet.alerting.health import DcgmFinding
from gpufleet.alerting.health_extras import dcgm_detail
from gpufleet.proto.catalog import BY_NAME

_SLOW_MS = 30_000
"""Links and what DCGM found are read in the slow tier, so they stand still in between."""

Detail = Callable[[Board, int], Mapping[str, Json]]
"""Detail document of a board, so many ms after the fault came (before it: negative)."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of values from one moment on; those that a board does not have stay absent."""

    states: Mapping[int, int]
    added: Mapping[int, int]
    growing: Mapping[int, int]
    """Catalogue id → milliseconds in which its counter grows by one."""
    absent: tuple[int, ...]

    def apply(self, values: dict[int, int], age_ms: int) -> None:
        """Change the values of a GPU that has had it for ``age_ms``."""
        for id_, state in self.states.items():
            if id_ in values:
                values[id_] = state
        for id_, more in self.added.items():
            if id_ in values:
                values[id_] += more
        for id_, step_ms in self.growing.items():
            if id_ in values:
                values[id_] += age_ms // step_ms
        for id_ in self.absent:
            values.pop(id_, None)


def effect(
    states: Mapping[str, int] | None = None,
    added: Mapping[str, int] | None = None,
    growing: Mapping[str, int] | None = None,
    absent: tuple[str, ...] = (),
) -> Effect:
    """An effect by the catalogue's names, in scaled integers."""

    def by_id(named: Mapping[str, int] | None) -> Mapping[int, int]:
        return {BY_NAME[name].id: value for name, value in (named or {}).items()}

    return Effect(
        by_id(states), by_id(added), by_id(growing), tuple(BY_NAME[name].id for name in absent)
    )


NO_EFFECT = effect()


def links(down: int | None = None, counter: str = "", step_ms: int = 1) -> Detail:
    """Every NVLink of a board: link ``down`` fails, or ``counter`` of link 0 grows by one a step.

    The counter begins with one, as ``effect`` has it where 1 is added.
    """

    def detail(board: Board, after_ms: int) -> Mapping[str, Json]:
        seen_ms = after_ms // _SLOW_MS * _SLOW_MS
        found: list[dict[str, Json]] = []
        for link in range(board.nvlinks):
            up = seen_ms < 0 or link != down
            errors: dict[str, Json] = {"replay_errors": 0, "recovery_errors": 0, "crc_errors": 0}
            if counter and not link and seen_ms >= 0:
                errors[counter] = 1 + seen_ms // step_ms
            state = "active" if up else "inactive"
            found.append({"link": link, "up": up, "state": state, **errors})
        return {"nvlinks": found}

    return detail


def dcgm(verdict: str, *findings: DcgmFinding) -> Detail:
    """DCGM's report: healthy, then ``verdict`` with its findings."""
    well: Mapping[str, Json] = {"dcgm": dcgm_detail("Healthy", ())}
    ill: Mapping[str, Json] = {"dcgm": dcgm_detail(verdict, findings)}

    def detail(board: Board, after_ms: int) -> Mapping[str, Json]:
        return ill if after_ms >= 0 else well

    return detail
