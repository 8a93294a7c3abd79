"""History over REST from a real database: sources, several GPUs, groups and the top."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gpufleet.hub.api import schemas
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.merge import merge_some
from gpufleet.hub.store.tables import HOUR_MS
from support.stored import HOUR
from support.stored_hub import StoredFleet, StoredHub, stored_hub

DAY = 24 * HOUR_MS
H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB"
START, END = HOUR // 1000, HOUR // 1000 + 3600
RANGE = f"start={START}&end={END}"


@pytest.fixture
def hub(database: Database) -> Iterator[StoredHub]:
    """Three GPUs on two nodes over an hour, a sample a minute: 100 W, 200 W and 300 W."""
    fleet = StoredFleet(database)
    fleet.node("a", 2, H100, {"rack": "r1"})
    fleet.node("b", 1, A100)
    ticks = HOUR + 60_000 * np.arange(60)
    for place, uuid in enumerate(fleet.ids):
        fleet.samples(
            uuid,
            ticks,
            power_watts=100_000 * (place + 1),
            temperature_celsius=40 + np.arange(60) % 7,
            energy_joules_total=6_000_000 * np.arange(60) * (place + 1),
        )
    fleet.samples(
        "a", ticks, host_load1=200 + np.arange(60), agent_cpu_seconds_total=500 * np.arange(60)
    )
    while merge_some(database, HOUR + 2 * HOUR_MS):
        pass
    with stored_hub(fleet) as made:
        yield made


def test_the_source_follows_the_range_and_is_told(hub: StoredHub) -> None:
    path = "/api/v1/gpus/GPU-a-0/history?metric=power_watts"
    sources = {
        days: hub.document(f"{path}&start={START}&end={START + days * 86_400}&points=100")
        for days in (1, 5, 30, 700)
    }
    assert [found["source"] for found in sources.values()] == [
        "samples",
        "minutes",
        "hours",
        "hours",
    ]
    assert [found["raw"] for found in sources.values()] == [True, False, False, False]
    for found in sources.values():
        schemas.History.model_validate(found, strict=True)
        series = found["series"]["power_watts"]
        assert sum(series["n"]) == 60
        assert set(series["avg"]) == {100.0}


def test_a_node_has_a_history_of_its_own_metrics(hub: StoredHub) -> None:
    path = f"/api/v1/nodes/a/history?metric=host_load1,agent_cpu_seconds_total&{RANGE}"
    found = hub.document(f"{path}&points=6")
    schemas.NodeHistory.model_validate(found, strict=True)
    assert (found["node"], found["source"], found["step_seconds"]) == ("a", "samples", 600)
    load, cpu = found["series"]["host_load1"], found["series"]["agent_cpu_seconds_total"]
    assert load["avg"] == pytest.approx([2.045, 2.145, 2.245, 2.345, 2.445, 2.545])
    assert (load["min"][0], load["max"][-1], load["n"]) == (2, 2.59, [10] * 6)
    assert cpu["increase"] == [4.5, *[5] * 5]
    ten_days = hub.document(f"{path.replace(str(END), str(START + 864_000))}&points=10")
    assert ten_days["source"] == "samples"
    assert sum(ten_days["series"]["host_load1"]["n"]) == 60


def test_several_gpus_and_metrics_come_in_one_answer(hub: StoredHub) -> None:
    found = hub.document(
        "/api/v1/history?gpu=GPU-a-1,GPU-b-0&gpu=GPU-a-1"
        f"&metric=power_watts&metric=temperature_celsius&{RANGE}"
    )
    schemas.Histories.model_validate(found, strict=True)
    assert [gpu["uuid"] for gpu in found["gpus"]] == ["GPU-a-1", "GPU-b-0"]
    assert [gpu["node"] for gpu in found["gpus"]] == ["a", "b"]
    assert [gpu["series"]["power_watts"]["avg"][0] for gpu in found["gpus"]] == [200, 300]
    assert all(list(g["series"]) == ["power_watts", "temperature_celsius"] for g in found["gpus"])
    of_node = hub.document(f"/api/v1/history?node=a&metric=power_watts&{RANGE}")
    assert [gpu["uuid"] for gpu in of_node["gpus"]] == ["GPU-a-0", "GPU-a-1"]


@pytest.mark.parametrize(
    ("group_by", "sums"),
    [
        ("fleet", {None: 600}),
        ("node", {"a": 300, "b": 300}),
        ("model", {A100: 300, H100: 300}),
        ("gpu", {"GPU-a-0": 100, "GPU-a-1": 200, "GPU-b-0": 300}),
        ("label.rack", {"r1": 300, None: 300}),
    ],
)
def test_groups_of_gpus_over_time(hub: StoredHub, group_by: str, sums: dict[str, int]) -> None:
    found = hub.document(f"/api/v1/history?group_by={group_by}&metric=power_watts&{RANGE}&points=6")
    schemas.GroupHistory.model_validate(found, strict=True)
    assert (found["group_by"], found["source"], found["step_seconds"]) == (group_by, "minutes", 600)
    power = {group["group"]: group["series"]["power_watts"] for group in found["groups"]}
    assert {name: series["sum"] for name, series in power.items()} == {
        name: [float(total)] * 6 for name, total in sums.items()
    }
    if group_by == "fleet":
        assert power[None]["gpus"] == [3] * 6
        assert power[None]["n"] == [30] * 6
        assert (power[None]["min"][0], power[None]["avg"][0], power[None]["max"][0]) == (
            100,
            200,
            300,
        )


def test_groups_hold_only_the_gpus_that_were_named(hub: StoredHub) -> None:
    found = hub.document(
        f"/api/v1/history?group_by=fleet&gpu=GPU-a-0&node=b&metric=power_watts&{RANGE}&points=1"
    )
    assert found["groups"][0]["series"]["power_watts"]["sum"] == [400]


def test_the_top_is_told_with_its_place(hub: StoredHub) -> None:
    found = hub.document(f"/api/v1/top?metric=energy_joules_total&limit=2&{RANGE}")
    schemas.TopList.model_validate(found, strict=True)
    assert found["column"] == "increase"
    assert [(row["group"], row["value"]) for row in found["top"]] == [
        ("GPU-b-0", 59 * 6000 * 3),
        ("GPU-a-1", 59 * 6000 * 2),
    ]
    assert found["top"][0]["gpu"] == {"node": "b", "index": 0, "name": A100}
    lowest = hub.document(f"/api/v1/top?metric=power_watts&order=lowest&limit=1&{RANGE}")
    assert lowest["top"][0]["group"] == "GPU-a-0"
    racks = hub.document(
        f"/api/v1/top?metric=power_watts&group_by=label.rack&column=sum&{RANGE}&limit=1"
    )
    assert (racks["top"][0]["value"], racks["top"][0]["gpu"]) == (300, None)


BAD_QUESTIONS = [
    ("history?metric=power_watts", 400, "Say which GPUs"),
    ("history?gpu=GPU-a-0", 400, "Say which metrics"),
    ("history?gpu=GPU-a-9&metric=power_watts", 404, "There is no GPU 'GPU-a-9'"),
    ("history?node=c&metric=power_watts", 404, "There is no node 'c'"),
    ("history?gpu=GPU-a-0&metric=powr_watts", 400, "did you mean 'power_watts'"),
    ("history?gpu=GPU-a-0&metric=power_watts&points=0", 422, "points must be"),
    ("history?gpu=GPU-a-0&metric=power_watts&start=0", 400, "longer than 800 days"),
    ("history?gpu=GPU-a-0&metric=power_watts&start=now&end=-1h", 400, "The range is empty"),
    ("history?gpu=GPU-a-0&metric=power_watts&start=-99999999w", 400, "start: "),
    ("nodes/c/history?metric=host_load1", 404, "There is no node 'c'"),
    ("nodes/a/history", 400, "Say which metrics"),
    ("nodes/a/history?metric=host_lod1", 400, "did you mean 'host_load1'"),
    ("nodes/a/history?metric=power_watts", 400, "A node has no metric 'power_watts'"),
    ("nodes/a/history?metric=clock_skew_seconds", 400, "events?kind=clock_skew"),
    ("nodes/a/history?metric=host_load1&points=0", 422, "points must be"),
    ("nodes/a/history?metric=host_load1&start=0", 400, "longer than 800 days"),
    ("history?group_by=rack&metric=power_watts", 400, "group_by is fleet, node"),
    ("history?group_by=label.&metric=power_watts", 400, "group_by is fleet, node"),
    ("history?group_by=label.a%22b&metric=power_watts", 400, "group_by is fleet, node"),
    ("history?group_by=node&metric=clock_memory_hertz", 400, "is not summed up over time"),
    ("history?group_by=gpu&metric=power_watts&points=5000&start=0", 400, "longer than 800"),
    ("history?metric=power_watts&gpu=" + ",".join(map(str, range(257))), 400, "At most 256 GPUs"),
    ("export?gpu=" + ",".join(map(str, range(257))), 400, "At most 256 GPUs"),
    ("export?metric=powr_watts", 400, "did you mean 'power_watts'"),
    ("usage?by=gpu", 422, "by must be 'user', 'job' or 'node', not 'gpu'"),
    ("nodes?cursor=from-elsewhere", 400, "The cursor is not one that this hub gave"),
    ("gpus?cursor=from-elsewhere", 400, "The cursor is not one that this hub gave"),
    ("events?start=now&end=-1h", 400, "The range is empty"),
    ("top?metric=power_watts&column=increase", 400, "power_watts has avg, min, max, sum"),
    ("top?metric=power_watts&limit=0", 422, "limit must be"),
    ("top?metric=power_watts,temperature_celsius", 400, "At most 1 metrics"),
    ("top", 422, "metric"),
    ("events?cursor=from-elsewhere", 400, "The cursor is not one that this hub gave"),
]


def test_bad_questions_get_a_sentence(hub: StoredHub) -> None:
    for path, status, part in BAD_QUESTIONS:
        assert part in hub.sentence(f"/api/v1/{path}", status)


def test_too_many_values_at_once_are_refused(hub: StoredHub) -> None:
    many = "power_watts,temperature_celsius,energy_joules_total"
    assert "at most 60000" in hub.sentence(
        f"/api/v1/history?gpu=GPU-a-0,GPU-a-1,GPU-b-0&node=a&points=5000&metric={many},"
        "utilization_ratio,memory_used_bytes",
        400,
    )
    metrics = "utilization_ratio,memory_used_bytes,sm_active_ratio,temperature_celsius"
    assert hub.document(f"/api/v1/history?group_by=gpu&metric={metrics}&points=5000&{RANGE}")
