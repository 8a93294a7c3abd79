"""History and events over REST: what the store is asked for, and how its answer is told."""

from __future__ import annotations

import time

import pytest

from gpufleet.hub.api import schemas
from gpufleet.hub.store.errors import HistoryError, StoreFailed
from gpufleet.hub.store.events import EventPage
from gpufleet.proto.catalog import BY_NAME
from support.fleet_builder import NOW_MS, FleetBuilder, PublishedHub, event
from support.http_client import ask, document, problem

BASE = "/api/v1/gpus/GPU-a-0"


def hub() -> PublishedHub:
    builder = FleetBuilder()
    builder.node("a")
    builder.gpu("a", 0)
    builder.gpu("a", 0, uuid="MIG-1", kind="mig", parent="GPU-a-0")
    return PublishedHub(builder.snapshot())


def test_metrics_range_and_points_reach_the_store() -> None:
    made = hub()
    document(
        made,
        f"{BASE}/history?metric=power_watts,temperature_celsius&metric=power_watts"
        "&start=2026-05-28T20:00:00Z&end=1780000000&points=100",
    )
    [(requests, start_ms, end_ms, points)] = made.asked
    assert [(r.subject_id, r.metric.name) for r in requests] == [
        (100, "power_watts"),
        (100, "temperature_celsius"),
    ]
    assert (start_ms, end_ms, points) == (NOW_MS - 1_600_000, NOW_MS, 100)


def test_the_last_hour_is_what_is_asked_for_unless_told_otherwise() -> None:
    made = hub()
    before = time.time_ns() // 1_000_000
    document(made, f"{BASE}/history?metric=power_watts")
    [(_, start_ms, end_ms, points)] = made.asked
    assert before <= end_ms <= time.time_ns() // 1_000_000
    assert end_ms - start_ms == 3_600_000
    assert points == 500


def test_each_kind_of_metric_has_its_columns_and_gaps_are_left_out() -> None:
    names = "power_watts,energy_joules_total,performance_state,throttle_reasons"
    found = document(hub(), f"{BASE}/history?metric={names}")
    schemas.History.model_validate(found, strict=True)
    series = found["series"]
    assert list(series) == names.split(",")
    assert series["power_watts"] == {
        "unit": "watts",
        "kind": "gauge",
        "time": ["2026-05-28T20:26:40Z", "2026-05-28T20:26:42Z"],
        "n": [1, 1],
        "avg": [0.001, 0.003],
        "min": [0.001, 0.003],
        "max": [0.001, 0.003],
    }
    assert series["energy_joules_total"]["last"] == [0.001, 0.003]
    assert series["energy_joules_total"]["increase"] == [None, 0.002]
    assert series["performance_state"]["last"] == [1, 3]
    assert series["throttle_reasons"]["bits"] == [["gpu_idle"], ["gpu_idle", "applications_clocks"]]


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("", "Say which metrics"),
        ("metric=", "Say which metrics"),
        ("metric=temperature_celsius,health", "events?kind=health_changed"),
        ("metric=temprature_celsius", "did you mean 'temperature_celsius'?"),
        ("metric=host_load1", "A GPU has no metric 'host_load1'"),
        ("metric=power_watts&start=yesterday", "start: 'yesterday' is not a time"),
        ("metric=power_watts&start=now&end=-1h", "The range is empty"),
        ("metric=power_watts&end=2026-05-28T20:00:00", "end: '2026-05-28T20:00:00' does not say"),
        ("metric=" + ",".join(list(BY_NAME)[:40]), "At most 32 metrics"),
        ("metric=" + ",".join(list(BY_NAME)[:20]) + "&points=5000", "is at most 60000"),
    ],
)
def test_a_question_without_an_answer_is_refused(query: str, part: str) -> None:
    assert part in problem(hub(), f"{BASE}/history?{query}", 400)


@pytest.mark.parametrize("points", ["0", "5001", "x"])
def test_points_have_bounds(points: str) -> None:
    assert problem(hub(), f"{BASE}/history?metric=power_watts&points={points}", 422)


def test_a_mig_device_has_a_history_of_its_own_metrics() -> None:
    made = hub()
    document(made, "/api/v1/gpus/MIG-1/history?metric=memory_used_bytes")
    assert "A MIG device has no metric" in problem(
        made, "/api/v1/gpus/MIG-1/history?metric=power_watts", 400
    )


def test_the_stores_errors_become_problems() -> None:
    made = hub()
    made.error = HistoryError("The range is longer than 400 days; ask for a shorter one.")
    assert "400 days" in problem(made, f"{BASE}/history?metric=power_watts", 400)
    made.error = StoreFailed("The disk is full.")
    assert problem(made, f"{BASE}/history?metric=power_watts", 503) == "The disk is full."
    assert problem(made, "/api/v1/events", 503) == "The disk is full."


def test_events_tell_when_where_and_what() -> None:
    made = hub()
    gone = event(999, node_id=77, kind="node_up", severity="info", code=0, message="Up.")
    made.page = EventPage((event(100, data={"pci": "1A"}), gone), "1-2-3")
    found = document(made, "/api/v1/events")
    schemas.EventPage.model_validate(found, strict=True)
    assert found["next_cursor"] == "1-2-3"
    assert found["events"][0] == {
        "time": "2026-05-28T20:26:40Z",
        "kind": "xid",
        "severity": "critical",
        "node": "a",
        "subject": {
            "kind": "gpu",
            "key": "GPU-a-0",
            "index": 0,
            "name": "NVIDIA H100 80GB HBM3",
        },
        "code": 79,
        "message": "Xid 79: the GPU fell off the bus.",
        "data": {"pci": "1A"},
    }
    assert (found["events"][1]["node"], found["events"][1]["subject"]) == (None, None)


def test_what_events_are_asked_for_reaches_the_store() -> None:
    made = hub()
    paths = [
        "/api/v1/events?node=a&kind=xid,gpu_lost&kind=xid&limit=7&cursor=abc",
        f"{BASE}/events?start=1780000000&end=1780000060",
    ]
    for response in ask(made, *paths):
        assert response.status_code == 200, response.text
    assert made.asked == [
        (None, 1, None, None, {"xid", "gpu_lost"}, 7, "abc"),
        ({100}, None, NOW_MS, NOW_MS + 60_000, None, 100, None),
    ]


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/api/v1/events?node=nobody", 404, "There is no node 'nobody'"),
        ("/api/v1/events?limit=1001", 422, "limit must be"),
        ("/api/v1/events?start=x", 400, "start: 'x' is not a time"),
        ("/api/v1/events?kind=" + ",".join(f"k{i}" for i in range(40)), 400, "At most 32 kinds"),
        ("/api/v1/gpus/GPU-b/events", 404, "There is no GPU 'GPU-b'"),
    ],
)
def test_bad_questions_for_events_are_refused(path: str, status: int, part: str) -> None:
    assert part in problem(hub(), path, status)
