"""Samples of power that are out of bounds whatever came before them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpufleet.alerting.power.bounds import power_bounds


def _of(watts: float, used: float, readable: bool = True, limit: float = 400.0) -> list[str]:
    bounds = power_bounds(
        np.array([watts]), np.array([limit]), np.array([used]), np.array([readable])
    )
    names = ("above_limit", "zero", "unreadable")
    return [name for name in names if getattr(bounds, name)[0]]


@pytest.mark.parametrize(
    ("watts", "used", "found"),
    [
        (420.0, 1.0, []),
        (420.1, 1.0, ["above_limit"]),
        (420.1, math.nan, ["above_limit"]),
        (0.0, 0.01, ["zero"]),
        (0.0, 0.0, []),
        (0.0, math.nan, []),
        (math.nan, 0.5, ["unreadable"]),
        (math.nan, 0.0, []),
        (math.nan, math.nan, []),
    ],
)
def test_power_above_its_limit_or_none_under_load(
    watts: float, used: float, found: list[str]
) -> None:
    assert _of(watts, used) == found


def test_a_gpu_that_never_told_its_power_is_not_unreadable_now() -> None:
    assert _of(math.nan, 0.5, readable=False) == []


def test_without_a_limit_nothing_is_above_it() -> None:
    assert _of(420.1, 1.0, limit=math.nan) == []
