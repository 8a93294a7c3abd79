from __future__ import annotations

from gpufleet.tui.picture import Point
from gpufleet.tui.timeline import resample


def point(time_ms: int, mean: float | None, high: float | None = None) -> Point:
    return Point(time_ms, mean, None, high)


def test_a_point_fills_the_columns_up_to_the_next() -> None:
    points = [point(0, 1.0), point(20_000, 2.0)]
    assert resample(points, 1000, 0, 40_000, 4).means == [1.0, 1.0, 2.0, 2.0]


def test_a_gap_stays_a_gap() -> None:
    points = [point(0, 1.0), point(300_000, 2.0)]
    found = resample(points, 1000, 0, 400_000, 4).means
    assert found == [1.0, None, None, 2.0]


def test_several_points_in_a_column_are_averaged_and_their_peak_is_kept() -> None:
    points = [point(0, 1.0, 5.0), point(1000, 3.0, 4.0)]
    found = resample(points, 1000, 0, 2000, 1)
    assert found.means == [2.0]
    assert found.highs == [5.0]


def test_points_outside_and_without_a_value_change_nothing() -> None:
    points = [point(-9000, 1.0), point(0, None), point(90_000, 1.0)]
    assert resample(points, 1000, 0, 4000, 2).means == [None, None]
    assert resample(points, 1000, 0, 4000, 0).means == ()
