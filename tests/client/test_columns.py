"""The view model that clients share: cells as text, how bad they are, and how the hub sorts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.alerting import health_limits
from gpufleet.client import columns, severity
from gpufleet.client.lines import Line, Order, arrange
from gpufleet.client.query import ListQuery
from gpufleet.client.severity import Severity
from gpufleet.hub.api.gpu_list import FIELDS, GpuQuery, plan
from gpufleet.proto.catalog import HEALTH_STATES
from support.fleet_builder import FleetBuilder, PublishedHub
from support.http_client import document

BUSY: dict[str, Any] = {
    "uuid": "GPU-1",
    "node": "dgx-01",
    "index": 3,
    "name": "NVIDIA H100 80GB HBM3",
    "health": 1,
    "health_reasons": ["It is warm"],
    "utilization_ratio": 0.873,
    "memory_used_bytes": 61.2 * 2**30,
    "memory_total_bytes": 79.6 * 2**30,
    "temperature_celsius": 84,
    "temperature_margin_celsius": 3,
    "power_watts": 612.4,
    "power_limit_watts": 700,
    "clock_sm_hertz": 1_980_000_000,
    "fan_speed_ratio": None,
    "users": ["alice", "bob"],
    "process_count": 2,
}


def cells(row: dict[str, Any]) -> dict[str, str]:
    line = Line(str(row.get("uuid")), row)
    return {column.id: column.text(line) for column in columns.COLUMNS}


def test_a_gpus_cells_have_their_units() -> None:
    found = cells(BUSY)
    assert found == {
        "letter": "C",
        "place": "dgx-01 / GPU 3",
        "model": "H100 80GB HBM3",
        "load": "87%",
        "memory": "61.2/79.6G",
        "temp": "84°",
        "power": "612/700W",
        "fan": "-",
        "clock": "1980MHz",
        "users": "alice, bob",
        "health": "caution: It is warm",
        "gpus": "",
        "processes": "2",
        "nodes": "dgx-01",
        "programs": "",
        "jobs": "",
        "spark": "",
    }


def test_of_nothing_known_every_cell_is_a_dash_or_empty() -> None:
    found = cells({"uuid": "GPU-1"})
    assert {found[name] for name in ("load", "memory", "temp", "power", "fan", "clock")} == {"-"}
    assert (found["letter"], found["health"]) == ("?", "unknown")
    for column in columns.COLUMNS:
        assert column.severity({}) in (Severity.NONE, Severity.UNKNOWN)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"users": ["alice"]}, "alice"),
        ({"process_count": 1}, "1 process"),
        ({"process_count": 1200}, "1,200 processes"),
        ({"process_count": 0}, "free"),
        ({"process_count": 0, "stale": True}, "-"),
        ({}, "-"),
    ],
)
def test_who_is_on_a_gpu(row: dict[str, Any], text: str) -> None:
    assert columns.users_text(row) == text
    assert (columns.users_severity(row) is Severity.HEALTHY) == (text == "free")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"health": 0}, Severity.HEALTHY),
        ({"health": 3}, Severity.CRITICAL),
        ({"health": None}, Severity.UNKNOWN),
        ({"health": 1, "stale": True}, Severity.UNKNOWN),
        ({"health": 3, "stale": True}, Severity.CRITICAL),
        ({"health": 1, "stale": True, "fault": "lost"}, Severity.CAUTION),
    ],
)
def test_a_stale_gpu_has_no_health_unless_it_broke_before(
    row: dict[str, Any], expected: Severity
) -> None:
    assert severity.of_health(row) is expected
    assert expected in severity.COLOURS


@pytest.mark.parametrize(
    ("margin", "expected"),
    [(None, Severity.NONE), (6, Severity.NONE), (5, Severity.CAUTION), (0, Severity.CAUTION),
     (-1, Severity.WARNING)],
)  # fmt: skip
def test_temperature_is_judged_against_the_slowdown_threshold(
    margin: float | None, expected: Severity
) -> None:
    row = {"temperature_celsius": 80, "temperature_margin_celsius": margin}
    assert severity.of_temperature(row) is expected


def test_a_fan_that_stands_still_on_a_hot_gpu_is_a_warning() -> None:
    hot = {"fan_speed_ratio": 0, "temperature_celsius": 61}
    assert severity.of_fan(hot) is Severity.WARNING
    assert severity.of_fan({**hot, "temperature_celsius": 60}) is Severity.NONE


def test_limits_and_names_are_the_hubs() -> None:
    assert severity.MARGIN_CELSIUS == health_limits.MARGIN_CELSIUS
    assert severity.FAN_NEEDED_ABOVE_CELSIUS == health_limits.FAN_NEEDED_ABOVE_CELSIUS
    assert tuple(HEALTH_STATES) == severity.LEVELS


def test_every_field_is_one_that_the_hub_has() -> None:
    for users in (False, True):
        for name in columns.fields(users):
            FIELDS.find(name)


@pytest.mark.parametrize("column", [*columns.SORTS, *columns.USER_SORTS])
@pytest.mark.parametrize("descending", [False, True])
def test_every_sort_order_is_one_that_the_hub_takes(column: str, descending: bool) -> None:
    plan(GpuQuery(sort=columns.hub_sort(column, descending)))


@pytest.mark.parametrize("column", ["place", "load", "temp", "power", "memory", "model"])
@pytest.mark.parametrize("descending", [False, True])
def test_the_hub_sorts_a_list_as_the_client_does(column: str, descending: bool) -> None:
    builder = FleetBuilder()
    for n, node in enumerate(("n10", "n2", "n1")):
        builder.node(node)
        for index in range(3):
            value = (n * 7 + index * 5) % 4
            known = {
                "utilization_ratio": value / 4,
                "temperature_celsius": 40 + value,
                "power_watts": 100 + value,
                "memory_used_bytes": value,
                "memory_total_bytes": 10,
            }
            name = f"NVIDIA M{value}"
            builder.gpu(node, index, {} if index == 2 and n == 1 else known, name=name)
    sort = columns.hub_sort(column, descending)
    query = ListQuery(fields=(*columns.fields(False), "labels"), sort=sort)
    asked = "&".join(f"{name}={value}" for name, value in query.page().items())
    rows = document(PublishedHub(builder.snapshot()), f"/api/v1/gpus?{asked}")["gpus"]
    order = Order("none", column, descending)
    here = arrange(rows, order, columns.BY_ID[column].key)
    assert [line.row["uuid"] for line in here] == [row["uuid"] for row in rows]


@given(
    st.fixed_dictionaries(
        {"uuid": st.just("GPU-1")},
        optional={
            **dict.fromkeys(
                ("utilization_ratio", "memory_used_bytes", "memory_total_bytes", "power_watts",
                 "power_limit_watts", "temperature_celsius", "fan_speed_ratio", "clock_sm_hertz"),
                st.none() | st.floats(-1e18, 1e18),
            ),
            "health": st.none() | st.integers(0, 3),
            "stale": st.booleans(),
            "users": st.none() | st.lists(st.text()),
            "process_count": st.none() | st.integers(0, 10**6),
            "name": st.none() | st.text(),
        },
    )
)  # fmt: skip
def test_any_row_has_a_text_and_a_severity_in_every_column(row: dict[str, Any]) -> None:
    line = Line("GPU-1", row)
    for column in columns.COLUMNS:
        assert isinstance(column.text(line), str)
        assert isinstance(column.severity(row), Severity)
