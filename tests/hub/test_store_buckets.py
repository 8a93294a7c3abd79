"""Widths of buckets, and what each kind of metric shows in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.hub.store.buckets import (
    INTERVALS_MS,
    WIDTHS_MS,
    Values,
    bucket_width,
    buckets,
    single_samples,
    source_step,
)
from gpufleet.proto.catalog import BY_NAME
from support.stored import HOUR

TEMPERATURE = BY_NAME["temperature_celsius"]
POWER = BY_NAME["power_watts"]
ENERGY = BY_NAME["energy_joules_total"]
CLOCK = BY_NAME["clock_sm_hertz"]
STATE = BY_NAME["performance_state"]
THROTTLE = BY_NAME["throttle_reasons"]
DAY = 86_400_000


def every_second(raw: list[int], present: list[bool] | None = None) -> Values:
    return Values(
        HOUR + 1000 * np.arange(len(raw)),
        np.array(raw, np.int64),
        None if present is None else np.array(present),
    )


def listed(array: np.ndarray) -> list[float | None]:
    return [None if value != value else value for value in array.tolist()]


@pytest.mark.parametrize(
    ("span", "points", "step", "width"),
    [
        (DAY, 500, 1000, 300_000),
        (DAY, 1440, 1000, 60_000),
        (DAY, 86_400, 1000, 1000),
        (3_600_000, 500, 1000, 10_000),
        (3_600_000, 720, 2000, 10_000),
        (3_600_000, 720, 5000, 5000),
        (3_600_000, 240, 15_000, 15_000),
        (3_600_000, 360, 15_000, 15_000),
        (600_000, 300, 15_000, 15_000),
        (400 * DAY, 10, 60_000, 56 * DAY),
    ],
)
def test_widths_are_round_multiples_of_the_step(
    span: int, points: int, step: int, width: int
) -> None:
    assert bucket_width(HOUR, HOUR + span, points, step) == width


@given(
    start=st.integers(0, 4 * 10**12),
    span=st.integers(1, 400 * DAY),
    points=st.integers(1, 2000),
    step=st.sampled_from(INTERVALS_MS),
)
def test_no_width_gives_more_points_than_asked_for(
    start: int, span: int, points: int, step: int
) -> None:
    width = bucket_width(start, start + span, points, step)
    empty = Values(np.empty(0, np.int64), np.empty(0, np.int64))
    answer = buckets(TEMPERATURE, empty, start, start + span, width, step)
    assert 1 <= len(answer.n) <= points
    assert width % step == 0
    assert all(time % width == 0 for time in answer.times_ms.tolist())
    assert answer.times_ms[0] <= start
    assert answer.times_ms[-1] < start + span <= answer.times_ms[-1] + width


def test_the_step_is_the_usual_distance_even_with_gaps() -> None:
    seconds = np.array([0, 5, 10, 15, 25, 30, 1000, 1005])
    assert source_step([HOUR + 1000 * seconds]) == 5000
    assert source_step([HOUR + 1000 * np.arange(9), HOUR + 5000 * np.arange(9)]) == 5000
    assert source_step([HOUR + 2000 * np.arange(9), HOUR + 5000 * np.arange(9)]) == 10_000
    assert source_step([np.array([HOUR])]) == 1000
    assert all(width % 60_000 == 0 for width in WIDTHS_MS if width > 60_000)


def test_gauges_have_average_least_and_greatest() -> None:
    values = every_second([100_000, 200_000, 600_000, 0, 50_000])
    answer = buckets(POWER, values, HOUR, HOUR + 8000, 2000, 1000)
    assert answer.times_ms.tolist() == [HOUR, HOUR + 2000, HOUR + 4000, HOUR + 6000]
    assert answer.n.tolist() == [2, 2, 1, 0]
    assert listed(answer.columns["avg"]) == [150.0, 300.0, 50.0, None]
    assert listed(answer.columns["min"]) == [100.0, 0.0, 50.0, None]
    assert listed(answer.columns["max"]) == [200.0, 600.0, 50.0, None]


def test_absent_values_are_counted_nowhere() -> None:
    values = every_second([50, 0, 60, 0], [True, False, True, False])
    answer = buckets(TEMPERATURE, values, HOUR, HOUR + 4000, 2000, 1000)
    assert answer.n.tolist() == [1, 1]
    assert listed(answer.columns["min"]) == [50.0, 60.0]
    single = single_samples(TEMPERATURE, values, 1000)
    assert single.n.tolist() == [1, 0, 1, 0]
    assert listed(single.columns["avg"]) == [50.0, None, 60.0, None]


def test_scales_go_both_ways() -> None:
    answer = single_samples(CLOCK, every_second([1980]), 1000)
    assert answer.columns["max"].tolist() == [1_980_000_000.0]


def test_a_counters_increase_outlives_a_reset_and_a_bucket() -> None:
    values = every_second([1000, 3000, 4000, 500, 1500, 1500])
    answer = buckets(ENERGY, values, HOUR, HOUR + 8000, 2000, 1000)
    assert listed(answer.columns["last"]) == [3.0, 0.5, 1.5, None]
    assert listed(answer.columns["increase"]) == [2.0, 1.0, 1.0, None]


def test_a_counters_first_sample_has_no_increase() -> None:
    answer = single_samples(ENERGY, every_second([1000, 3000], [True, True]), 1000)
    assert listed(answer.columns["increase"]) == [None, 2.0]


def test_states_are_never_averaged() -> None:
    answer = buckets(STATE, every_second([0, 8, 2]), HOUR, HOUR + 4000, 4000, 1000)
    assert set(answer.columns) == {"last", "min", "max"}
    assert [answer.columns[name][0] for name in ("last", "min", "max")] == [2.0, 0.0, 8.0]


def test_bits_are_joined_and_their_time_is_counted() -> None:
    high = 1 << 62
    values = every_second([0x4, 0x40 | high, 0, 0], None)
    answer = buckets(THROTTLE, values, HOUR, HOUR + 6000, 2000, 1000)
    assert answer.columns["bits"].tolist() == [0x44 | high, 0, 0]
    assert listed(answer.columns["active_seconds"]) == [2.0, 0.0, None]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50))
def test_any_counter_gives_increases_that_are_not_negative(raw: list[int]) -> None:
    increase = single_samples(ENERGY, every_second(raw), 1000).columns["increase"]
    assert np.isnan(increase[0])
    assert (increase[1:] >= 0).all()
