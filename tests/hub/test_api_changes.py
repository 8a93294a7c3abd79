"""Differences between two views of the fleet turn the one into the other."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpufleet.hub.api.changes import View, difference, view, whole
from gpufleet.hub.api.gpu_list import GpuQuery, plan
from gpufleet.hub.api.table import Table
from support.fleet_builder import FleetBuilder, large_fleet, vary
from support.stream_reader import Mirror

CELLS = st.dictionaries(
    st.sampled_from("abcdefgh"), st.tuples(st.none() | st.integers(0, 2), st.booleans())
)


def made(version: int, cells: dict[str, tuple[Any, ...]]) -> View:
    rows = {uuid: (uuid, *values) for uuid, values in cells.items()}
    return View(version, None, len(rows), ("uuid", "temp", "stale"), rows)


@given(CELLS, CELLS)
def test_a_reader_that_applies_the_difference_has_the_new_view(
    old: dict[str, tuple[Any, ...]], new: dict[str, tuple[Any, ...]]
) -> None:
    mirror = Mirror(whole(made(1, old)))
    mirror.apply(difference(made(1, old), made(2, new)))
    expected = whole(made(2, new))
    assert mirror.rows == expected["gpus"]
    assert (mirror.version, mirror.total) == (2, len(new))


def test_only_changed_cells_are_in_a_difference() -> None:
    asked = plan(GpuQuery(fields="node,temp,power"))
    builder = FleetBuilder()
    builder.node("n")
    builder.gpu("n", 0, {"temperature_celsius": 50, "power_watts": 100})
    builder.gpu("n", 1, {"temperature_celsius": 60, "power_watts": 100})
    before = view(Table(builder.snapshot()), asked, 10)
    builder.columns[1] = {"temperature_celsius": 61}
    builder.version = 2
    after = view(Table(builder.snapshot()), asked, 10)
    found = difference(before, after)
    assert found["cells"] == {"GPU-n-1": {"temperature_celsius": 61, "power_watts": None}}
    assert set(found) == {"version", "time", "total", "cells"}


def test_the_hottest_few_of_a_large_fleet_follow_its_changes() -> None:
    asked = plan(GpuQuery("temp>100", "-temp,node", "temp,node"))
    snapshot = large_fleet(40, 8)
    shown = view(Table(snapshot), asked, 20)
    mirror = Mirror(whole(shown))
    for seed in range(5):
        snapshot = vary(snapshot, seed)
        new = view(Table(snapshot), asked, 20)
        mirror.apply(difference(shown, new))
        shown = new
        assert mirror.rows == whole(new)["gpus"]
        temperatures = [row["temperature_celsius"] for row in mirror.rows]
        assert temperatures == sorted(temperatures, reverse=True)
