"""MIG devices: children of their GPU, whose shared memory counts once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.agent import snapshot
from gpufleet.agent.clock import SystemClock
from gpufleet.agent.mig import carriers
from gpufleet.agent.model import FaultState
from support import fake_gpus
from support.fake_driver import missing
from support.nvml_session import session
from support.proc_tree import add_process, proc_tree

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


MIB = 1 << 20
GPU = fake_gpus.uuid(0)
SHARED, OTHER, SMALL = (fake_gpus.mig_uuid(0, place) for place in (0, 2, 5))


def test_mig_devices_follow_their_gpu_with_ids_and_profile(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0), fake_gpus.h100(1)]) as s:
        s.start()
        assert [(x.kind, x.key, x.parent, x.index, x.name) for x in s.subjects] == [
            ("gpu", GPU, "", 0, "NVIDIA H100 80GB HBM3"),
            ("mig", SHARED, GPU, 0, "NVIDIA H100 80GB HBM3 MIG 1c.2g.20gb"),
            ("mig", OTHER, GPU, 2, "NVIDIA H100 80GB HBM3 MIG 1c.2g.20gb"),
            ("mig", SMALL, GPU, 5, "NVIDIA H100 80GB HBM3 MIG 1g.10gb"),
            ("gpu", fake_gpus.uuid(1), "", 1, "NVIDIA H100 80GB HBM3"),
        ]
        assert s.subjects[2].facts == {
            "uuid": OTHER,
            "gpu_instance_id": 1,
            "compute_instance_id": 1,
            "memory_shared": True,
            "profile": "1c.2g.20gb",
            "multiprocessor_count": 16,
            "copy_engine_count": 1,
            "encoder_count": 0,
            "decoder_count": 1,
            "jpeg_count": 0,
            "ofa_count": 0,
        }
        assert s.subjects[3].facts["memory_shared"] is False


def test_memory_of_a_shared_gpu_instance_is_counted_once(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.start()
        assert s.values(1) == {
            "memory_used_bytes": 1500 * MIB,
            "memory_free_bytes": (9984 - 1500) * MIB,
            "memory_reserved_bytes": 0,
            "memory_total_bytes": 9984 * MIB,
        }
        assert s.values(2) == {}
        assert s.columns(2) == set()
        assert s.values(3)["memory_used_bytes"] == 12 * MIB


def test_the_lowest_compute_instance_tells_what_is_shared() -> None:
    assert carriers([(1, 1), (1, 0), (9, 3), (4, 2), (4, 5)]) == {(1, 0), (9, 3), (4, 2)}
    assert carriers([]) == frozenset()


def test_the_gpu_itself_has_no_utilisation_no_remaps_and_no_gpm(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.start()
        s.now += 1
        values = s.values(0)
        assert values["temperature_celsius"] == 41
        absent = ("utilization", "remapped_", "sm_active", "tensor_", "dram_")
        assert not [name for name in (*values, *s.columns(0)) if name.startswith(absent)]


def test_activity_is_told_of_each_gpu_instance_by_the_same_child(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.start()
        first = s.values(1)
        assert "sm_active_ratio" not in first
        s.values(3)
        s.now += 1
        assert s.values(1)["sm_active_ratio"] == 0.8
        assert s.values(1)["tensor_active_ratio"] == 0.555
        assert s.values(3)["sm_active_ratio"] == 0.03
        assert "tensor_active_ratio" not in s.values(3)
        assert s.values(2) == {}


def test_utilisation_of_a_mig_device_is_told_where_the_driver_has_it(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.driver.set({"gpu.0.mig.5.util.gpu": 64, "gpu.0.mig.5.util.memory": 1})
        s.start()
        assert s.values(3)["utilization_ratio"] == 0.64
        assert "utilization_ratio" not in s.columns(1)


def test_a_new_partition_ends_the_old_children_and_begins_new_ones(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.start()
        for key in fake_gpus.mig_device(0, 0, "", 0, 0, 0):
            s.driver.unset(f"gpu.0.{key}")
        fresh = fake_gpus.mig_device(0, 1, "7g.80gb", 0, 0, 7)
        s.driver.set({f"gpu.0.{key}": value for key, value in fresh.items()})
        assert not s.collector.stale()
        s.values(0)
        assert s.collector.stale()
        s.enumerate()
        assert [x.key for x in s.subjects[1:]] == [fake_gpus.mig_uuid(0, 1), OTHER, SMALL]
        assert s.values(1)["memory_used_bytes"] == 7 * MIB
        assert s.values(2)["memory_used_bytes"] == 1500 * MIB
        assert not s.collector.stale()


def test_a_mig_device_that_is_gone_has_no_values_and_is_no_fault(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.start()
        s.driver.unset("gpu.0.mig.5.uuid")
        assert s.values(3, slow=False) == {}
        assert s.collector.stale()
        assert [x.key for x in s.enumerate()] == [GPU, SHARED, OTHER]


def test_a_handle_that_was_given_to_another_mig_device_is_noticed(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.start()
        s.driver.set({"gpu.0.mig.5.uuid": "MIG-other", "gpu.0.mig.5.memory.used": 5000 * MIB})
        assert s.values(3, slow=False) == {}
        assert s.collector.stale()
        assert s.enumerate()[3].key == "MIG-other"
        assert s.values(3)["memory_used_bytes"] == 5000 * MIB


def test_mig_mode_that_is_turned_off_gives_the_gpu_its_utilisation_back(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.start()
        whole = {f"gpu.0.{key}": value for key, value in fake_gpus.h100(0).items()}
        s.driver.set({**whole, "gpu.0.mig.mode": 0})
        s.values(0)
        assert s.collector.stale()
        (gpu,) = s.enumerate()
        assert gpu.facts["mig_mode"] == "disabled"
        s.now += 1
        values = s.values(0)
        assert values["utilization_ratio"] == 0.37
        assert values["remapped_rows_pending"] == 0
        assert values["sm_active_ratio"] == 0.615


def test_mig_mode_that_is_turned_on_brings_children(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({f"gpu.0.{key}": value for key, value in fake_gpus.mig_h100(0).items()})
        s.driver.unset("gpu.0.util.gpu", "gpu.0.util.memory")
        s.values(0)
        assert s.collector.stale()
        assert len(s.enumerate()) == 4
        assert "utilization_ratio" not in s.columns(0)


def test_children_of_a_lost_gpu_are_lost_with_it_and_keep_their_rows(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0), fake_gpus.h100(1)]) as s:
        s.start()
        s.driver.fail("gpu.0.*", 15)
        assert [s.fault(at).state for at in range(4)] == [FaultState.LOST] * 4
        assert s.values(4)["temperature_celsius"] == 41
        s.driver.fail("gpu.0.handle", 15)
        s.driver.reload()
        s.fault(4)
        assert s.collector.stale()
        s.enumerate()
        assert [x.key for x in s.subjects[:4]] == [GPU, SHARED, OTHER, SMALL]
        assert [s.fault(at).state for at in range(4)] == [FaultState.LOST] * 4


def test_children_of_a_gpu_that_vanished_are_missing(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0), fake_gpus.h100(1)]) as s:
        s.start()
        s.driver.set({"gpus": "1"})
        assert s.collector.stale()
        s.enumerate()
        assert [x.key for x in s.subjects[1:]] == [GPU, SHARED, OTHER, SMALL]
        assert [s.fault(at).state for at in range(1, 5)] == [FaultState.MISSING] * 4
        s.driver.unset("gpus")
        s.enumerate()
        assert s.values(1)["memory_used_bytes"] == 1500 * MIB


def test_processes_belong_to_their_mig_device(tmp_path: Path) -> None:
    proc = proc_tree(tmp_path / "proc")
    add_process(proc, 4711, ["/usr/bin/train"])
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.driver.set(
            {
                "gpu.0.process.4711": f"C {5 * MIB} gi=1 ci=1",
                "gpu.0.process.4711.b": f"C {7 * MIB} gi=9 ci=0",
                "gpu.0.process.4712": f"C {9 * MIB} gi=3 ci=0",
            }
        )
        s.start()
        found = s.collector.processes(s.subjects[0])
        assert [(p.subject_key, p.pid, p.memory_bytes) for p in found] == [
            (GPU, 4712, 9 * MIB),
            (OTHER, 4711, 5 * MIB),
            (SMALL, 4711, 7 * MIB),
        ]
        assert found[1].program == "train"
        assert s.collector.processes(s.subjects[1]) == ()


def test_where_only_root_may_list_the_gpu_its_mig_devices_are_listed(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.driver.fail("gpu.0.call.nvmlDeviceGetComputeRunningProcesses_v3", 4)
        s.driver.set({"gpu.0.process.1": "C 5 gi=1 ci=0", "gpu.0.process.2": "C 6 gi=9 ci=0"})
        s.start()
        found = s.collector.processes(s.subjects[0])
        assert [(p.subject_key, p.pid) for p in found] == [(SHARED, 1), (SMALL, 2)]


def test_a_tick_of_a_mig_device_takes_three_calls(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.start()
        s.now += 1
        s.values(1)
        s.driver.forget_calls()
        s.now += 1
        s.values(1, slow=False)
        assert [c.function for c in s.driver.calls()] == [
            "nvmlDeviceGetUUID",
            "nvmlDeviceGetMemoryInfo_v2",
            "nvmlGpmMigSampleGet",
            "nvmlGpmMetricsGet",
        ]


@pytest.mark.parametrize("code", [2, 6, 999])
def test_a_mig_device_that_cannot_be_opened_is_left_out(tmp_path: Path, code: int) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.driver.fail("gpu.0.mig.2.gi", code)
        s.start()
        assert [x.key for x in s.subjects] == [GPU, SHARED, SMALL]
        assert s.values(1)["memory_used_bytes"] == 1500 * MIB


def test_the_snapshot_shows_mig_devices_within_their_gpu(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.driver.set({"gpu.0.process.4711": "C 5 gi=9 ci=0"})
        (gpu,) = snapshot.take(s.collector, "testnode", SystemClock())["gpus"]
        assert [m["uuid"] for m in gpu["mig"]] == [SHARED, OTHER, SMALL]
        assert gpu["mig"][2]["dynamic"]["memory_used_bytes"] == 12 * MIB
        assert gpu["mig"][1]["dynamic"]["memory_used_bytes"] is None
        assert [[p["pid"] for p in m["processes"]] for m in gpu["mig"]] == [[], [], [4711]]
        assert [p["pid"] for p in gpu["processes"]] == [4711]
