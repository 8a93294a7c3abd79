"""Days of power and utilisation of GPUs at work, second by second, for ``scripts/bench power``.

Nothing here knows how power is judged. Shapes follow what such work does: training swings with its
steps and waits in barriers at full utilisation and little power; a server's utilisation is full
long before its power is; checkpoints, evaluations, stalls and loading come in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Load = tuple[Floats, Floats]
"""Share of the power above idle that the work would take, and utilisation, a second each."""

HOUR = 3600


@dataclass(frozen=True, slots=True)
class Board:
    """What a GPU model draws, in watts; ``open`` with a program that does nothing."""

    name: str
    limit: float
    idle: float
    open: float


BOARDS = (
    Board("L4", 72, 16, 29),
    Board("A10", 150, 18, 32),
    Board("V100 SXM2", 300, 42, 56),
    Board("L40S", 350, 35, 78),
    Board("A100 SXM4", 400, 58, 72),
    Board("RTX 4090", 450, 22, 56),
    Board("H100 SXM5", 700, 70, 115),
    Board("B200", 1000, 140, 190),
)


@dataclass(slots=True)
class Day:
    """One GPU: a value a second. ``changes`` are the seconds at which processes came or went."""

    board: Board
    work: str
    power: NDArray[np.float32]
    utilization: NDArray[np.float32]
    changes: list[int]


def _wander(rng: np.random.Generator, n: int, every: int, size: float) -> Floats:
    """A slow walk around 0 with this deviation, correlated over some times ``every`` seconds."""
    knots = n // every + 2
    steps = rng.normal(0.0, size * 0.6, knots)
    for i in range(1, knots):
        steps[i] += 0.8 * steps[i - 1]
    return np.interp(np.arange(n), np.arange(knots) * every, steps)


def _pauses(
    rng: np.random.Generator, n: int, every: float, length: float, spread: float, first: int = 0
) -> list[slice]:
    """Stretches that come on average each ``every`` seconds, of this median length."""
    found = []
    at = first + int(rng.exponential(every))
    while at < n:
        long = max(1, int(rng.lognormal(np.log(length), spread)))
        found.append(slice(at, min(n, at + long)))
        at += long + max(1, int(rng.exponential(every)))
    return found


def training(rng: np.random.Generator, n: int) -> Load:
    """Steps of a second or many, each with a wait at its end; checkpoints, evaluations, stalls."""
    period = float(np.clip(rng.lognormal(np.log(2.5), 1.0), 0.2, 40.0))
    waits = rng.uniform(0.3, 0.6) if rng.random() < 0.15 else rng.uniform(0.0, 0.35)
    strength, low = rng.uniform(0.65, 1.1), rng.uniform(0.2, 0.6)
    spins = rng.random() < 0.6
    pace = (1 + _wander(rng, n, 120, 0.01)) / period  # no step takes quite as long as the next
    pace += 0.03 * rng.standard_normal(n) / np.sqrt(period)
    phase = (np.cumsum(pace) + rng.random()) % 1.0
    waiting = phase > 1.0 - waits
    intensity = np.where(waiting, low * strength, strength)
    intensity *= 1 + 0.02 * rng.standard_normal(n) + _wander(rng, n, 300, 0.012)
    idle_share = 0.0 if spins else rng.uniform(0.3, 1.0)
    if period < 1.0:
        utilization = np.full(n, 1.0 - waits * idle_share)
    else:
        utilization = np.where(waiting, 1.0 - idle_share, 1.0)
    utilization = utilization - np.abs(rng.normal(0, 0.01, n))
    for part in _pauses(rng, n, 600, 6, 0.7):
        share = rng.uniform(0.1, 0.6)
        intensity[part], utilization[part] = 0.6 * share, share
    if rng.random() < 0.5:
        generates = rng.random() < 0.06
        factor = rng.uniform(0.75, 1.0)
        for part in _pauses(rng, n, rng.uniform(1800, 7200), 110, 0.6, HOUR // 4):
            if generates:  # token by token: busy, but far from the power of training
                intensity[part] = rng.uniform(0.35, 0.5)
            else:
                intensity[part] = (
                    strength * factor * rng.uniform(0.97, 1.03, part.stop - part.start)
                )
            utilization[part] = rng.uniform(0.88, 1.0)
    barrier = rng.random() < 0.5
    every, long = rng.uniform(600, 3600), rng.uniform(10, 60)
    for part in _pauses(rng, n, every, long, 0.4, 600):
        intensity[part] = rng.uniform(0.12, 0.22) if barrier else rng.uniform(0.0, 0.05)
        utilization[part] = 1.0 if barrier else rng.uniform(0.0, 0.06)
    loading = int(rng.uniform(30, 240))
    compiling = loading + int(rng.uniform(0, 150))
    intensity[:loading], utilization[:loading] = 0.02, rng.uniform(0.0, 0.04)
    intensity[loading:compiling] = 0.15
    utilization[loading:compiling] = rng.uniform(0.1, 0.6)
    return intensity, utilization


def reinforcement(rng: np.random.Generator, n: int) -> Load:
    """Rollouts that are generated (busy, half of the power), then training on them, in turn."""
    intensity, utilization = np.empty(n), np.empty(n)
    rollout, learn = rng.uniform(60, 240), rng.uniform(40, 180)
    at, generating = 0, True
    high, low = rng.uniform(0.8, 1.05), rng.uniform(0.35, 0.55)
    while at < n:
        long = int((rollout if generating else learn) * rng.lognormal(0, 0.15)) + 1
        part = slice(at, at + long)
        intensity[part] = low if generating else high
        utilization[part] = 0.95 if generating else 0.99
        at, generating = at + long, not generating
    intensity *= 1 + 0.03 * rng.standard_normal(n)
    return intensity, utilization - np.abs(rng.normal(0, 0.02, n))


def inference(rng: np.random.Generator, n: int) -> Load:
    """Requests that follow the hour of day, cluster, and now and then a client that sends many."""
    t = np.arange(n)
    low, high = rng.uniform(0.02, 0.3), rng.uniform(0.3, 1.0)
    tide = 0.5 + 0.5 * np.sin(2 * np.pi * (t / 86_400 + rng.random()))
    load = low + (high - low) * tide + _wander(rng, n, 20, 0.05) + _wander(rng, n, 600, 0.06)
    for part in _pauses(rng, n, 5 * HOUR, 500, 1.0):
        ramp = min(1.0, rng.lognormal(np.log(0.15), 0.6))
        load[part] += ramp
    bursty = rng.uniform(0.0, 0.4)
    load = np.clip(load * (1 + bursty * rng.standard_normal(n)), 0.0, 1.2)
    fill = rng.uniform(1.5, 6.0)
    utilization = np.where(rng.random(n) < load * 8, 1 - np.exp(-fill * load), 0.0)
    intensity = (0.75 * np.minimum(1.0, load) ** 0.8) * (utilization > 0)
    return intensity, utilization


def notebook(rng: np.random.Generator, n: int) -> Load:
    """Somebody thinks, runs a cell, thinks again."""
    intensity, utilization = np.zeros(n), np.zeros(n)
    for part in _pauses(rng, n, 200, 25, 1.0):
        share = rng.uniform(0.2, 1.0)
        utilization[part] = share
        intensity[part] = 0.8 * share * rng.uniform(0.6, 1.0)
    return intensity, utilization


def simulation(rng: np.random.Generator, n: int) -> Load:
    """Molecular dynamics: the same for hours, with a short write now and then."""
    intensity = rng.uniform(0.5, 0.95) * (1 + 0.01 * rng.standard_normal(n))
    utilization = np.full(n, rng.uniform(0.85, 1.0))
    for part in _pauses(rng, n, 300, 2, 0.3):
        intensity[part], utilization[part] = 0.2, 0.3
    return intensity, utilization


def nothing(rng: np.random.Generator, n: int) -> Load:
    """No program."""
    return np.zeros(n), np.zeros(n)


Work = Callable[[np.random.Generator, int], Load]
WORK: dict[str, tuple[Work, float, float, float]] = {
    "training": (training, 0.42, 4 * HOUR, 0.9),
    "reinforcement": (reinforcement, 0.04, 8 * HOUR, 0.5),
    "inference": (inference, 0.28, 36 * HOUR, 0.3),
    "notebook": (notebook, 0.10, 3 * HOUR, 0.8),
    "simulation": (simulation, 0.08, 10 * HOUR, 0.6),
    "idle": (nothing, 0.08, 36 * HOUR, 0.1),
}
"""Work, its share of the fleet, and the median length of a job with its spread."""


def kinds(gpus: int) -> list[str]:
    """What each of so many GPUs does, in the fleet's shares."""
    shares = np.cumsum([share for _, share, _, _ in WORK.values()])
    places = (np.arange(gpus) + 0.5) / gpus * shares[-1]
    names = list(WORK)
    return [names[int(np.searchsorted(shares, place))] for place in places]


