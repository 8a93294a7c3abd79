from __future__ import annotations

import pytest

from gpufleet.tui import charts
from gpufleet.tui.theme import Depth, shade
from support.tui_rows import styles

DARK = styles()
ASCII = styles("mono", Depth.NONE, unicode=False)


@pytest.mark.parametrize(
    ("ratio", "filled"),
    [(None, 0), (0.0, 0), (0.001, 1), (0.5, 5), (0.94, 9), (1.0, 10), (7.0, 10), (-1.0, 0)],
)
def test_a_bar_is_filled_by_its_ratio_and_no_farther(ratio: float | None, filled: int) -> None:
    drawn = charts.bar(ratio, 10, ASCII.load, ASCII)
    assert drawn.lines() == ["|" * filled + "." * (10 - filled)]


def test_a_bars_colours_run_along_the_ramp() -> None:
    drawn = charts.bar(1.0, 8, DARK.load, DARK)
    assert drawn.styles[0][0] == DARK.load[0]
    assert drawn.styles[0][-1] == DARK.load[-1]


def test_a_sparkline_shows_the_newest_at_the_right_and_gaps_as_gaps() -> None:
    drawn = charts.sparkline([0.0, 1.0, None, 0.5], 6, DARK.load, DARK)
    assert drawn.lines() == ["  ▁▇ ▄"]
    assert charts.sparkline([1.0, 0.0, 1.0], 2, DARK.load, DARK).lines() == ["▁▇"]
    assert charts.sparkline([1.0], 0, DARK.load, DARK).lines() == [""]


def test_an_area_has_two_columns_and_four_dots_a_cell() -> None:
    drawn = charts.area([0.0, 1.0, None, 0.5], 2, 2, DARK.load, DARK)
    assert drawn.lines() == ["⢸⢀", "⣸⢸"]
    assert drawn.styles[0][0] == shade(DARK.load, 6 / 8)
    assert drawn.styles[1][0] == shade(DARK.load, 2 / 8)


def test_peaks_stand_out_above_the_means() -> None:
    drawn = charts.area([0.0, 0.0], 1, 2, DARK.load, DARK, highs=[1.0, None])
    assert drawn.lines() == ["⠁", "⣀"]


def test_a_terminal_without_braille_gets_signs_of_the_same_density() -> None:
    drawn = charts.area([1.0, 1.0, 0.4, 0.4], 2, 2, ASCII.load, ASCII)
    assert drawn.lines() == ["# ", "##"]


def test_more_values_than_room_show_the_newest() -> None:
    many = charts.area([0.0] * 100 + [1.0, 1.0], 1, 1, DARK.load, DARK)
    assert many.lines() == ["⣿"]
