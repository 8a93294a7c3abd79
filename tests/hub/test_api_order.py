"""Sort orders and cursors of the list of GPUs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.hub.api.gpu_list import FIELDS, GpuQuery, Plan, ordered, page, plan
from gpufleet.hub.api.natural import natural_key
from gpufleet.hub.api.order import OrderError, parse_sort
from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.table import Table
from support.fleet_builder import FleetBuilder, large_fleet, vary


def uuids(table: Table, sort: str) -> list[str]:
    found = ordered(table, plan(GpuQuery(sort=sort)))
    return [table.gpus.subjects[i].key for i in found.tolist()]


def fleet(*temperatures: float | None) -> Table:
    builder = FleetBuilder()
    builder.node("n")
    for i, celsius in enumerate(temperatures):
        values = {} if celsius is None else {"temperature_celsius": celsius}
        builder.gpu("n", i, values, uuid=f"GPU-{i}")
    return Table(builder.snapshot())


def test_absent_values_come_last_in_both_directions() -> None:
    table = fleet(50, None, 70, 60)
    assert uuids(table, "temp") == ["GPU-0", "GPU-3", "GPU-2", "GPU-1"]
    assert uuids(table, "-temp") == ["GPU-2", "GPU-3", "GPU-0", "GPU-1"]


def test_equal_values_keep_the_order_of_node_and_index() -> None:
    assert uuids(fleet(5, 5, 4, 5), "-temp") == ["GPU-0", "GPU-1", "GPU-3", "GPU-2"]


def test_names_sort_as_people_count() -> None:
    builder = FleetBuilder()
    for name in ("node10", "node9", "node1", "Node2"):
        builder.node(name, labels={"rack": name.removeprefix("node")})
        builder.gpu(name, uuid=name)
    table = Table(builder.snapshot())
    assert uuids(table, "") == ["Node2", "node1", "node9", "node10"]
    assert uuids(table, "-node") == ["node10", "node9", "node1", "Node2"]
    assert uuids(table, "label.rack") == ["node1", "node9", "node10", "Node2"]


@given(st.text(max_size=30), st.text(max_size=30))
def test_every_text_has_a_place_and_different_texts_have_different_ones(a: str, b: str) -> None:
    assert (natural_key(a) == natural_key(b)) == (a == b)
    assert (natural_key(a) < natural_key(b)) != (natural_key(a) >= natural_key(b))


def test_a_number_of_any_length_sorts() -> None:
    assert natural_key("n" + "9" * 9000) > natural_key("n1")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("tempp", "did you mean 'temp'?"),
        ("-", "there is no field ''"),
        ("temp," * 9, "at most 6 fields"),
    ],
)
def test_a_sort_order_that_cannot_be_used_is_refused(text: str, part: str) -> None:
    with pytest.raises(OrderError, match=part.replace("?", r"\?")):
        parse_sort(text, FIELDS)


def pages(table: Table, asked: Plan, limit: int) -> list[list[str]]:
    found, cursor = [], ""
    while True:
        one = page(table, asked, limit, cursor)
        found.append([row["uuid"] for row in one["gpus"]])
        cursor = one["next_cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize("sort", ["", "-temp", "temp,-node", "-name,index", "-user,temp", "stale"])
def test_pages_hold_every_gpu_once_in_order(sort: str) -> None:
    builder = FleetBuilder()
    for n in range(7):
        node = builder.node(f"node{n}")
        for i in range(5):
            values = {} if i == 3 else {"temperature_celsius": 40 + (n * i) % 4}
            builder.gpu(node, i, values, stale=(n + i) % 6 == 0)
            if i % 2:
                builder.process(node, f"GPU-{node}-{i}", i, user=f"user{n}")
    table = Table(builder.snapshot())
    asked = plan(GpuQuery(sort=sort, fields="uuid"))
    found = pages(table, asked, 4)
    assert [uuid for one in found for uuid in one] == uuids(table, sort)
    assert all(len(one) == 4 for one in found[:-1])


def test_a_cursor_keeps_its_place_while_values_change() -> None:
    before = large_fleet(20, 4)
    asked = plan(GpuQuery(sort="-temp", fields="temp"))
    first = page(Table(before), asked, 30, "")
    last = first["gpus"][-1]["temperature_celsius"]
    later = Table(vary(before, 9))
    second = page(later, asked, 1000, first["next_cursor"])
    shown = [row["temperature_celsius"] for row in second["gpus"]]
    assert shown == sorted(shown, reverse=True)
    column = later.numbers("temperature_celsius")
    assert len(shown) >= np.count_nonzero(column < last) > 0
    assert max(shown) <= last


@pytest.mark.parametrize(
    ("cursor", "part"),
    [
        ("x", "not one that this hub gave"),
        ("!!!!", "not one that this hub gave"),
        ("ä", "not one that this hub gave"),
        ("e30", "not one that this hub gave"),
        ("WyIiLFtdXQ", "not one that this hub gave"),
        ("WyItdGVtcCIsWzFdLCJuIiwwLCJ1Il0", "belongs to another sort order"),
        ("WyIiLFsxXSwibiIsMCwidSJd", "belongs to another sort order"),
    ],
)
def test_a_cursor_that_is_none_is_refused(cursor: str, part: str) -> None:
    with pytest.raises(Problem, match=part):
        page(fleet(1, 2), plan(GpuQuery()), 1, cursor)


def test_a_cursor_with_a_value_of_the_wrong_kind_is_refused() -> None:
    table = fleet(1, 2)
    asked = plan(GpuQuery(sort="name"))
    good = page(table, asked, 1, "")["next_cursor"]
    assert page(table, asked, 1, good)["gpus"]
    with pytest.raises(Problem, match="not one that this hub gave"):
        page(table, asked, 1, "WyJuYW1lIixbMV0sIm4iLDAsInUiXQ")
