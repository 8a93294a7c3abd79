"""The bash method as a collector: one run for all GPUs, faults apart, keys that stay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpufleet.agent.collectors import Simulation, choose, methods_on_demand
from gpufleet.agent.model import CollectorUnavailable, Fault, FaultState, Reading, Subject
from gpufleet.agent.smi.collector import SmiCollector
from gpufleet.agent.snapshot import document
from gpufleet.proto.catalog import BY_ID
from support.fake_smi import UUID, FakeSmi, gpu, log, mig_device, process
from support.proc_tree import add_process, proc_tree

QUERY = "-q -x"
UNKNOWN = "unknown-node-00000000:34:00.0"
LISTING = (
    f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {UUID.format(0)})\n"
    "  MIG 1g.10gb     Device  0: (UUID: MIG-00000000-0000-0000-0000-00000000000a)\n"
    "  MIG 1g.10gb     Device  3: (UUID: MIG-00000000-0000-0000-0000-00000000000b)\n"
)
DISCOVERY = (
    "1 GPU found.\n"
    "| GPU ID | Device Information |\n"
    "| 0      | Name: NVIDIA H100  |\n"
    f"|        | Device UUID: {UUID.format(0)} |\n"
    "0 NvSwitches found.\n"
)
HEALTH = {
    "body": {
        "Overall Health": {"value": "Warning"},
        "GPU": {
            "children": {
                "0": {
                    "value": "Warning",
                    "children": {
                        "Errors": {
                            "children": {
                                "Memory system": {"value": "Warning", "overflow": ["A page."]},
                                "Power system": {
                                    "value": "Warning",
                                    "overflow": ["Detected clocks event due to power violation."],
                                },
                            }
                        }
                    },
                }
            }
        },
    }
}


class Bench:
    """A collector on scripted programs, with a clock that stands still."""

    def __init__(self, folder: Path, *, dcgmi: bool = False) -> None:
        self.fake = FakeSmi(folder / "smi", dcgmi=dcgmi)
        self.now = 1000.0
        self.proc = proc_tree(folder / "proc")
        self.collector = SmiCollector(
            node="node",
            environment=self.fake.environment,
            proc=self.proc,
            sysfs=folder / "sys",
            timeout_seconds=60,
            patience_seconds=60,
            clock=lambda: self.now,
        )
        self.subjects: Sequence[Subject] = ()

    def show(self, *gpus: str) -> None:
        self.fake.answer("query", log(gpus))

    def start(self) -> Sequence[Subject]:
        self.collector.open()
        return self.enumerate()

    def enumerate(self) -> Sequence[Subject]:
        self.collector.node_facts()
        self.subjects = self.collector.subjects()
        return self.subjects

    def tick(self) -> list[Reading]:
        """A second later: every subject is read."""
        self.now += 1.0
        return [self.collector.read(subject, slow=False) for subject in self.subjects]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.show(gpu(0), gpu(1), gpu(2))
    return bench


def named(reading: Reading) -> dict[str, float | int]:
    assert reading.fault is None
    assert reading.values is not None
    return {BY_ID[id].name: BY_ID[id].value(raw) for id, raw in reading.values.items()}


def state(reading: Reading) -> FaultState | None:
    return None if reading.fault is None else reading.fault.state


def test_one_run_serves_every_gpu_of_a_tick(bench: Bench) -> None:
    assert [s.key for s in bench.start()] == [UUID.format(n) for n in range(3)]
    assert bench.fake.calls() == [QUERY]
    for ticks in (1, 2, 3):
        readings = bench.tick()
        assert [named(r)["temperature_celsius"] for r in readings] == [45, 45, 45]
        assert len(bench.fake.calls()) == 1 + ticks
    assert bench.fake.overlaps() == []


def test_a_snapshot_takes_one_run(bench: Bench) -> None:
    for subject in bench.start():
        assert named(bench.collector.read(subject, slow=True))["power_watts"] == 312.25
        assert bench.collector.processes(subject) == []
    assert bench.fake.calls() == [QUERY]


def test_facts_come_from_the_same_run(bench: Bench) -> None:
    bench.start()
    assert bench.collector.node_facts() == {
        "driver_version": "580.105.08",
        "cuda_version": "13.0",
        "gpu_count": 3,
        "dcgm": "dcgm unavailable: there is no dcgmi on the PATH (package datacenter-gpu-manager).",
    }
    first = bench.subjects[0]
    assert first.facts["architecture"] == "Hopper"
    assert first.name == "NVIDIA H100 80GB HBM3"
    assert {BY_ID[id].name for id in first.columns} >= {"power_watts", "throttle_reasons"}
    assert bench.fake.calls() == [QUERY]


def test_a_slow_nvidia_smi_does_not_hold_a_tick(tmp_path: Path) -> None:
    fake = FakeSmi(tmp_path / "smi")
    fake.answer("query", log([gpu(0, {"temperature/gpu_temp": "41 C"}), gpu(1)]))
    now = [1000.0]
    collector = SmiCollector(
        environment=fake.environment, patience_seconds=0.0, clock=lambda: now[0]
    )
    collector.open()
    subjects = collector.subjects()
    collector.read(subjects[0], slow=False)
    fake.answer("query", log([gpu(0, {"temperature/gpu_temp": "42 C"}), gpu(1)]), gate=True)
    now[0] += 1.0
    # The run is under way: what was read before is told, with its age.
    late = collector.read(subjects[0], slow=False)
    assert named(late)["temperature_celsius"] == 41
    assert (late.detail or {})["age_seconds"] == 1.0
    now[0] += 30.0
    stuck = collector.read(subjects[0], slow=False)
    assert stuck.fault == Fault(FaultState.HUNG, "nvidia-smi does not answer.")
    fake.release("query")
    assert (
        named(wait_for(lambda: collector.read(subjects[0], slow=False)))["temperature_celsius"]
        == 42
    )
    assert fake.overlaps() == []


def wait_for(read: Callable[[], Reading]) -> Reading:
    """Read until the run is over; the test's own time-out ends it if it never is."""
    while True:
        reading = read()
        if reading.fault is None:
            return reading


