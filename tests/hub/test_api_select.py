"""The hub's filter over columns gives the verdicts that a client's gives over rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.client.filter import parse
from gpufleet.client.row_filter import matches
from gpufleet.hub.api.gpu_list import FIELDS, GpuQuery, page, plan
from gpufleet.hub.api.select import select
from gpufleet.hub.api.table import Table
from support.fleet_builder import USUAL, FleetBuilder


def mixed_fleet() -> Table:
    builder = FleetBuilder()
    dgx = builder.node("dgx-01", labels={"rack": "r1", "owner": "ml"})
    builder.gpu(dgx, 0, {**USUAL, "temperature_celsius": 86, "utilization_ratio": 0.29}, level=2)
    builder.gpu(dgx, 1, {}, level=None)
    builder.gpu(dgx, 2, stale=True, fault="lost", level=3, reasons=("It is lost.",))
    old = builder.node("old", method="bash", up=False)
    builder.gpu(old, 0, name="Tesla T4", stale=True)
    builder.gpu(old, 1, {**USUAL, "throttle_reasons": 0, "recovery_action": 1}, name="")
    builder.process(dgx, "GPU-dgx-01-0", 1)
    builder.process(dgx, "GPU-dgx-01-0", 2, user="bob", program=None)
    builder.process(dgx, "GPU-dgx-01-2", 3)
    return Table(builder.snapshot())


TABLE = mixed_fleet()
ROWS = page(TABLE, plan(GpuQuery()), 100, "")["gpus"]

TERMS = st.sampled_from(
    [
        "temp>85",
        "temp!=61",
        "util>=29",
        "util<5%",
        "power=301.125",
        "health>=warning",
        "health!=critical",
        "health_state=warning",
        "health_reasons~=lost",
        "node~=dgx",
        "node!=old",
        "model~=h100*80",
        "model=''",
        "method=bash",
        "user=alice",
        "user!=bob",
        "program~=py",
        "process_count=0",
        "process_count>0",
        "fault=lost",
        "stale",
        "stale=false",
        "node_up",
        "label.rack=r1",
        "label.rack!=r2",
        "label.none=x",
        "index>=1",
        "throttle=sw_power_cap",
        "throttle!=gpu_idle",
        "recovery_action=gpu_reset",
        "memory_used_bytes>=20Gi",
        "sample_time~=2026",
        "missing(temp)",
        "missing(user)",
        "missing(throttle)",
        "missing(fault)",
        "missing(label.owner)",
        "missing(health)",
    ]
)
TREES = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        ),
    ),
    max_leaves=6,
)


@given(TREES)
def test_columns_and_rows_give_the_same_verdicts(text: str) -> None:
    expr = parse(text, FIELDS)
    assert select(expr, TABLE).tolist() == [matches(expr, row) for row in ROWS]


@pytest.mark.parametrize(
    ("text", "uuids"),
    [
        ("", ["GPU-dgx-01-0", "GPU-dgx-01-1", "GPU-dgx-01-2", "GPU-old-0", "GPU-old-1"]),
        ("temp>85", ["GPU-dgx-01-0"]),
        ("health>=warning", ["GPU-dgx-01-0", "GPU-dgx-01-2"]),
        ("user=alice", ["GPU-dgx-01-0"]),  # what a stale GPU was used for is not known
        ("stale & not fault=lost", ["GPU-old-0"]),
        ("missing(temp)", ["GPU-dgx-01-1", "GPU-dgx-01-2", "GPU-old-0"]),
        ("throttle=sw_power_cap", ["GPU-dgx-01-0"]),
    ],
)
def test_a_filter_finds_what_it_describes(text: str, uuids: list[str]) -> None:
    found = page(TABLE, plan(GpuQuery(filter=text, fields="uuid")), 100, "")
    assert [row["uuid"] for row in found["gpus"]] == uuids
    assert found["total"] == len(uuids)


def test_a_fleet_without_gpus_can_be_filtered_and_sorted() -> None:
    empty = Table(FleetBuilder().snapshot())
    query = GpuQuery("temp>85 or node~=x or user=y or stale or missing(pod)", "-temp,node,user")
    assert page(empty, plan(query), 10, "")["gpus"] == []
