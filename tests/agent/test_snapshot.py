"""The snapshot document: every metric by name, None where absent."""

import pytest

from gpufleet.agent.clock import SystemClock
from gpufleet.agent.model import CollectorUnavailable, Fault, FaultState, Process
from gpufleet.agent.snapshot import take
from gpufleet.proto.catalog import SubjectKind, metrics
from support.agent_clock import FakeClock
from support.scripted_collector import ScriptedCollector


def test_every_metric_of_the_catalogue_is_named_and_absent_ones_are_none() -> None:
    collector = ScriptedCollector("a")
    collector.values = {10: 4 << 30, 13: 16 << 30, 20: 0, 23: 250_500, 70: 0x44}
    (gpu,) = take(collector, "n1", SystemClock())["gpus"]
    dynamic = gpu["dynamic"]
    assert set(dynamic) == {metric.name for metric in metrics(SubjectKind.GPU)}
    assert dynamic["temperature_celsius"] == 0
    assert dynamic["power_watts"] == 250.5
    assert dynamic["memory_used_ratio"] == 0.25
    assert dynamic["throttle_reasons"] == ["sw_power_cap", "hw_thermal_slowdown"]
    assert dynamic["fan_speed_ratio"] is None
    assert dynamic["health"] == gpu["health"]["level"]
    assert gpu["health"]["basis"] == "snapshot"
    assert gpu["mig"] == []


def test_the_share_of_memory_used_has_the_catalogues_resolution() -> None:
    collector = ScriptedCollector("a")
    collector.values = {10: 2 << 30, 13: 3 << 30}
    (gpu,) = take(collector, "n1", SystemClock())["gpus"]
    assert gpu["dynamic"]["memory_used_ratio"] == 0.667


def test_a_faulty_gpu_has_its_fault_and_no_values() -> None:
    collector = ScriptedCollector("a", "b")
    collector.faults["b"] = Fault(FaultState.LOST, "GPU is lost.", 15)
    document = take(collector, "n1", SystemClock())
    a, b = document["gpus"]
    assert (document["node"], document["method"], document["driver_version"]) == (
        "n1",
        "scripted",
        "570.1",
    )
    assert a["fault"] is None
    assert b["fault"] == {"state": "lost", "since": None, "sentence": "GPU is lost."}
    assert set(b["dynamic"].values()) == {None, 3}
    assert (b["health"]["level"], b["health"]["status"]) == (3, "critical")


def test_a_process_has_what_is_known_of_it() -> None:
    collector = ScriptedCollector("a")
    collector.listed["a"] = (Process("a", 7, "C", user="me", utilization_permille=125),)
    (gpu,) = take(collector, "n1", SystemClock())["gpus"]
    (process,) = gpu["processes"]
    assert process["gpu"] == "a"
    assert (process["pid"], process["user"], process["utilization_ratio"]) == (7, "me", 0.125)
    assert process["memory_bytes"] is None


def test_without_a_driver_the_sentence_is_its_collectors() -> None:
    collector = ScriptedCollector()
    collector.unavailable = "There is no driver."
    with pytest.raises(CollectorUnavailable, match=r"There is no driver\."):
        take(collector, "n1", SystemClock())


def test_a_driver_that_does_not_answer_is_a_sentence_too() -> None:
    collector = ScriptedCollector("a")
    collector.hang("open")
    with pytest.raises(CollectorUnavailable, match="did not answer within 30 s"):
        take(collector, "n1", FakeClock())
    collector.release("open")