def test_one_that_hangs_makes_the_method_unavailable(tmp_path: Path) -> None:
    fake = FakeSmi(tmp_path / "smi")
    fake.answer("query", log([gpu(0)]), seconds=3600)
    collector = SmiCollector(environment=fake.environment, timeout_seconds=0.3)
    with pytest.raises(CollectorUnavailable, match=r"did not end within 0\.3 s and was stopped"):
        collector.open()


def test_a_failing_nvidia_smi_is_run_once_for_all_gpus(bench: Bench) -> None:
    bench.start()
    bench.fake.answer(
        "query", "Failed to initialize NVML: Driver/library version mismatch", code=18
    )
    bench.now += 1.0
    for subject in bench.subjects:
        with pytest.raises(CollectorUnavailable, match="reload it or restart the node"):
            bench.collector.read(subject, slow=False)
    assert len(bench.fake.calls()) == 2


@pytest.mark.parametrize(
    ("said", "code", "sentence"),
    [
        (
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make "
            "sure that the latest NVIDIA driver is installed and running.",
            9,
            "run modprobe nvidia",
        ),
        ("Failed to initialize NVML: Insufficient Permissions", 4, "/dev/nvidiactl"),
        ("Failed to initialize NVML: Unknown Error", 255, "In a container"),
        ("", 3, "it ended with status 3 and wrote nothing"),
        ("<nvidia_smi_log><gpu>", 0, "XML that cannot be read"),
    ],
)
def test_why_it_cannot_run_is_one_sentence_with_a_mend(
    bench: Bench, said: str, code: int, sentence: str
) -> None:
    bench.fake.answer("query", said, code=code)
    with pytest.raises(CollectorUnavailable) as unavailable:
        bench.collector.open()
    assert sentence in str(unavailable.value)
    assert "\n" not in str(unavailable.value)


def test_no_nvidia_smi_at_all(tmp_path: Path) -> None:
    collector = SmiCollector(environment={"PATH": str(tmp_path)})
    with pytest.raises(CollectorUnavailable, match="There is no nvidia-smi on the PATH"):
        collector.open()


def test_no_devices_are_no_trouble(bench: Bench) -> None:
    bench.fake.answer("query", "No devices were found", code=6)
    assert bench.start() == []
    assert bench.collector.node_facts()["gpu_count"] == 0


