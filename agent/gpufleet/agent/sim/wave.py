"""Seconds of work on a board, repeated for ever: power, heat, clocks and their integrals.

A wave is computed once, second by second, as a board would go through it; since it repeats,
counters at any time follow from whole repetitions and one prefix sum.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from gpufleet.agent.sim.boards import Board

LAG_SECONDS = 20.0
"""Time constant with which a core's temperature follows its power."""

_AMBIENT_CELSIUS = 27.0
_IDLE, _POWER_CAP, _SW_THERMAL, _HW_THERMAL = 0x1, 0x4, 0x20, 0x40

Totals = tuple[int, int, int, int, int, int, int]
"""mJ, PCIe bytes received and sent, NVLink bytes received and sent, ms held by heat, by power."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one second of a program asks of a GPU. Ratios are 0-1, rates bytes per second.

    ``intensity`` is the share of the board's power that it would take if nothing held it back.
    ``context`` is False only where no program has the GPU open.
    """

    utilization: float = 0.0
    intensity: float = 0.0
    dram: float = 0.0
    tensor: float = 0.0
    pcie_rx: float = 0.0
    pcie_tx: float = 0.0
    nvlink: float = 0.0
    encoder: float = 0.0
    decoder: float = 0.0
    context: bool = True


@dataclass(frozen=True, slots=True)
class Condition:
    """What stands in a board's way for one second (1.0 = nothing).

    ``speed`` is the share of its clocks that ``throttle`` (nvmlClocksEventReason* bits) leaves.
    ``celsius`` is what the core settles at whatever it draws; ``None``: as its power has it.
    ``memory_excess`` is what the memory settles at above its limit, ``None``: as the core has it.
    """

    cooling: float = 1.0
    power_limit: float = 1.0
    limit_holds: bool = True
    power: float = 1.0
    fan_turns: bool = True
    throttle: int = 0
    speed: float = 1.0
    celsius: float | None = None
    memory_excess: float | None = None
    pcie_generation: int | None = None


NORMAL = Condition()


@dataclass(frozen=True, slots=True)
class Wave:
    """``seconds`` seconds of gauges in the catalogue's scaled integers (temperatures: 1/1000 °C).

    ``rates`` are what the seven totals grow by in each second, ``sums`` their running sums.
    """

    seconds: int
    utilization: array[int]
    memory_controller: array[int]
    encoder: array[int]
    decoder: array[int]
    sm_active: array[int]
    tensor_active: array[int]
    dram_active: array[int]
    temperature: array[int]
    memory_temperature: array[int]
    power: array[int]
    power_limit: array[int]
    fan: array[int]
    clock: array[int]
    memory_clock: array[int]
    video_clock: array[int]
    performance_state: array[int]
    pcie_generation: array[int]
    throttle: array[int]
    rates: tuple[array[int], ...]
    sums: tuple[array[int], ...]

    def totals(self, at_ms: int) -> Totals:
        """The seven integrals from 0 to ``at_ms`` of the endlessly repeated wave."""
        laps, rest = divmod(at_ms, self.seconds * 1000)
        second, part = divmod(rest, 1000)
        last = self.seconds
        a, b, c, d, e, f, g = (
            laps * s[last] + s[second] + r[second] * part // 1000
            for s, r in zip(self.sums, self.rates, strict=True)
        )
        return a, b, c, d, e, f, g


@dataclass(frozen=True, slots=True)
class _Second:
    power_watts: float
    celsius: float
    memory_celsius: float
    clock_ratio: float
    throttle: int


def _warmth(board: Board, watts: float, cooling: float) -> float:
    rise = (board.full_temperature - _AMBIENT_CELSIUS) / board.limit_watts
    return _AMBIENT_CELSIUS + rise * watts / cooling


