"""What programs ask of a GPU, second by second: training, inference, notebooks, nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import lru_cache

from gpufleet.agent.sim.boards import Board
from gpufleet.agent.sim.wave import Load, Wave, wave

VARIANTS = 4
"""How many different runs of one kind of work there are."""

LEVELS = 6
"""How busy inference can be: 0 is the small hours, 5 the noon."""

_SECONDS = 600
_GIGA = 1e9


def training(variant: int) -> list[Load]:
    """Steps near full power, short waits for data, a checkpoint every few minutes."""
    rng = random.Random(f"training {variant}")
    # Part of a second's mean power that moves with the step, which is seldom a whole second.
    step = rng.uniform(2.2, 7.7)
    strength = rng.uniform(0.86, 1.0)
    checkpoint = rng.choice((200, 300, 600))
    loads = []
    waiting = 0
    for second in range(_SECONDS):
        if second % checkpoint >= checkpoint - 11:
            loads.append(
                Load(rng.uniform(0.0, 0.06), 0.08, 0.05, 0.0, 0.2 * _GIGA, 3.1 * _GIGA, 0.1 * _GIGA)
            )
            continue
        waiting = waiting - 1 if waiting else (rng.randint(1, 4) if rng.random() < 0.01 else 0)
        if waiting:
            loads.append(
                Load(rng.uniform(0.2, 0.6), 0.35, 0.25, 0.1, 2.4 * _GIGA, 0.1 * _GIGA, 1 * _GIGA)
            )
            continue
        swing = 1.0 - 0.12 * ((second % step) / step > 0.75)
        intensity = strength * swing * rng.uniform(0.96, 1.04)
        loads.append(
            Load(
                utilization=rng.uniform(0.96, 1.0),
                intensity=intensity,
                dram=0.62 * intensity,
                tensor=0.55 * intensity,
                pcie_rx=0.9 * _GIGA * rng.uniform(0.8, 1.2),
                pcie_tx=0.12 * _GIGA * rng.uniform(0.8, 1.2),
                nvlink=13 * _GIGA * swing * rng.uniform(0.8, 1.2),
            )
        )
    return loads


def inference(level: int) -> list[Load]:
    """Bursts of requests, the more the higher the level; some services decode video."""
    rng = random.Random(f"inference {level}")
    busy = 0.06 + 0.14 * level
    loads = []
    burst = busy
    for _ in range(_SECONDS):
        # Arrivals cluster: a slow random walk around the level, with single bursts on top.
        burst += 0.25 * (busy - burst) + rng.gauss(0.0, 0.05)
        now = burst + (rng.uniform(0.1, 0.35) if rng.random() < 0.06 else 0.0)
        share = min(1.0, max(0.0, now)) if rng.random() < 0.35 + busy * 0.8 else 0.0
        loads.append(
            Load(
                utilization=share,
                intensity=0.62 * share,
                dram=0.75 * share,
                tensor=0.2 * share,
                pcie_rx=0.05 * _GIGA * share,
                pcie_tx=0.02 * _GIGA * share,
                nvlink=0.0,
                decoder=0.25 * share if level % 2 else 0.0,
            )
        )
    return loads


def notebook(variant: int) -> list[Load]:
    """Somebody thinks, runs a cell, thinks again; variant 0 only holds its memory."""
    rng = random.Random(f"notebook {variant}")
    loads: list[Load] = []
    while len(loads) < _SECONDS:
        loads += [Load()] * rng.randint(40, 140)
        if variant:
            strength = rng.uniform(0.3, 0.9)
            loads += [
                Load(
                    utilization=strength * rng.uniform(0.85, 1.05),
                    intensity=0.8 * strength * rng.uniform(0.9, 1.1),
                    dram=0.4 * strength,
                    tensor=0.15 * strength,
                    pcie_rx=0.3 * _GIGA,
                    pcie_tx=0.1 * _GIGA,
                )
                for _ in range(rng.randint(8, 50))
            ]
    return loads[:_SECONDS]


def idle(variant: int) -> list[Load]:
    """No program has the GPU open."""
    return [Load(context=False)] * 10


def steady(variant: int) -> list[Load]:
    """A busy GPU without dips, on which a fault shows clearly."""
    rng = random.Random(f"steady {variant}")
    return [
        Load(
            utilization=rng.uniform(0.97, 1.0),
            intensity=0.8 * rng.uniform(0.97, 1.03),
            dram=0.5,
            tensor=0.45,
            pcie_rx=0.9 * _GIGA,
            pcie_tx=0.1 * _GIGA,
            nvlink=10 * _GIGA,
        )
        for _ in range(_SECONDS)
    ]


def stuck(variant: int) -> list[Load]:
    """A kernel that spins: fully used, hardly any power."""
    return [Load(utilization=1.0, intensity=0.12, dram=0.0)] * 10


WORK: Mapping[str, Callable[[int], list[Load]]] = {
    "training": training,
    "inference": inference,
    "notebook": notebook,
    "idle": idle,
    "steady": steady,
    "stuck": stuck,
}

WORK_OF: Mapping[str, tuple[str, int]] = {"held": ("notebook", 0), "full": ("inference", 4)}
"""Work of scenarios that is a variant of another: its kind and its variant."""


@lru_cache(maxsize=256)
def wave_of(board: Board, work: str, variant: int) -> Wave:
    """The wave of a kind of work on a board, shared by all GPUs that do it."""
    return wave(board, WORK[work](variant))