# Faults of single GPUs


def test_a_lost_gpu_keeps_its_facts_while_the_others_go_on(bench: Bench) -> None:
    bench.start()
    bench.show(gpu(0), gpu(1, {"temperature/gpu_temp": "GPU is lost"}), gpu(2))
    readings = bench.tick()
    assert [state(r) for r in readings] == [None, FaultState.LOST, None]
    assert bench.collector.stale()
    again = bench.enumerate()
    assert [s.fault is not None for s in again] == [False, True, False]
    assert again[1].facts["name"] == "NVIDIA H100 80GB HBM3"
    bench.show(gpu(0), gpu(1), gpu(2))
    assert [state(r) for r in bench.tick()] == [None, None, None]


def test_a_handle_error_is_that_gpus_fault_by_its_address(bench: Bench) -> None:
    bench.start()
    line = "Unable to determine the device handle for GPU1: 0000:19:00.0: Unknown Error\n"
    bench.fake.answer("query", line + log([gpu(0), gpu(2)]))
    readings = bench.tick()
    assert [state(r) for r in readings] == [None, FaultState.ERROR, None]
    assert [(s.key, s.index) for s in bench.enumerate()] == [
        (UUID.format(0), 0),
        (UUID.format(2), 2),
        (UUID.format(1), 1),
    ]


def test_a_dead_gpu_that_was_never_seen_has_a_key_of_its_own(bench: Bench) -> None:
    line = "Unable to determine the device handle for GPU1: 0000:34:00.0: Unknown Error\n"
    bench.fake.answer("query", log([gpu(0)]), stderr=line, code=15)
    subjects = bench.start()
    assert [(s.key, s.index) for s in subjects] == [(UUID.format(0), 0), (UNKNOWN, 1)]
    assert subjects[1].fault is not None
    assert state(bench.tick()[1]) is FaultState.ERROR


def test_a_gpu_that_vanishes_is_missing_and_comes_back(bench: Bench) -> None:
    bench.start()
    bench.show(gpu(0), gpu(2))
    assert [state(r) for r in bench.tick()] == [None, FaultState.MISSING, None]
    assert bench.collector.stale()
    missing = bench.enumerate()[-1]
    assert missing.key == UUID.format(1)
    assert missing.fault is not None
    assert "vanished from nvidia-smi's list" in missing.fault.sentence
    assert not bench.collector.stale()
    bench.show(gpu(0), gpu(1), gpu(2))
    bench.tick()
    assert bench.collector.stale()
    assert [s.fault for s in bench.enumerate()] == [None, None, None]


def test_output_cut_short_is_an_error_of_the_gpus_behind_it(bench: Bench) -> None:
    bench.start()
    text = log([gpu(0), gpu(1), gpu(2)])
    bench.fake.answer("query", text[: text.index('<gpu id="00000000:1A') + 99])
    readings = bench.tick()
    assert [state(r) for r in readings] == [None, None, FaultState.ERROR]


def test_two_gpus_with_one_uuid_do_not_mix(bench: Bench) -> None:
    bench.show(gpu(0), gpu(1, {"uuid": UUID.format(0), "temperature/gpu_temp": "61 C"}))
    assert [s.key for s in bench.start()] == [UUID.format(0), "unknown-node-00000000:19:00.0"]
    assert [named(r)["temperature_celsius"] for r in bench.tick()] == [45, 61]


def test_a_redacted_uuid_is_no_key(bench: Bench) -> None:
    bench.show(gpu(0, {"uuid": "[REDACTED]"}))
    assert [s.key for s in bench.start()] == ["unknown-node-00000000:18:00.0"]


def test_a_new_driver_makes_the_subjects_stale(bench: Bench) -> None:
    bench.start()
    assert not bench.collector.stale()
    bench.tick()
    assert not bench.collector.stale()
    bench.fake.answer("query", log([gpu(0), gpu(1), gpu(2)], driver="590.1"))
    bench.tick()
    assert bench.collector.stale()
    assert bench.collector.node_facts()["driver_version"] == "590.1"


# MIG and processes


