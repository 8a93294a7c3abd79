"""Who uses a GPU when: a week of jobs that repeats, and the totals up to any time.

The week is cut into segments of one wave each. Totals at any time are whole weeks, plus the
segments before, plus the begun one: the same few steps however far away the time is.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp

from gpufleet.agent.sim.boards import Board
from gpufleet.agent.sim.wave import LAG_SECONDS, Totals, Wave
from gpufleet.agent.sim.work import LEVELS, VARIANTS, wave_of

DRIVER_LOADED_MS = 1_735_689_600_000
"""2025-01-01: the simulated drivers were loaded about then, so counters begin there."""

_DAY_MS = 86_400_000
WEEK_MS = 7 * _DAY_MS
_WEEKS_LOADED = 520
# A driver stays loaded for ten years: the longest for which no counter outgrows 63 bits.
_HALF_HOUR_MS = 1_800_000
_USERS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
_NOTHING: Totals = (0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Job:
    """A program on a GPU. ``number`` tells it from the programme's other jobs."""

    number: int
    start_ms: int
    user: str
    program: str
    memory_ratio: float
    kind: str


@dataclass(frozen=True, slots=True)
class Planned:
    """A stretch of one kind of work, from ``start_ms`` of the week to the next one.

    ``phase_ms`` is where in its wave it begins.
    """

    start_ms: int
    phase_ms: int
    work: str
    variant: int
    job: Job | None


@dataclass(frozen=True, slots=True)
class Segment:
    """A planned stretch on a board. ``base`` + the wave's totals = totals since the week began.

    The wave's time is the segment's age + ``phase_ms``.
    ``chill`` is how much cooler (1/1000 °C) the board still is than its wave at the start.
    """

    start_ms: int
    phase_ms: int
    wave: Wave
    job: Job | None
    base: Totals
    chill: int


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a programme stands at one time: ``second`` of the segment's wave."""

    segment: Segment
    cycle: int
    cycle_start_ms: int
    age_ms: int
    second: int

    @property
    def temperature(self) -> int:
        """1/1000 °C: the wave's, late by the board's thermal lag after a change of work."""
        heat = self.segment.wave.temperature[self.second]
        if self.age_ms < LAG_SECONDS * 8000:
            heat -= round(self.segment.chill * exp(-self.age_ms / (LAG_SECONDS * 1000)))
        return heat


