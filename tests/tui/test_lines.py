from __future__ import annotations

from typing import Any

import pytest

from gpufleet.client import columns
from gpufleet.client.lines import Line, Order, arrange, found_by, names_of, natural, summed
from gpufleet.tui import screen
from support.tui_rows import hostile, row, rows, unknown


def places(found: list[Line]) -> list[str]:
    return [f"{line.row['node']}/{line.row['index']}" if not line.group else line.title
            for line in found]  # fmt: skip


def test_few_gpus_have_a_line_each_in_order_of_place() -> None:
    found = screen.arrange([row("node10"), row("node2", 1), row("node2", 0)], Order())
    assert places(found) == ["node2/0", "node2/1", "node10/0"]


def test_many_gpus_are_folded_by_node() -> None:
    found = screen.arrange(rows(80), Order())
    assert places(found) == [f"node-{n}" for n in range(1, 11)]
    assert all(line.group and not line.open for line in found)


def test_a_group_opens_and_shows_its_gpus_below() -> None:
    order = Order("node", toggled=frozenset({"node:node-2"}), all_open=False)
    found = screen.arrange(rows(16, 8), order)
    assert places(found)[:3] == ["node-1", "node-2", "node-2/0"]
    assert len(found) == 10
    assert found[2].depth == 1


@pytest.mark.parametrize("descending", [False, True])
def test_what_has_no_value_comes_last_whatever_the_direction(descending: bool) -> None:
    known = [row("a", 0, temperature_celsius=50), row("a", 2, temperature_celsius=70)]
    without = row("a", 1, temperature_celsius=None)
    found = screen.arrange([without, *known], Order("none", "temp", descending))
    assert [line.row["temperature_celsius"] for line in found] == (
        [70, 50, None] if descending else [50, 70, None]
    )


@pytest.mark.parametrize("column", columns.SORTS)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("group", ["none", "node", "model", "user", "label.rack"])
def test_every_column_sorts_every_grouping(column: str, descending: bool, group: str) -> None:
    found = [*rows(20), *unknown(rows(4)), *hostile()]
    lines = screen.arrange(found, Order(group, column, descending, all_open=True))
    shown = [line for line in lines if not line.group]
    assert {line.row["uuid"] for line in shown} == {r["uuid"] for r in found}
    assert len({line.key for line in lines}) == len({(line.key) for line in lines})
    key = columns.BY_ID[column].key
    if column != "place" and group == "none":
        values = [key(line.row) for line in shown if key(line.row) is not None]
        assert values == sorted(values, reverse=descending)


def test_a_group_sums_up_its_members_and_knows_nothing_where_they_know_nothing() -> None:
    members = [
        row("a", 0, utilization_ratio=0.2, power_watts=100, temperature_celsius=40, health=1),
        row("a", 1, utilization_ratio=0.4, power_watts=200, temperature_celsius=60, health=None),
        row("a", 2, utilization_ratio=None, power_watts=None, temperature_celsius=None),
    ]
    found = summed("a", "node", members)
    assert found["utilization_ratio"] == pytest.approx(0.3)
    assert found["power_watts"] == 300
    assert found["temperature_celsius"] == 60
    assert (found["health"], found["levels"], found["unknown"]) == (1, (1, 1, 0, 0), 1)
    nothing = summed("a", "node", unknown(members))
    assert all(nothing[name] is None for name in ("utilization_ratio", "power_watts", "health"))


@pytest.mark.parametrize(
    ("of", "by", "names"),
    [
        ({"users": ["a", "b"]}, "user", ("a", "b")),
        ({"users": [], "jobs": [], "process_count": 0}, "user", ("(free)",)),
        ({"users": [], "jobs": ["4711"], "process_count": 0}, "user", ("(not known)",)),
        ({"users": [], "process_count": 2}, "user", ("(not known)",)),
        ({"users": [], "process_count": 0, "stale": True}, "user", ("(not known)",)),
        ({"labels": {"rack": "r7"}}, "label.rack", ("r7",)),
        ({"label.rack": "r8", "labels": None}, "label.rack", ("r8",)),
        ({"labels": None}, "label.rack", ("(no rack)",)),
        ({"name": None}, "model", ("(no model)",)),
    ],
)
def test_groups_of_a_gpu(of: dict[str, Any], by: str, names: tuple[str, ...]) -> None:
    assert names_of(row(**of), by) == names


def test_a_gpu_of_two_users_is_in_both_groups_under_keys_of_its_own() -> None:
    found = arrange([row(users=["a", "b"])], Order("user", all_open=True), lambda r: None)
    assert [line.key for line in found] == [
        "user:a", "GPU-node-1-0@a", "user:b", "GPU-node-1-0@b",
    ]  # fmt: skip


def test_names_sort_as_people_count() -> None:
    assert sorted(["n10", "n2", "N1", "²", "n"], key=natural)[:4] == ["n", "N1", "n2", "n10"]


def test_a_search_goes_round_once_and_looks_at_names_users_and_reasons() -> None:
    found = screen.arrange([row("a", health_reasons=["ECC"]), row("b", users=["Zoë"])], Order())
    assert found_by(found, "ecc", 1, 1) == 0
    assert found_by(found, "zoë", 0, 1) == 1
    assert found_by(found, "b/0", 0, 1) == 1
    assert found_by(found, "nobody", 0, 1) is None
    assert found_by([], "a", 0, 1) is None
