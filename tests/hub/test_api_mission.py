"""The mission's own endpoints under /gpu."""

from __future__ import annotations

import pytest

from gpufleet.agent.clock import SystemClock
from gpufleet.agent.model import Fault, FaultState, Process
from gpufleet.agent.snapshot import take
from gpufleet.hub.api import schemas
from support.fleet_builder import FleetBuilder, PublishedHub
from support.http_client import ask, document, problem
from support.scripted_collector import ScriptedCollector


def hub() -> PublishedHub:
    builder = FleetBuilder()
    builder.node("a")
    builder.node("b", method="nvml")
    builder.gpu("a", 0, facts={"serial": "7", "limits": {"max": [1, 2.5]}})
    builder.gpu("b", 0)
    builder.process("a", "GPU-a-0", 42)
    return PublishedHub(builder.snapshot())


def test_the_list_names_every_gpu() -> None:
    found = document(hub(), "/gpu/list")["gpus"]
    name = "NVIDIA H100 80GB HBM3"
    assert found == [
        {"uuid": "GPU-a-0", "index": 0, "name": name, "node": "a"},
        {"uuid": "GPU-b-0", "index": 0, "name": name, "node": "b"},
    ]
    assert [gpu["node"] for gpu in document(hub(), "/gpu/list?node=b")["gpus"]] == ["b"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("dynamic/temperature_celsius", 61),
        ("dynamic/utilization_ratio", 0.215),
        ("dynamic/memory_temperature_celsius", None),
        ("dynamic/throttle_reasons", ["sw_power_cap", "sw_thermal_slowdown"]),
        ("static", {"serial": "7", "limits": {"max": [1, 2.5]}}),
        ("static/limits/max/1", 2.5),
        ("health/level", 0),
        ("health/status/", "healthy"),
        ("processes/0/pid", 42),
        ("stale", False),
        ("mig", []),
    ],
)
def test_keys_lead_to_any_part_of_the_document(path: str, value: object) -> None:
    assert document(hub(), f"/gpu/GPU-a-0/{path}") == value


def test_both_places_of_the_document_are_the_same() -> None:
    assert document(hub(), "/gpu/GPU-a-0") == document(hub(), "/api/v1/gpus/GPU-a-0")


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/gpu/GPU-a-0/dynamic/temperature", 404, "did you mean 'temperature_celsius'?"),
        ("/gpu/GPU-a-0/health/level/deeper", 404, "There is no key 'deeper' here."),
        ("/gpu/GPU-a-0/processes/7", 404, "no entry 7 in a list of 1"),
        ("/gpu/GPU-a-0/processes/first", 404, "There is no key 'first' here."),
        ("/gpu/GPU-z/static", 404, "There is no GPU 'GPU-z'"),
        ("/gpu/GPU-a-0?method=nvlm", 422, "did you mean 'nvml'?"),
        ("/gpu/GPU-a-0?method=bash", 409, "Node a cannot."),
        ("/gpu/list?method=sim", 422, "name one with ?node="),
        ("/gpu/metric?node=c", 404, "There is no node 'c'"),
        ("/gpu/GPU-a-0/static?fields=x", 422, "There is no parameter 'fields'"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_sentence(
    path: str, status: int, part: str
) -> None:
    assert part in problem(hub(), path, status)


@pytest.mark.parametrize("path", ["/gpu/list?node=a", "/gpu/GPU-a-0", "/gpu/GPU-a-0/static"])
def test_the_method_that_the_agent_uses_is_answered_from_the_stream(path: str) -> None:
    sign = "&" if "?" in path else "?"
    assert document(hub(), f"{path}{sign}method=sim") == document(hub(), path)


def test_the_metric_endpoint_is_the_gpus_part_of_the_exposition() -> None:
    part, whole = ask(hub(), "/gpu/metric", "/metrics")
    assert part.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert set(part.text.splitlines()) < set(whole.text.splitlines())
    assert "gpufleet_gpu_temperature_celsius{" in part.text
    assert "gpufleet_node_" not in part.text
    assert "gpufleet_hub_" not in part.text
    assert 'node="a"' not in ask(hub(), "/gpu/metric?node=b").text


def test_a_snapshot_of_the_agent_has_the_schema_of_the_hubs_document() -> None:
    collector = ScriptedCollector("a")
    collector.listed["a"] = (Process("a", 7, "C"),)
    collector.faults["a"] = Fault(FaultState.LOST, "GPU is lost.", 15)
    (gpu,) = take(collector, "n1", SystemClock())["gpus"]
    only_live = {"node", "method", "stale", "sample_time"}
    assert set(gpu) == set(schemas.GpuDocument.model_fields) - only_live
    assert set(gpu["dynamic"]) == set(schemas.GpuMetrics.model_fields)
    assert set(gpu["health"]) == set(schemas.Health.model_fields)
    assert set(gpu["fault"]) == set(schemas.Fault.model_fields)
    (process,) = gpu["processes"]
    assert set(process) == set(schemas.Process.model_fields)


def asked_hub() -> PublishedHub:
    """Node a streams with sim and can be asked for bash."""
    found = hub()
    gpu = {
        "uuid": "GPU-a-0",
        "index": 0,
        "name": 'An "H100"',
        "dynamic": {
            "temperature_celsius": 55,
            "power_watts": None,
            "throttle_reasons": ["sw_power_cap"],
        },
        "mig": [],
    }
    found.collected["a", "bash"] = {
        "node": "a",
        "method": "bash",
        "time": "2026-01-01T00:00:00.000Z",
        "gpus": [gpu],
    }
    return found


def test_another_method_is_collected_by_the_agent_and_told_in_the_same_forms() -> None:
    gpu = document(asked_hub(), "/gpu/GPU-a-0?method=bash")
    assert (gpu["method"], gpu["node"], gpu["stale"]) == ("bash", "a", False)
    assert document(asked_hub(), "/gpu/GPU-a-0/dynamic/temperature_celsius?method=bash") == 55
    assert document(asked_hub(), "/gpu/list?node=a&method=bash")["gpus"] == [
        {"uuid": "GPU-a-0", "index": 0, "name": 'An "H100"', "node": "a"}
    ]
    lines = ask(asked_hub(), "/gpu/metric?node=a&method=bash").text.splitlines()
    labels = 'node="a",gpu="0",gpu_uuid="GPU-a-0",gpu_name="An \\"H100\\""'
    assert f"gpufleet_gpu_temperature_celsius{{{labels}}} 55" in lines
    assert f'gpufleet_gpu_throttle_active{{{labels},reason="sw_power_cap"}} 1' in lines
    assert not [line for line in lines if "power_watts{" in line], "absent is no line"


def test_a_gpu_that_the_other_method_does_not_see_is_refused_with_a_sentence() -> None:
    found = asked_hub()
    found.collected["a", "bash"]["gpus"] = []
    assert "that method bash sees" in problem(found, "/gpu/GPU-a-0?method=bash", 409)
