"""/groups, /sparklines and parts of the list: what a client asks for that shows a large fleet."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from gpufleet.hub.api import schemas
from support.fleet_builder import NOW_MS, FleetBuilder, PublishedHub, large_fleet
from support.http_client import document, problem

GIB = 2**30


def busy(load: float, celsius: float = 60) -> dict[str, float]:
    return {
        "utilization_ratio": load,
        "memory_used_bytes": 10 * GIB,
        "memory_total_bytes": 80 * GIB,
        "temperature_celsius": celsius,
        "power_watts": 300.5,
    }


def fleet() -> PublishedHub:
    """Two nodes of two models: alice on three GPUs, bob on one of them too, one free, one stale."""
    builder = FleetBuilder()
    builder.node("n10", labels={"rack": "b"})
    builder.node("n2", labels={"rack": "a"})
    for index, load in enumerate((0.5, 1.0, 0.0)):
        builder.gpu("n10", index, busy(load, 60 + index), level=index)
    builder.gpu("n2", 0, busy(0.1), name="NVIDIA L4")
    builder.gpu("n2", 1, stale=True, level=None, name="NVIDIA L4")
    builder.process("n10", "GPU-n10-0", 1, memory_bytes=GIB)
    builder.process("n10", "GPU-n10-1", 2, memory_bytes=2 * GIB, program="train")
    builder.process("n10", "GPU-n10-1", 3, user="bob", memory_bytes=4 * GIB, job="9")
    builder.process("n2", "GPU-n2-0", 4, memory_bytes=None, job=None)
    return PublishedHub(builder.snapshot())


def groups(query: str) -> dict[str | None, Any]:
    found = document(fleet(), f"/api/v1/groups?{query}")
    schemas.GroupPage.model_validate(found, strict=True)
    return {group["group"]: group for group in found["groups"]}


def test_nodes_come_as_people_count_with_means_sums_and_the_worst() -> None:
    found = groups("by=node")
    assert list(found) == ["n2", "n10"]
    n10 = found["n10"]
    assert (n10["gpus"], n10["free"], n10["stale"], n10["health"]) == (3, 1, 0, 2)
    assert n10["utilization_ratio"] == {"gpus": 3, "mean": 0.5, "min": 0, "max": 1}
    assert n10["temperature_celsius"]["max"] == 62
    assert n10["memory_used_bytes"] == {"gpus": 3, "sum": 30 * GIB}
    assert n10["power_watts"] == {"gpus": 3, "sum": 901.5}
    assert n10["users"] == {"total": 2, "names": ["alice", "bob"]}
    assert n10["processes"] == 3


def test_a_stale_gpu_counts_but_its_values_do_not() -> None:
    n2 = groups("by=node")["n2"]
    assert (n2["gpus"], n2["stale"], n2["free"]) == (2, 1, 0)
    assert n2["utilization_ratio"]["gpus"] == 1
    assert n2["by_health"]["unknown"] == 1


def test_of_a_user_only_the_own_processes_count() -> None:
    found = groups("by=user")
    assert list(found) == ["alice", "bob", None]
    alice, bob, nobody = found.values()
    assert (alice["gpus"], alice["processes"], alice["process_memory_bytes"]) == (3, 3, 3 * GIB)
    assert alice["programs"]["names"] == ["python", "train"]
    assert (bob["gpus"], bob["process_memory_bytes"]) == (1, 4 * GIB)
    assert bob["jobs"] == {"total": 1, "names": ["9"]}
    assert (nobody["gpus"], nobody["free"], nobody["process_memory_bytes"]) == (2, 1, None)


def test_labels_and_models_are_groups_too() -> None:
    assert {name: group["gpus"] for name, group in groups("by=label.rack").items()} == {
        "a": 2,
        "b": 3,
    }
    assert list(groups("by=label.none")) == [None]
    assert groups("by=model")["NVIDIA L4"]["gpus"] == 2


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("-gpus", ["n10", "n2"]),
        ("gpus", ["n2", "n10"]),
        ("-group", ["n10", "n2"]),
        ("-free", ["n10", "n2"]),
        ("health", ["n2", "n10"]),
        ("-utilization_ratio", ["n10", "n2"]),
        ("-temperature_celsius", ["n10", "n2"]),
        ("memory_used_bytes", ["n2", "n10"]),
        ("-processes", ["n10", "n2"]),
        ("-process_memory_bytes", ["n10", "n2"]),
        ("fan_speed_ratio", ["n2", "n10"]),
    ],
)
def test_groups_are_sorted_by_what_they_show(sort: str, expected: list[str]) -> None:
    assert list(groups(f"by=node&sort={sort}")) == expected


def test_a_filter_chooses_the_gpus_that_are_summed_up() -> None:
    assert groups("by=node&filter=util>40")["n10"]["gpus"] == 2
    assert groups("by=node&filter=util>400") == {}


def test_a_part_of_the_groups_says_how_many_there_are() -> None:
    found = document(fleet(), "/api/v1/groups?by=node&limit=1&offset=1")
    assert found["total"] == 2
    assert [group["group"] for group in found["groups"]] == ["n10"]
    assert document(fleet(), "/api/v1/groups?by=node&offset=5")["groups"] == []


def test_no_gpus_are_no_groups() -> None:
    empty = PublishedHub(FleetBuilder().snapshot())
    assert document(empty, "/api/v1/groups")["groups"] == []
    assert document(empty, "/api/v1/sparklines")["sparklines"] == []


def remembering(hub: PublishedHub, *loads: list[float]) -> PublishedHub:
    """The hub after it saw these loads, one step each, by slot."""
    for step, values in enumerate((*loads, loads[-1])):
        hub.load.note(NOW_MS + step * 10_000, np.array(values))
    return hub


def test_sparklines_come_in_the_order_of_the_list() -> None:
    hub = remembering(fleet(), [0.1, 0.2, 0.3, 0.4, np.nan], [0.5, 0.6, 0.7, 0.8, np.nan])
    found = document(hub, "/api/v1/sparklines?points=3&sort=-util&limit=2")
    schemas.Sparklines.model_validate(found, strict=True)
    assert found["end"] == "2026-05-28T20:27:00Z"
    assert {row["uuid"]: row["values"] for row in found["sparklines"]} == {
        "GPU-n10-1": [None, 0.2, 0.6],
        "GPU-n10-0": [None, 0.1, 0.5],
    }
    found = document(hub, "/api/v1/sparklines?points=1&gpu=GPU-n2-1,GPU-n10-2,GPU-gone")
    assert [row["values"] for row in found["sparklines"]] == [[None], [0.7]]


def test_a_groups_load_is_the_mean_of_those_that_have_one() -> None:
    hub = remembering(fleet(), [0.1, 0.2, 0.6, 0.4, np.nan])
    found = document(hub, "/api/v1/groups?by=node&points=2")["groups"]
    assert [group["load"] for group in found] == [[None, 0.4], [None, 0.3]]


def test_parts_of_the_list_fit_together() -> None:
    hub = PublishedHub(large_fleet(nodes=5, gpus=8))
    whole = document(hub, "/api/v1/gpus?fields=temp&sort=-temp")
    parts = [
        document(hub, f"/api/v1/gpus?fields=temp&sort=-temp&limit=15&offset={offset}")
        for offset in (0, 15, 30, 45)
    ]
    assert [part["total"] for part in parts] == [40] * 4
    assert list(itertools.chain(*(part["gpus"] for part in parts))) == whole["gpus"]


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/api/v1/groups?by=color", 400, "by is node, model, user or label.NAME"),
        ("/api/v1/groups?by=label.", 400, "not 'label.'"),
        ("/api/v1/groups?sort=gpu", 400, "did you mean 'gpus'?"),
        ("/api/v1/groups?filter=tmp>1", 400, "did you mean 'temp'?"),
        ("/api/v1/groups?points=181", 422, "points"),
        ("/api/v1/sparklines?metric=power_watts", 422, "metric"),
        ("/api/v1/sparklines?filter=x", 400, "there is no field 'x'"),
        ("/api/v1/gpus?offset=-1", 422, "offset"),
        ("/api/v1/gpus?offset=1&cursor=x", 400, "not by both"),
    ],
)
def test_bad_questions_are_answered_with_a_sentence(path: str, status: int, part: str) -> None:
    assert part in problem(fleet(), path, status)