def test_mig_devices_are_children_with_the_uuids_of_the_list(bench: Bench) -> None:
    bench.show(gpu(0, mig=[mig_device(0, 7), mig_device(3, 9)]))
    bench.fake.answer("list", LISTING)
    parent, first, second = bench.start()
    assert (first.kind, first.parent, first.index) == ("mig", parent.key, 0)
    assert first.key == "MIG-00000000-0000-0000-0000-00000000000a"
    assert first.name == "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    assert second.facts["gpu_instance_id"] == 9
    readings = bench.tick()
    assert named(readings[1])["memory_used_bytes"] == 9 << 20
    bench.tick()
    assert bench.fake.calls().count("-L") == 1  # asked once, until the devices change


def test_a_new_partition_ends_the_old_children(bench: Bench) -> None:
    bench.show(gpu(0, mig=[mig_device(0, 7), mig_device(3, 9)]))
    bench.fake.answer("list", LISTING)
    bench.start()
    bench.show(gpu(0, mig=[mig_device(0, 1)]))
    bench.fake.answer("list", LISTING.replace("00000000000a", "00000000000c"))
    gpu_reading, *ended = bench.tick()
    assert gpu_reading.values
    assert ended == [Reading({}), Reading({})]
    assert bench.collector.stale()
    assert [s.key[-1] for s in bench.enumerate()] == ["0", "c"]


def test_children_of_a_gpu_that_vanished_are_missing_with_it_and_come_back(bench: Bench) -> None:
    bench.show(gpu(0, mig=[mig_device(0, 7), mig_device(3, 9)]), gpu(1))
    bench.fake.answer("list", LISTING)
    before = bench.start()
    bench.show(gpu(1))
    missing = FaultState.MISSING
    assert [state(r) for r in bench.tick()] == [missing, missing, missing, None]
    assert bench.collector.stale()
    found = bench.enumerate()
    assert [(s.kind, s.fault and s.fault.state) for s in found] == [
        ("gpu", None),
        ("gpu", missing),
        ("mig", missing),
        ("mig", missing),
    ]
    bench.show(gpu(0, mig=[mig_device(0, 7), mig_device(3, 9)]), gpu(1))
    bench.tick()
    assert bench.collector.stale()
    assert bench.enumerate() == before


def test_children_of_a_gpu_that_cannot_be_read_have_its_fault(bench: Bench) -> None:
    bench.show(gpu(0, mig=[mig_device(0, 7), mig_device(3, 9)]))
    bench.fake.answer("list", LISTING)
    bench.start()
    bench.show(gpu(0, {"temperature/gpu_temp": "GPU is lost"}))
    assert [state(r) for r in bench.tick()] == [FaultState.LOST] * 3
    assert [s.kind for s in bench.enumerate()] == ["gpu", "mig", "mig"]


def test_mig_devices_without_a_uuid_are_in_the_parents_detail(bench: Bench) -> None:
    bench.show(gpu(0, mig=[mig_device(0, 7)]))
    bench.fake.answer("list", "", code=1)
    assert [s.kind for s in bench.start()] == ["gpu"]
    (reading,) = bench.tick()
    detail: Any = reading.detail
    (device,) = detail["mig_without_uuid"]
    assert (device["index"], device["gpu_instance_id"]) == (0, 7)
    bench.tick()
    assert bench.fake.calls().count("-L") == 1
    bench.fake.answer("list", LISTING)
    bench.now += 60  # tried again
    bench.tick()
    assert bench.collector.stale()
    assert [s.kind for s in bench.enumerate()] == ["gpu", "mig"]


def test_processes_have_the_user_and_start_time_of_proc(bench: Bench) -> None:
    listed = [process(4242), process(77, process_name="/opt/app --key=secret", type="G")]
    bench.show(gpu(0, processes=listed))
    add_process(bench.proc, 4242, ["/usr/bin/python3", "/srv/train.py", "--token=hunter2"], uid=0)
    (subject,) = bench.start()
    gone, known = bench.collector.processes(subject)
    assert (known.pid, known.user, known.program) == (4242, "root", "python3 train.py")
    assert known.start_ms is not None
    assert known.memory_bytes == 512 << 20
    assert (gone.pid, gone.user, gone.program, gone.start_ms) == (77, None, "app", None)


