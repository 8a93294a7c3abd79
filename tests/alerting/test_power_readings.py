"""A GPU that works and no longer tells its power."""

from __future__ import annotations

import math

import numpy as np

from gpufleet.alerting.power.readings import PowerReadings


def _ask(readings: PowerReadings, watts: float, used: float, slot: int = 1) -> float | None:
    flag = readings.unreadable(np.array([slot]), np.array([watts]), np.array([used]))[0]
    return None if math.isnan(flag) else float(flag)


def test_a_busy_gpu_that_told_its_power_before_is_unreadable_without() -> None:
    readings = PowerReadings(4)
    assert _ask(readings, 300.0, 0.9) == 0.0
    assert _ask(readings, math.nan, 0.9) == 1.0
    assert _ask(readings, 300.0, 0.9) == 0.0


def test_a_gpu_that_never_told_its_power_is_not_unreadable_now() -> None:
    assert _ask(PowerReadings(4), math.nan, 0.9) is None


def test_an_idle_gpu_without_power_may_be_asleep() -> None:
    readings = PowerReadings(4)
    _ask(readings, 20.0, 0.0)
    assert _ask(readings, math.nan, 0.0) is None
    assert _ask(readings, math.nan, math.nan) is None


def test_another_gpu_in_the_slot_has_told_nothing_and_more_slots_forget_nothing() -> None:
    readings = PowerReadings(2)
    _ask(readings, 300.0, 0.9)
    readings.grow(8)
    assert _ask(readings, math.nan, 0.9) == 1.0
    readings.forget(1)
    assert _ask(readings, math.nan, 0.9) is None
    assert _ask(readings, math.nan, 0.9, slot=7) is None