def _live(board: Board, loads: Sequence[Load], conditions: Sequence[Condition]) -> list[_Second]:
    """Go through the wave twice: the second time the heat of the end is there at the start."""
    celsius = _warmth(board, board.idle_watts, 1.0)
    memory_extra = 0.0
    awake = board.idle_watts * 1.25
    seconds: list[_Second] = []
    for _ in range(2):
        seconds = []
        for load, condition in zip(loads, conditions, strict=True):
            limit = board.limit_watts * condition.power_limit
            if load.context:
                demand = awake + load.intensity * (board.limit_watts * 1.05 - awake)
                demand = max(awake, demand * condition.power)
            else:
                demand = float(board.idle_watts)
            throttle = condition.throttle if load.utilization else _IDLE
            clock = 1.0
            watts = demand
            if demand > limit and condition.limit_holds:
                throttle |= _POWER_CAP
                clock = (limit / demand) ** 0.5
                watts = limit
            # Where a fault sets the temperature, heat slows the board past its limit only, so that
            # thresholds below the limit can be seen alone.
            slowed_above = board.operating_limit - (5 if condition.celsius is None else 0)
            heat = min(1.0, max(0.5, 1.0 - 0.15 * (celsius - slowed_above)))
            if heat < 1.0:
                throttle |= _SW_THERMAL
            speed = min(heat, condition.speed)
            watts = board.idle_watts + (watts - board.idle_watts) * speed
            before = celsius
            if condition.celsius is None:
                celsius += (_warmth(board, watts, condition.cooling) - celsius) / LAG_SECONDS
                celsius = min(celsius, max(before, board.slowdown - 1.0))
            else:
                celsius += (condition.celsius - celsius) / LAG_SECONDS
            memory = celsius + 3 + 6 * load.dram
            extra = 0.0
            if condition.memory_excess is not None and board.memory_limit is not None:
                extra = max(0.0, board.memory_limit + condition.memory_excess - memory)
            memory_extra += (extra - memory_extra) / LAG_SECONDS
            seconds.append(_Second(watts, celsius, memory + memory_extra, clock * speed, throttle))
    return seconds


def _clock(board: Board, load: Load, second: _Second) -> int:
    if not load.context:
        return board.clock_idle
    # Clocks move in steps of 15 MHz.
    return max(board.clock_idle, int(board.clock_max * second.clock_ratio) // 15 * 15)


def _fan(board: Board, second: _Second, condition: Condition) -> int:
    if not board.fans or not condition.fan_turns:
        return 0
    return min(1000, max(300, round(300 + (second.celsius - 45) * 16)))


def wave(board: Board, loads: Sequence[Load], conditions: Sequence[Condition] = ()) -> Wave:
    """The wave of these loads, one a second, under as many conditions (none: all normal)."""
    conditions = conditions or [NORMAL] * len(loads)
    lived = _live(board, loads, conditions)

    def whole(values: Sequence[float]) -> array[int]:
        return array("q", map(round, values))

    def ratio(values: Sequence[float]) -> array[int]:
        return array("q", [min(1000, max(0, round(v * 1000))) for v in values])

    power = whole([s.power_watts * 1000 for s in lived])
    nvlink = whole([x.nvlink if board.nvlinks else 0.0 for x in loads])
    rates = (
        power,
        whole([x.pcie_rx for x in loads]),
        whole([x.pcie_tx for x in loads]),
        nvlink,
        nvlink,
        whole([1000 if s.throttle & (_SW_THERMAL | _HW_THERMAL) else 0 for s in lived]),
        whole([1000 if s.throttle & _POWER_CAP else 0 for s in lived]),
    )
    return Wave(
        seconds=len(loads),
        # Drivers give whole percents.
        utilization=whole([min(100, round(x.utilization * 100)) * 10 for x in loads]),
        memory_controller=whole([min(100, round(x.dram * 90)) * 10 for x in loads]),
        encoder=whole([round(x.encoder * 100) * 10 for x in loads]),
        decoder=whole([round(x.decoder * 100) * 10 for x in loads]),
        sm_active=ratio([x.utilization * 0.93 for x in loads]),
        tensor_active=ratio([x.tensor for x in loads]),
        dram_active=ratio([x.dram for x in loads]),
        temperature=whole([s.celsius * 1000 for s in lived]),
        memory_temperature=whole([s.memory_celsius * 1000 for s in lived]),
        power=power,
        power_limit=whole([board.limit_watts * 1000 * c.power_limit for c in conditions]),
        fan=whole([_fan(board, s, c) for s, c in zip(lived, conditions, strict=True)]),
        clock=whole([_clock(board, x, s) for x, s in zip(loads, lived, strict=True)]),
        memory_clock=whole(
            [board.memory_clock_max if x.context else board.memory_clock_idle for x in loads]
        ),
        video_clock=whole(
            [board.video_clock_max if x.context else board.video_clock_idle for x in loads]
        ),
        performance_state=whole([0 if x.context else board.idle_performance_state for x in loads]),
        pcie_generation=whole(
            [
                c.pcie_generation
                or (board.pcie_generation if x.context else board.idle_pcie_generation)
                for x, c in zip(loads, conditions, strict=True)
            ]
        ),
        throttle=whole([s.throttle for s in lived]),
        rates=rates,
        sums=tuple(array("q", accumulate(r, initial=0)) for r in rates),
    )
