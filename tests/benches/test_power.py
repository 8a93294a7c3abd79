"""The power bench in small: faults are found, GPUs at work are left alone, with wide margins."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from benches import power_faults, power_fleet
from benches.power import Alarm, false_alarms, found, watch
from benches.power_faults import Fault, inject
from benches.power_fleet import WORK, day_of

HOURS_3 = 3 * 3600


def _days_with(kind: str, count: int) -> tuple[list[power_fleet.Day], list[Fault]]:
    rng = np.random.default_rng(5)
    days, faults, number = [], [], 0
    while len(faults) < count:
        work = ("training", "inference", "simulation")[number % 3]
        day = day_of(11, number, work, HOURS_3)
        fault = inject(rng, day, kind)
        number += 1
        if fault is not None:
            days.append(day)
            faults.append(fault)
    return days, faults


def test_most_faults_are_told_of_and_few_alarms_are_false() -> None:
    days, faults = [], []
    for kind in ("step", "cap", "hang", "zero"):
        more, theirs = _days_with(kind, 4)
        days += more
        faults += theirs
    outcome = watch(days, interval=5)
    told = found(faults, outcome.fired)
    assert len(told) >= 12
    assert all(300 < delay < 1500 for delay in told.values())
    assert len(false_alarms(faults, outcome.fired)) <= 2


def test_gpus_at_work_give_hardly_an_alarm_though_steps_come_and_go() -> None:
    works = ["training"] * 8 + ["reinforcement"] * 2 + ["inference"] * 6 + ["notebook", "idle"]
    days = [day_of(21, number, work, HOURS_3) for number, work in enumerate(works)]
    outcome = watch(days, interval=5)
    assert len(outcome.fired) <= 2
    assert len(outcome.steps) >= 5, "pauses in barriers are steps that the five minutes hold back"


@pytest.mark.parametrize("work", list(WORK))
def test_a_day_is_the_same_for_the_same_seed_and_within_what_the_board_can_do(work: str) -> None:
    day, again, other = (day_of(seed, 6, work, 7200) for seed in (1, 1, 2))
    np.testing.assert_array_equal(day.power, again.power)
    assert day.changes == again.changes
    assert not np.array_equal(day.power, other.power)
    assert np.nanmin(day.power) >= 0.95 * day.board.idle
    assert np.nanmax(day.power) <= 1.05 * day.board.limit
    assert np.nanmin(day.utilization) >= 0.0
    assert np.nanmax(day.utilization) <= 1.0


def test_nothing_that_makes_days_or_faults_knows_the_detector() -> None:
    for module in (power_fleet, power_faults):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules += [
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        ]
        assert modules
        assert not any(name and name.startswith("gpufleet") for name in modules)


def test_an_alarm_during_a_fault_is_its_own_and_any_other_is_false() -> None:
    faults = [Fault("step", 1000, 2000, 0.3)]
    fired = [Alarm(0, second) for second in (999, 1400, 1500, 2599, 2600)]
    assert found(faults, fired) == {0: 400}
    assert [alarm.second for alarm in false_alarms(faults, fired)] == [999, 2600]
