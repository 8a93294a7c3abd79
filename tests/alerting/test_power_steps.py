"""What is an unexplained step of power, how long it lasts, and what ends it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpufleet.alerting.power.latch import Latch, Level, Memory, Step
from gpufleet.alerting.power.steps import PowerSteps

START_MS = 1_763_900_000_000
LIMIT = 400.0
BUSY = 0.95


class OneGpu:
    """Feeds one slot a value a second."""

    def __init__(self, slot: int = 4, every: int = 1) -> None:
        self.slot, self.every = slot, every
        self.steps = PowerSteps(16)
        self.now = START_MS

    def runs(
        self, seconds: int, watts: float, used: float = BUSY, limit: float = LIMIT
    ) -> list[float]:
        """The flag after each sample."""
        flags = []
        for _ in range(seconds // self.every):
            self.now += self.every * 1000
            self.steps.feed(
                np.array([self.slot]),
                np.array([self.now]),
                np.array([self.every * 1000]),
                np.array([watts]),
                np.array([limit]),
                np.array([used]),
            )
            flags.append(float(self.steps.flags[self.slot]))
        return flags

    @property
    def latched(self) -> bool:
        return bool(self.steps.latched(np.array([self.slot]))[0])

    def processes_change(self) -> None:
        self.steps.note_changed(np.array([self.slot]), np.array([self.now]))


@pytest.mark.parametrize(("watts", "found"), [(300 - 101, True), (300 - 99, False)])
def test_a_step_is_more_than_a_quarter_of_the_limit_down(watts: float, found: bool) -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(90, watts)
    assert gpu.latched is found


@pytest.mark.parametrize(("watts", "found"), [(200 + 101, True), (200 + 99, False)])
def test_a_step_is_more_than_a_quarter_of_the_limit_up(watts: float, found: bool) -> None:
    gpu = OneGpu()
    gpu.runs(400, 200)
    gpu.runs(90, watts)
    assert gpu.latched is found


def test_it_is_found_within_a_minute_and_tells_what_happened() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    at = gpu.now
    flags = gpu.runs(60, 180)
    assert flags[0] == 0.0
    assert flags[-1] == 1.0
    told = gpu.steps.step(gpu.slot)
    assert told is not None
    assert told == Step(pytest.approx(300.0), pytest.approx(180.0), LIMIT, told.since_ms)
    assert told.ratio == pytest.approx(-0.3)
    assert at + 30_000 <= told.since_ms <= at + 60_000


@pytest.mark.parametrize(("used", "found"), [(BUSY - 0.14, True), (BUSY - 0.16, False)])
def test_a_step_with_a_change_of_utilisation_of_15_points_is_explained(
    used: float, found: bool
) -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(200, 150, used)
    assert gpu.latched is found


def test_a_step_lasts_for_as_long_as_power_stays_away() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(60, 150)
    assert set(gpu.runs(3600, 150)) == {1.0}


@pytest.mark.parametrize(("watts", "latched"), [(300 - 61, True), (300 - 59, False)])
def test_it_ends_when_power_is_within_15_percent_of_where_it_was(
    watts: float, latched: bool
) -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(400, 150)
    flags = gpu.runs(100, watts)
    assert gpu.latched is latched
    assert flags[-1] == float(latched), "what has ended is known to be over"


@pytest.mark.parametrize(("used", "latched"), [(BUSY - 0.24, True), (BUSY - 0.26, False)])
def test_it_ends_when_utilisation_moves_by_more_than_25_points(used: float, latched: bool) -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(100, 150)
    gpu.runs(100, 150, used)
    assert gpu.latched is latched


def test_it_ends_when_processes_change() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(100, 150)
    gpu.processes_change()
    assert not gpu.latched
    assert gpu.runs(1, 150) == [0.0], "one good sample resolves the alert"


def test_it_ends_when_the_limit_changes() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(100, 150)
    gpu.runs(1, 150, limit=LIMIT / 2)
    assert not gpu.latched


@pytest.mark.parametrize("how", ["processes", "limit"])
def test_a_step_at_which_processes_or_the_limit_change_is_explained(how: str) -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    limit = LIMIT
    if how == "processes":
        gpu.processes_change()
    else:
        limit = 0.8 * LIMIT
    gpu.runs(600, 150, limit=limit)
    assert not gpu.latched


def test_a_change_of_processes_that_is_told_late_ends_what_was_found_meanwhile() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    began = gpu.now
    gpu.runs(70, 150)
    assert gpu.latched
    gpu.steps.note_changed(np.array([gpu.slot]), np.array([began]))
    assert not gpu.latched


def test_limits_that_differ_by_less_than_a_hundredth_are_the_same() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(100, 150, limit=LIMIT * 1.005)
    assert gpu.latched


def test_windows_are_absent_until_half_covered() -> None:
    gpu = OneGpu(slot=0)
    flags = gpu.runs(400, 300)
    first = flags.index(0.0)
    assert 210 <= first <= 225, "150 s of five minutes and the minute after them"
    assert all(math.isnan(flag) for flag in flags[:first])


def test_a_jump_before_the_windows_are_covered_is_none() -> None:
    gpu = OneGpu()
    gpu.runs(120, 300)
    gpu.runs(600, 150)
    assert not gpu.latched


def test_a_gap_is_no_evidence_and_ends_nothing() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(100, 150)
    gpu.now += 3_600_000
    flags = gpu.runs(60, 150)
    assert math.isnan(flags[15]), "half a minute of samples is needed to know"
    assert flags[-1] == 1.0
    gpu.now += 3_600_000
    assert gpu.runs(60, 300)[-1] == 0.0


def test_a_sample_without_power_is_no_sample() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(100, 150)
    assert math.isnan(gpu.runs(1, math.nan)[0])
    assert gpu.runs(1, 150) == [1.0]


def test_without_utilisation_nothing_is_known() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300, math.nan)
    flags = gpu.runs(200, 150, math.nan)
    assert not gpu.latched
    assert all(math.isnan(flag) for flag in flags)


def test_a_gpu_without_a_limit_is_not_judged() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300, limit=math.nan)
    assert math.isnan(gpu.runs(200, 100, limit=math.nan)[-1])
    assert math.isnan(gpu.runs(200, 100, limit=0.0)[-1])


def test_a_clock_that_is_set_back_begins_anew_and_keeps_what_was_found() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(100, 150)
    gpu.now -= 3_600_000
    assert gpu.runs(60, 150)[-1] == 1.0
    assert gpu.runs(60, 300)[-1] == 0.0


def test_a_clock_that_is_trimmed_loses_nothing() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.now -= 2_000
    assert not any(math.isnan(flag) for flag in gpu.runs(30, 300))


@pytest.mark.parametrize("every", [1, 2, 7, 10, 15, 30, 60])
def test_any_interval_up_to_a_minute_finds_it(every: int) -> None:
    gpu = OneGpu(every=every)
    gpu.runs(600, 300)
    gpu.runs(180, 150)
    assert gpu.latched


def test_a_level_that_was_there_in_the_five_minutes_before_is_none() -> None:
    gpu = OneGpu()
    for _ in range(10):
        gpu.runs(100, 350)
        gpu.runs(140, 180)
        assert not gpu.latched


def test_after_the_way_back_the_old_level_is_still_the_measure() -> None:
    gpu = OneGpu()
    gpu.runs(400, 350)
    gpu.runs(60, 150)
    gpu.runs(60, 350)
    assert not gpu.latched
    gpu.runs(60, 150)
    told = gpu.steps.step(gpu.slot)
    assert told is not None
    assert told.before_watts == pytest.approx(350)


def test_a_long_step_that_ends_is_not_a_step_the_other_way() -> None:
    gpu = OneGpu()
    gpu.runs(400, 350)
    gpu.runs(1200, 150)
    flags = gpu.runs(1200, 350)
    assert set(flags[60:]) == {0.0}


def test_another_gpu_in_the_slot_begins_with_nothing() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.runs(100, 150)
    gpu.steps.forget(gpu.slot)
    assert not gpu.latched
    assert gpu.steps.memory([gpu.slot]) == {}
    assert math.isnan(gpu.runs(100, 150)[-1])


def test_more_slots_keep_what_the_others_know() -> None:
    gpu = OneGpu()
    gpu.runs(400, 300)
    gpu.steps.grow(100)
    assert gpu.steps.capacity == 100
    assert len(gpu.steps.flags) == 100
    gpu.runs(60, 150)
    assert gpu.latched
    gpu.slot = 99
    gpu.runs(400, 300)
    gpu.runs(60, 150)
    assert gpu.latched


def test_each_second_a_tenth_of_the_fleet_is_looked_at() -> None:
    n = 100
    steps, slots = PowerSteps(n), np.arange(n)

    def feed(second: int, watts: float) -> int:
        before = steps.latched(slots)
        steps.feed(
            slots,
            np.full(n, START_MS + second * 1000),
            np.full(n, 1000),
            np.full(n, watts),
            np.full(n, LIMIT),
            np.full(n, BUSY),
        )
        return int((steps.latched(slots) & ~before).sum())

    for second in range(400):
        feed(second, 300)
    found = [feed(second, 150) for second in range(400, 460)]
    assert sum(found) == n
    assert sorted(found)[-10:] == [10] * 10


def test_what_has_to_survive_is_a_small_dictionary_that_reads_back() -> None:
    latch = Latch(0.75, 0.95, 400.0, START_MS)
    for memory in (
        Memory(),
        Memory(latch),
        Memory(None, START_MS),
        Memory(None, START_MS, Level(0.8, 1.0)),
        Memory(latch, START_MS, Level(0.8, 1.0)),
    ):
        assert Memory.from_json(memory.to_json()) == memory
    assert Memory().to_json() == {}


def test_a_restored_step_lasts_and_ends_without_its_history() -> None:
    gpu = OneGpu()
    gpu.steps.restore(gpu.slot, Memory(Latch(0.75, BUSY, LIMIT, START_MS - 60_000)))
    flags = gpu.runs(60, 150)
    assert flags[-1] == 1.0
    assert 0.0 not in flags
    told = gpu.steps.step(gpu.slot)
    assert told is not None
    assert told.since_ms == START_MS - 60_000
    assert gpu.runs(60, 290)[-1] == 0.0
