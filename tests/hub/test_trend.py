"""Recent load in memory: means of ten seconds, and what becomes of them as time goes on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.hub.trend import POINTS, STEP_MS, LoadTrend

BEGIN = 1_780_000_000_000


def fed(looks: list[tuple[int, list[float]]]) -> LoadTrend:
    """A trend that was told these loads at these seconds."""
    trend = LoadTrend()
    for seconds, loads in looks:
        trend.note(BEGIN + seconds * 1000, np.array(loads))
    return trend


def last(trend: LoadTrend, points: int, slot: int = 0) -> list[float | None]:
    """The newest values of a slot, absent ones as None."""
    (values,) = trend.view.ratios(np.array([slot]), points)
    return [None if value != value else round(float(value), 2) for value in values]


def test_a_step_is_the_mean_of_what_was_seen_in_it() -> None:
    trend = fed([(0, [0.2]), (5, [0.6]), (10, [1.0])])
    assert last(trend, 2) == [None, 0.4]
    assert trend.view.end_ms == BEGIN + STEP_MS


def test_a_step_that_is_not_over_is_not_told() -> None:
    assert last(fed([(0, [0.2]), (9, [0.6])]), 2) == [None, None]


def test_absent_values_do_not_count_and_a_step_without_any_is_absent() -> None:
    trend = fed([(0, [0.2]), (5, [np.nan]), (10, [np.nan]), (20, [0.5])])
    assert last(trend, 2) == [0.2, None]


def test_steps_in_which_nobody_looked_are_absent() -> None:
    assert last(fed([(0, [0.2]), (31, [0.6]), (40, [0.1])]), 5) == [None, 0.2, None, None, 0.6]


def test_a_gpu_that_comes_later_has_no_past() -> None:
    trend = fed([(0, [0.2]), (10, [0.4, 0.9]), (20, [0.4, 0.9])])
    assert last(trend, 2, slot=1) == [None, 0.9]
    assert last(trend, 2, slot=7) == [None, None]


def test_a_clock_that_is_set_back_begins_anew() -> None:
    trend = fed([(0, [0.2]), (10, [0.4]), (20, [0.4]), (-3600, [0.9]), (-3590, [0.9])])
    assert last(trend, 3) == [None, None, 0.9]
    assert trend.view.end_ms == BEGIN - 3590_000


def test_looking_more_than_once_a_second_changes_nothing() -> None:
    often = LoadTrend()
    for ms in range(0, 20_000, 100):
        often.note(BEGIN + ms, np.array([1.0 if ms % 1000 == 0 else 0.0]))
    assert last(often, 1) == [1.0]


@given(
    st.lists(
        st.tuples(
            st.integers(-400, 4000),
            st.lists(st.one_of(st.floats(-1, 2), st.just(np.nan)), max_size=4),
        ),
        max_size=30,
    )
)
def test_whatever_comes_the_view_keeps_its_shape_and_its_range(
    looks: list[tuple[int, list[float]]],
) -> None:
    trend = fed(looks)
    ratios = trend.view.ratios(np.arange(5), POINTS)
    assert ratios.shape == (5, POINTS)
    assert np.all(np.isnan(ratios) | ((ratios >= 0) & (ratios <= 1)))


@pytest.mark.parametrize("points", [1, 60, POINTS])
def test_as_many_points_as_were_asked_for(points: int) -> None:
    assert fed([(0, [0.5]), (10, [0.5])]).view.ratios(np.array([0]), points).shape == (1, points)
