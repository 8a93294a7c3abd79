"""REST of what is now: bodies against their models, absence, staleness, bad input."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpufleet.hub.api import schemas
from gpufleet.proto import catalog
from support.fleet_builder import USUAL, FleetBuilder, PublishedHub, large_fleet
from support.http_client import ask, document, problem


def small_fleet() -> PublishedHub:
    builder = FleetBuilder()
    dgx = builder.node("dgx-01", {"host_load1": 1.5}, labels={"rack": "r1"})
    builder.gpu(dgx, 0, facts={"serial": "7", "nested": {"deep": [1, 2]}})
    builder.gpu(dgx, 1, stale=True, fault="lost", level=3, reasons=("The GPU is lost.",))
    builder.gpu(dgx, 2, {}, level=None, tick_ms=0)
    builder.gpu(
        dgx,
        0,
        {"memory_used_bytes": 5},
        uuid="MIG-1",
        kind="mig",
        parent="GPU-dgx-01-0",
        name="MIG 1g.10gb",
    )
    builder.node("dgx-02", up=False, connected=False, last_tick_ms=None, last_receipt_ms=None)
    builder.process(dgx, "GPU-dgx-01-0", 10)
    builder.process(dgx, "MIG-1", 11, user="bob", memory_bytes=None)
    return PublishedHub(builder.snapshot())


MODELS = {
    "/api/v1/fleet": schemas.Fleet,
    "/api/v1/nodes": schemas.NodePage,
    "/api/v1/nodes/dgx-01": schemas.NodeDocument,
    "/api/v1/nodes/dgx-02": schemas.NodeDocument,
    "/api/v1/gpus": schemas.GpuPage,
    "/api/v1/gpus?fields=temp,label.rack,labels": schemas.GpuPage,
    "/api/v1/gpus/GPU-dgx-01-0": schemas.GpuDocument,
    "/api/v1/gpus/GPU-dgx-01-1": schemas.GpuDocument,
    "/api/v1/gpus/MIG-1": schemas.MigDocument,
    "/api/v1/gpus/GPU-dgx-01-0/processes": schemas.ProcessList,
    "/api/v1/metrics-catalog": schemas.Catalog,
    "/api/v1/info": schemas.Info,
    "/gpu/list": schemas.MissionList,
    "/gpu/GPU-dgx-01-0": schemas.GpuDocument,
    "/gpu/GPU-dgx-01-0/static": schemas.Facts,
    "/healthz": schemas.Probe,
    "/readyz": schemas.Probe,
}


@pytest.mark.parametrize("path", MODELS)
def test_a_body_is_what_its_model_says(path: str) -> None:
    MODELS[path].model_validate(document(small_fleet(), path), strict=True)


def test_totals_count_nodes_health_and_faults_and_leave_stale_values_out() -> None:
    found = document(small_fleet(), "/api/v1/fleet")
    assert found["nodes"] == {"total": 2, "up": 1, "down": 1}
    assert found["gpus"] == {
        "total": 3,
        "fresh": 2,
        "stale": 1,
        "by_health": {"healthy": 1, "caution": 0, "warning": 0, "critical": 1, "unknown": 1},
        "by_fault": {"lost": 1},
    }
    assert found["temperature_celsius"] == {"gpus": 1, "mean": 61.0, "min": 61, "max": 61}
    assert found["power_watts"] == {"gpus": 1, "sum": 301.125}
    assert found["memory_temperature_celsius"] == {
        "gpus": 0,
        "mean": None,
        "min": None,
        "max": None,
    }
    assert (found["mig_devices"], found["users"], found["processes"]) == (1, 2, 2)


def test_an_empty_fleet_has_totals_without_numbers_that_nobody_measured() -> None:
    found = document(PublishedHub(FleetBuilder().snapshot()), "/api/v1/fleet")
    schemas.Fleet.model_validate(found, strict=True)
    assert found["gpus"]["total"] == 0
    assert found["power_watts"] == {"gpus": 0, "sum": None}


def test_a_node_that_never_sent_has_no_times_and_no_numbers() -> None:
    found = document(small_fleet(), "/api/v1/nodes/dgx-02")
    assert (found["up"], found["sample_time"], found["receipt_time"]) == (False, None, None)
    assert set(found["dynamic"].values()) == {None}


def test_every_metric_that_no_driver_answered_is_null() -> None:
    found = document(small_fleet(), "/api/v1/gpus/GPU-dgx-01-2")
    names = {m.name for m in catalog.metrics(catalog.SubjectKind.GPU)}
    assert set(found["dynamic"]) == names
    assert set(found["dynamic"].values()) == {None}
    assert found["health"] == {"level": None, "status": "unknown", "reasons": [], "basis": "live"}
    assert found["sample_time"] is None


def test_a_stale_gpu_keeps_its_health_and_its_time_and_loses_its_values() -> None:
    found = document(small_fleet(), "/api/v1/gpus/GPU-dgx-01-1")
    dynamic = dict(found["dynamic"])
    assert dynamic.pop("health") == found["health"]["level"] == 3
    assert set(dynamic.values()) == {None}
    assert found["stale"] is True
    assert found["sample_time"] == "2026-05-28T20:26:40Z"
    assert found["health"]["level"] == 3
    assert found["health"]["reasons"] == ["The GPU is lost."]
    assert found["fault"] == {
        "state": "lost",
        "since": "2026-05-28T20:26:35Z",
        "sentence": "It is gone.",
    }
    row = document(small_fleet(), "/api/v1/gpus?filter=fault=lost")["gpus"][0]
    assert [row[name] for name in USUAL if row[name] not in (None, [])] == []
    assert (row["stale"], row["health"], row["health_state"]) == (True, 3, "critical")


def test_whole_metrics_are_integers_and_others_have_their_resolution() -> None:
    builder = FleetBuilder()
    builder.node("n")
    noisy = {"utilization_ratio": 0.1 + 0.115, "temperature_celsius": 61.0, "power_watts": 0.1 * 3}
    builder.gpu("n", 0, {**noisy, "clock_sm_hertz": 1.98e9, "energy_joules_total": 1e9 / 3})
    text = ask(PublishedHub(builder.snapshot()), "/api/v1/gpus").text
    for part in (
        '"utilization_ratio":0.215,',
        '"temperature_celsius":61,',
        '"power_watts":0.3,',
        '"clock_sm_hertz":1980000000,',
        '"energy_joules_total":333333333.333,',
    ):
        assert part in text


def test_fields_choose_and_order_the_cells() -> None:
    found = document(small_fleet(), "/api/v1/gpus?fields=temp,node,label.rack&limit=1")
    row = {"uuid": "GPU-dgx-01-0", "temperature_celsius": 61, "node": "dgx-01", "label.rack": "r1"}
    assert found["gpus"] == [row]
    assert list(found["gpus"][0]) == list(row)
    assert found["total"] == 3


def test_nodes_come_in_pages_by_name() -> None:
    builder = FleetBuilder()
    for i in range(11):
        builder.node(f"node{i}")
    hub = PublishedHub(builder.snapshot())
    names: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        one = document(hub, f"/api/v1/nodes?limit=4&cursor={cursor}")
        names += [node["name"] for node in one["nodes"]]
        cursor = one["next_cursor"]
    assert names == [f"node{i}" for i in range(11)]


def test_the_catalogue_tells_every_metric() -> None:
    found = document(small_fleet(), "/api/v1/metrics-catalog")["metrics"]
    assert [m["id"] for m in found] == [m.id for m in catalog.metrics()]
    by_name = {m["name"]: m for m in found}
    assert by_name["power_watts"]["resolution"] == 0.001
    assert by_name["clock_sm_hertz"]["resolution"] == 1_000_000
    assert by_name["health"]["words"]["warning"] == 2


def test_a_hub_that_is_not_ready_says_so_and_is_still_alive() -> None:
    hub = small_fleet()
    hub.is_ready = False
    healthy, ready = ask(hub, "/healthz", "/readyz")
    assert (healthy.status_code, ready.status_code) == (200, 503)
    assert ready.json() == {"ready": False, "sentence": "The hub is starting."}


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/api/v1/gpus?filter=tempp>85", 400, "Filter, character 1: there is no field 'tempp'"),
        ("/api/v1/gpus?sort=-nodee", 400, "did you mean 'node'?"),
        ("/api/v1/gpus?fields=utl", 400, "did you mean 'util'?"),
        ("/api/v1/gpus?fields=" + ",".join(f"label.a{i}" for i in range(300)), 400, "at most 200"),
        ("/api/v1/gpus?cursor=zzz", 400, "not one that this hub gave"),
        ("/api/v1/gpus?limit=0", 422, "limit must be greater than or equal to 1, not '0'."),
        ("/api/v1/gpus?limit=10001", 422, "limit must be less than or equal to 10000, not"),
        ("/api/v1/gpus?limit=many", 422, "limit must be a valid integer, not 'many'."),
        ("/api/v1/gpus?filter=" + "x" * 2001, 422, "filter: "),
        ("/api/v1/gpus?" + "x" * 9000, 414, "longer than 8000 bytes"),
        ("/api/v1/gpus?filtre=temp>85", 422, "did you mean 'filter'?"),
        ("/api/v1/gpus?filter=temp>1&filter=temp>2", 422, "filter is given 2 times; give it once"),
        ("/api/v1/fleet?verbose=1", 422, "There is no parameter 'verbose' here"),
        ("/api/v1/gpus/GPU-dgx-01-9", 404, "did you mean 'GPU-dgx-01-"),
        ("/api/v1/gpus/x", 404, "/gpu/list names every GPU"),
        ("/api/v1/gpus/" + "x" * 300, 422, "uuid: "),
        ("/api/v1/nodes/dgx-1", 404, "did you mean 'dgx-"),
        ("/api/v1/nix", 404, "There is nothing at /api/v1/nix"),
        ("/metrics?node=nobody", 404, "There is no node 'nobody'"),
    ],
)
def test_bad_input_is_answered_with_a_sentence(path: str, status: int, part: str) -> None:
    assert part in problem(small_fleet(), path, status)


def test_an_answer_ends_its_line_for_whoever_reads_it_in_a_terminal() -> None:
    for found in ask(small_fleet(), "/api/v1/fleet", "/gpu/list", "/healthz", "/api/v1/nix"):
        assert found.content.endswith(b"}\n")


def test_a_filters_problem_tells_the_position() -> None:
    found = ask(small_fleet(), "/api/v1/gpus?filter=temp>85 and nod=x").json()
    assert (found["parameter"], found["position"]) == ("filter", 13)


def test_large_bodies_are_packed_for_whoever_unpacks_them() -> None:
    hub = PublishedHub(large_fleet(20, 4))
    plain, packed, refused = (
        ask(hub, "/api/v1/gpus", **{"accept-encoding": accepted})
        for accepted in ("identity", "br, gzip", "gzip;q=0")
    )
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in refused.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == plain.json() == refused.json()
    assert packed.headers["vary"] == "Accept-Encoding"


def hostile_texts() -> list[str]:
    return [
        'a"b\\c\nd',
        "\ud800 alone",
        "\x00\x1b[31m",
        "</script>",
        "ä" * 50,
        "'; DROP",
        "a/b",
        "…",
    ]


def test_hostile_names_and_facts_harm_no_answer() -> None:
    builder = FleetBuilder()
    for i, text in enumerate(hostile_texts()):
        node = builder.node(f"n{i}{text}", labels={text: text}, facts={text: text, "n": 10**400})
        facts: dict[str, Any] = {text: [text, float("nan"), 2**70], "deep": {"er": text}}
        builder.gpu(node, 0, name=text, uuid=f"GPU-{i}", facts=facts, reasons=(text,), level=1)
        builder.process(node, f"GPU-{i}", 1, user=text, program=text)
    hub = PublishedHub(builder.snapshot())
    paths = ["/api/v1/fleet", "/api/v1/nodes", "/api/v1/gpus", "/gpu/list"]
    paths += [f"/gpu/GPU-{i}" for i in range(len(hostile_texts()))]
    paths += ["/api/v1/gpus?sort=-name,user&limit=2", "/api/v1/gpus?filter=label.rack~=x"]
    for response in ask(hub, *paths):
        assert response.status_code == 200, response.text
        json.loads(response.content.decode())
    first = ask(hub, "/api/v1/gpus?sort=name&fields=name&limit=3").json()
    assert ask(hub, f"/api/v1/gpus?sort=name&cursor={first['next_cursor']}").status_code == 200


def test_values_beyond_every_reason_are_still_json() -> None:
    builder = FleetBuilder()
    builder.node("n")
    huge = {m.name: 1e25 for m in catalog.metrics(catalog.SubjectKind.GPU)}
    builder.gpu("n", 0, huge)
    builder.gpu("n", 1, {name: float("inf") for name in huge})
    builder.gpu("n", 2, dict.fromkeys(huge, -1.0))
    hub = PublishedHub(builder.snapshot())
    for response in ask(hub, "/api/v1/gpus", "/gpu/GPU-n-0", "/api/v1/fleet", "/metrics"):
        assert response.status_code == 200, response.text
    rows = document(hub, "/api/v1/gpus")["gpus"]
    assert rows[0]["temperature_celsius"] == 1e25
    assert rows[1]["temperature_celsius"] is None


def test_an_answer_that_fails_is_a_sentence_too() -> None:
    hub = small_fleet()
    hub.error = RuntimeError("secret detail")
    sentence = problem(hub, "/api/v1/gpus/GPU-dgx-01-0/history?metric=power_watts", 500)
    assert "secret" not in sentence
