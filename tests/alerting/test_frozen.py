"""Telemetry that stands still: told of a GPU that works, never of one that moves or rests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpufleet.alerting.frozen import HOLD_MS, METRICS, Frozen

NONE = math.nan
FROZEN, MOVES, UNKNOWN = "frozen", "moves", "unknown"


def _told(rows: list[tuple[float, float, float, float]], every_ms: int = 1000) -> list[str]:
    """What is said at each sample of one GPU beside another that moves."""
    frozen = Frozen(2)
    said = []
    for number, row in enumerate(rows):
        readings = np.array([row, (500 + number, 10.0 * number, 60, 0.9)]).T
        assert readings.shape == (len(METRICS), 2)
        ticks = np.full(2, 1_000_000 + number * every_ms)
        mine, other = frozen.feed(np.array([0, 1]), ticks, readings)
        assert other == 0 or number == 0
        said.append(UNKNOWN if math.isnan(mine) else FROZEN if mine else MOVES)
    return said


STILL = HOLD_MS // 1000


def test_a_gpu_at_work_that_repeats_itself_is_told_after_half_a_minute() -> None:
    rows = [(500.0 + i, 1000.0 * i, 60, 0.9) for i in range(5)] + [(512.3, 9e4, 61, 0.9)] * 40
    assert _told(rows) == [UNKNOWN] + [MOVES] * (4 + STILL) + [FROZEN] * (41 - 1 - STILL)


def test_after_a_restart_nothing_is_known_before_half_a_minute() -> None:
    assert _told([(512.3, 9e4, 61, 0.9)] * 35) == [UNKNOWN] * STILL + [FROZEN] * 5


@pytest.mark.parametrize("moving", range(4))
def test_one_reading_that_moves_is_enough(moving: int) -> None:
    rows = [
        tuple(v + 0.001 * n * (i == moving) for i, v in enumerate((512.3, 9e4, 61, 0.9)))
        for n in range(60)
    ]
    assert set(_told(rows)) == {UNKNOWN, MOVES}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "row",
    [
        (9.1, NONE, 31, 0.0),  # at rest, its energy is not counted
        (NONE, NONE, 60, 0.9),  # tells no power
        (0.0, 7.0, 25, 0.0),  # asleep
    ],
)
def test_a_gpu_that_need_not_move_is_not_told(row: tuple[float, float, float, float]) -> None:
    assert set(_told([row] * 90)) == {UNKNOWN}


def test_a_gpu_at_rest_whose_energy_is_counted_and_does_not_grow_is_told() -> None:
    assert _told([(60.0, 9e4, 31, 0.0)] * 40)[-1] == FROZEN


def test_a_clock_that_was_set_back_begins_anew() -> None:
    frozen = Frozen(1)
    slot, readings = np.array([0]), np.array([[512.3], [9e4], [61.0], [0.9]])
    for at in range(40):
        last = frozen.feed(slot, np.array([5_000_000 + at * 1000]), readings)
    assert last == [1.0]
    assert math.isnan(frozen.feed(slot, np.array([1_000_000]), readings)[0])


def test_another_gpu_in_the_slot_begins_from_nothing_and_there_is_room_for_more() -> None:
    frozen = Frozen(1)
    frozen.grow(4)
    slot, readings = np.array([3]), np.array([[512.3], [9e4], [61.0], [0.9]])
    for at in range(40):
        frozen.feed(slot, np.array([5_000_000 + at * 1000]), readings)
    frozen.forget(3)
    assert math.isnan(frozen.feed(slot, np.array([5_040_000]), readings)[0])