# DCGM


@pytest.fixture
def dcgm_bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path, dcgmi=True)
    bench.show(gpu(0))
    bench.fake.answer("discovery", DISCOVERY)
    bench.fake.answer("health-json", json.dumps(HEALTH))
    bench.fake.answer("dmon", "#Entity TOTEC\nID\nGPU 0 5000\n")
    return bench


def test_dcgm_is_in_the_same_document_and_in_the_health(dcgm_bench: Bench) -> None:
    bench = dcgm_bench
    subjects = bench.start()
    readings = {s.key: bench.collector.read(s, slow=True) for s in subjects}
    assert bench.collector.node_facts()["dcgm"] == "available"
    found = document("node", 0, "bash", bench.collector.node_facts(), subjects, readings, {})
    (entry,) = found["gpus"]
    assert entry["dynamic"]["energy_joules_total"] == 5.0
    assert entry["detail"]["dcgm"]["overall_health"] == "Warning"
    assert len(entry["detail"]["dcgm"]["findings"]) == 2
    # Power capping is told, and is no reason for anything.
    assert entry["health"]["level"] == 2
    assert entry["health"]["reasons"] == ["DCGM reports a warning of Memory: A page."]
    json.dumps(found)


def test_without_dcgm_it_goes_on(dcgm_bench: Bench) -> None:
    bench = dcgm_bench
    bench.fake.answer(
        "discovery",
        "Error: unable to establish a connection to the specified host: localhost\n",
        code=234,
    )
    bench.start()
    assert str(bench.collector.node_facts()["dcgm"]).startswith("dcgm unavailable: unable to")
    (reading,) = bench.tick()
    assert "dcgm" not in (reading.detail or {})
    assert "energy_joules_total" not in named(reading)


# The command and the choice


@given(st.binary(max_size=300), st.binary(max_size=100), st.integers(0, 255))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_never_raises_past_the_collector(
    bench: Bench, output: bytes, errors: bytes, code: int
) -> None:
    bench.now += 10
    bench.fake.answer("query", output, stderr=errors.decode("latin-1"), code=code)
    try:
        bench.collector.open()
        subjects = bench.collector.subjects()
    except CollectorUnavailable:
        return
    assert all(not s.columns for s in subjects if s.fault is None)


def test_auto_falls_back_to_bash_and_says_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", bench.fake.environment["PATH"])
    simulation = Simulation("node")
    assert choose("bash", simulation, lambda: 0).collector.method == "bash"
    assert "bash" in methods_on_demand("nvml")
    chosen = choose("auto", simulation, lambda: 0)
    if chosen.collector.method == "bash":  # no driver's library here, as in CI
        assert chosen.reason == "there is no libnvidia-ml.so.1, but nvidia-smi is on the PATH"
    else:
        assert chosen.reason == "libnvidia-ml.so.1 is here"
    bench.fake.remove("nvidia-smi")
    monkeypatch.setenv("PATH", str(bench.fake.bin))
    assert "bash" not in methods_on_demand("nvml")
    assert methods_on_demand("bash")[0] == "bash"


def test_the_snapshot_command_prints_everything(dcgm_bench: Bench, tmp_path: Path) -> None:
    dcgm_bench.show(gpu(0, processes=[process(4242)]), gpu(1))
    (tmp_path / UUID.format(0)).write_text("4711\n")
    environment = {
        **os.environ,
        **dcgm_bench.fake.environment,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "GPUFLEET_PROLOG_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "gpufleet.cli", "snapshot", "--method", "bash", "--pretty"]
    done = subprocess.run(
        [*command, "--node", "node"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["method"], found["driver_version"]) == ("bash", "580.105.08")
    assert found["dcgm"] == "available"
    first, second = found["gpus"]
    assert first["static"]["architecture"] == "Hopper"
    assert first["dynamic"]["power_watts"] == 312.25
    assert first["dynamic"]["fan_speed_ratio"] is None
    assert first["processes"][0]["pid"] == 4242
    assert first["processes"][0]["job"] == "4711"
    assert first["health"]["status"] == "warning"
    assert second["health"]["status"] == "healthy"
    assert dcgm_bench.fake.calls() == [QUERY]