def day_of(seed: int, number: int, work: str, seconds: int) -> Day:
    """The day of one GPU: jobs of one kind one after the other, with pauses between them."""
    rng = np.random.default_rng([seed, number])
    board = BOARDS[number % len(BOARDS)]
    job, _, median, spread = WORK[work]
    share, utilization = np.zeros(seconds), np.zeros(seconds)
    floor = np.full(seconds, board.idle)
    changes: list[int] = []
    at = -int(rng.uniform(0, median))
    while at < seconds:
        long = max(120, int(rng.lognormal(np.log(median), spread)))
        intensity, used = job(rng, long)
        into = slice(max(0, at), min(seconds, at + long))
        of = slice(into.start - at, into.stop - at)
        if into.stop > into.start:
            share[into], utilization[into] = intensity[of], used[of]
            if job is not nothing:
                floor[into] = board.open
                changes += [s for s in (at, at + long) if 0 <= s < seconds]
        at += long + int(rng.exponential(1200 if work != "inference" else 60))
    full = board.limit * 1.04
    power = floor + np.clip(share, 0.0, 1.2) * (full - floor)
    held = board.limit * (0.993 + 0.004 * rng.standard_normal(seconds))
    power = np.minimum(power, held) * rng.uniform(0.97, 1.03)
    power = np.minimum(power, held) * (1 + 0.004 * rng.standard_normal(seconds))
    percent = np.round(np.clip(utilization, 0.0, 1.0) * 100) / 100
    day = Day(board, work, power.astype(np.float32), percent.astype(np.float32), changes)
    _lose(rng, day)
    return day


def _lose(rng: np.random.Generator, day: Day) -> None:
    """Values that were not read, and agents that were away."""
    n = len(day.power)
    day.power[rng.random(n) < 5e-4] = np.nan
    day.utilization[rng.random(n) < 5e-4] = np.nan
    for part in _pauses(rng, n, 8 * HOUR, 15, 1.2):
        day.power[part] = day.utilization[part] = np.nan