class Programme:
    """A plan of waves, repeated every ``cycle_ms`` from ``origin_ms`` on.

    ``warm`` is the temperature (1/1000 °C) before its start, where it does not follow on itself.
    """

    def __init__(
        self,
        plan: Sequence[tuple[Planned, Wave]],
        cycle_ms: int,
        origin_ms: int,
        warm: int | None = None,
    ) -> None:
        self._cycle_ms = cycle_ms
        self._origin_ms = origin_ms
        self._starts = [planned.start_ms for planned, _ in plan]
        self._segments: list[Segment] = []
        done = _NOTHING
        ends = [*self._starts[1:], cycle_ms]
        if warm is None:
            warm = _warmth_at(plan[-1], cycle_ms)
        for (planned, wave), end in zip(plan, ends, strict=True):
            base = _add(done, wave.totals(planned.phase_ms), -1)
            chill = wave.temperature[planned.phase_ms // 1000 % wave.seconds] - warm
            self._segments.append(
                Segment(
                    planned.start_ms,
                    planned.phase_ms,
                    wave,
                    planned.job,
                    base,
                    chill,
                )
            )
            done = _add(base, wave.totals(planned.phase_ms + end - planned.start_ms), 1)
            warm = _warmth_at((planned, wave), end)
        self._whole = done

    def at(self, time_ms: int) -> Moment:
        """Where the programme stands at a time (before the origin: as if it had run already)."""
        cycle, within = divmod(time_ms - self._origin_ms, self._cycle_ms)
        segment = self._segments[bisect_right(self._starts, within) - 1]
        age = within - segment.start_ms
        second = (segment.phase_ms + age) // 1000 % segment.wave.seconds
        return Moment(segment, cycle, time_ms - within, age, second)

    def totals(self, moment: Moment) -> Totals:
        """The seven totals since the origin."""
        segment = moment.segment
        here = segment.wave.totals(segment.phase_ms + moment.age_ms)
        cycle = moment.cycle % _WEEKS_LOADED
        a, b, c, d, e, f, g = (
            cycle * w + s + h for w, s, h in zip(self._whole, segment.base, here, strict=True)
        )
        return a, b, c, d, e, f, g


def _add(left: Totals, right: Totals, sign: int) -> Totals:
    a, b, c, d, e, f, g = (x + sign * y for x, y in zip(left, right, strict=True))
    return a, b, c, d, e, f, g


def _warmth_at(stretch: tuple[Planned, Wave], end_ms: int) -> int:
    """1/1000 °C in the last second of a stretch that ends at ``end_ms`` of its cycle."""
    planned, wave = stretch
    at_ms = planned.phase_ms + end_ms - planned.start_ms - 1000
    return wave.temperature[at_ms // 1000 % wave.seconds]


class _Week:
    """Writes one week's plan, stretch after stretch."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.plan: list[Planned] = []
        self.now_ms = 0
        self._jobs = 0

    def job(self, kind: str, program: str, low: float, high: float) -> Job:
        self._jobs += 1
        return Job(
            self._jobs,
            self.now_ms,
            self.rng.choice(_USERS),
            program,
            self.rng.uniform(low, high),
            kind,
        )

    def stretch(self, minutes: float, work: str, variant: int, job: Job | None) -> None:
        if self.now_ms < WEEK_MS:
            phase_ms = self.rng.randrange(600) * 1000
            self.plan.append(Planned(self.now_ms, phase_ms, work, variant, job))
            self.now_ms += int(minutes * 60) * 1000

    def pause(self, low: float, high: float) -> None:
        self.stretch(self.rng.uniform(low, high), "idle", 0, None)

    def train(self, hours: float) -> None:
        program = self.rng.choice(("train.py", "finetune.py", "pretrain_gpt.py", "torchrun"))
        job = self.job("training", program, 0.55, 0.86)
        self.stretch(hours * 60, "training", self.rng.randrange(VARIANTS), job)

    def think(self, hours: float, variant: int) -> None:
        job = self.job("notebook", "ipykernel_launcher.py", 0.1, 0.55)
        self.stretch(hours * 60, "notebook", variant, job)

    def serve(self, hours: float) -> None:
        program = self.rng.choice(("vllm", "tritonserver", "text-generation-server"))
        job = self.job("inference", program, 0.72, 0.87)
        end = self.now_ms + hours * 3_600_000
        while self.now_ms < min(end, WEEK_MS):
            hour = self.now_ms / 3_600_000 % 24
            # Quiet at 4 in the morning (UTC), busiest twelve hours later.
            busy = abs((hour - 16) % 24 - 12) / 12
            level = round(busy * (LEVELS - 1) + self.rng.uniform(-0.6, 0.6))
            level = min(LEVELS - 1, max(0, level))
            minutes = (_HALF_HOUR_MS - self.now_ms % _HALF_HOUR_MS) / 60_000
            self.stretch(minutes, "inference", level, job)


def _plan(role: str, rng: random.Random) -> list[Planned]:
    week = _Week(rng)
    while week.now_ms < WEEK_MS:
        if role == "training":
            week.train(rng.uniform(2.5, 11))
            week.pause(3, 25)
        elif role == "inference":
            week.serve(rng.uniform(20, 60))
            week.pause(2, 6)
        elif role == "idle":
            week.pause(600, 3000)
            week.train(rng.uniform(0.3, 1.5))
        else:
            week.think(rng.uniform(0.7, 3), rng.randrange(VARIANTS))
            week.pause(5, 90)
            week.train(rng.uniform(0.2, 1.5))
            week.pause(5, 200)
    return week.plan


@lru_cache(maxsize=1024)
def programme_of(board: Board, seed: int, node: str, group: int, role: str) -> Programme:
    """The week of the GPUs of one group: those that work on the same job together."""
    rng = random.Random(f"{seed} {node} {group} {role}")
    plan = _plan(role, rng)
    # Weeks begin on different days, lest the whole fleet changes jobs at once.
    origin_ms = DRIVER_LOADED_MS - rng.randrange(7) * _DAY_MS
    return Programme(
        [(planned, wave_of(board, planned.work, planned.variant)) for planned in plan],
        WEEK_MS,
        origin_ms,
    )


def lone_programme(wave: Wave, job: Job | None, since_ms: int, warm: int) -> Programme:
    """One wave for ever from ``since_ms`` on, before which the board was at ``warm``/1000 °C."""
    return Programme([(Planned(0, 0, "", 0, job), wave)], 2**53, since_ms, warm)
