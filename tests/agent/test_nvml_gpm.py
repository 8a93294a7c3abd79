"""GPM: averages between two looks, buffers that are given back, one device at a time."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from gpufleet.agent import snapshot
from gpufleet.agent.clock import SystemClock
from gpufleet.agent.nvml.collector import NvmlCollector
from gpufleet.agent.nvml.gpm import LONGEST_SECONDS, Turn
from support import fake_gpus
from support.fake_driver import missing
from support.nvml_session import Session, session
from support.processes import wait_for

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


ACTIVITY = {"sm_active_ratio", "tensor_active_ratio", "dram_active_ratio"}


def test_activity_begins_with_the_second_look(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        assert s.columns() >= ACTIVITY
        assert not ACTIVITY & set(s.values())
        s.now += 1
        values = s.values(slow=False)
        assert (values["sm_active_ratio"], values["dram_active_ratio"]) == (0.615, 0.333)


def test_looks_in_quick_succession_give_the_same_average_again(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.now += 1
        s.values()
        s.driver.set({"gpu.0.gpm.sm": 5})
        s.driver.forget_calls()
        s.now += 0.05
        assert s.values()["sm_active_ratio"] == 0.615
        assert not s.driver.calls("nvmlGpmSampleGet")
        s.now += 0.06
        assert s.values()["sm_active_ratio"] == 0.05


def test_an_average_over_a_long_silence_is_told_to_nobody(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.now += LONGEST_SECONDS + 1
        assert not ACTIVITY & set(s.values())
        s.now += 1
        assert s.values()["sm_active_ratio"] == 0.615


@pytest.mark.parametrize("answer", ["!3", "!999", "101", "-3", "nan", "inf"])
def test_what_is_no_share_of_time_is_absent_and_the_others_stay(
    tmp_path: Path, answer: str
) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({"gpu.0.gpm.tensor": answer})
        s.now += 1
        assert ACTIVITY & set(s.values()) == {"sm_active_ratio", "dram_active_ratio"}


def test_a_gpu_without_gpm_is_asked_once(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.geforce(0)]) as s:
        s.start()
        assert not ACTIVITY & s.columns()
        s.values()
        assert len(s.driver.calls("nvmlGpmQueryDeviceSupport")) == 1
        assert not s.driver.calls("nvmlGpmSampleAlloc")


def test_a_gpu_whose_samples_are_not_supported_is_asked_once(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.driver.fail("gpu.0.call.nvmlGpmSampleGet", 3)
        s.start()
        assert not ACTIVITY & s.columns()
        s.now += 1
        assert s.values()["temperature_celsius"] == 41
        assert len(s.driver.calls("nvmlGpmSampleGet")) == 1


def test_a_sample_that_fails_once_costs_two_looks(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.now += 1
        assert "sm_active_ratio" in s.values()
        s.driver.fail("gpu.0.call.nvmlGpmSampleGet", 999)
        s.now += 1
        assert "sm_active_ratio" not in s.values()
        s.driver.unset("gpu.0.call.nvmlGpmSampleGet")
        s.now += 1
        assert "sm_active_ratio" not in s.values()
        s.now += 1
        assert "sm_active_ratio" in s.values()


def buffers(s: Session) -> int:
    """Buffers taken from the library and not given back."""
    calls = Counter(c.function for c in s.driver.calls())
    return calls["nvmlGpmSampleAlloc"] - calls["nvmlGpmSampleFree"]


def test_buffers_are_two_for_each_gpu_and_are_given_back(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0), fake_gpus.mig_h100(1)]) as s:
        s.start()
        for _ in range(3):
            s.now += 1
            for at in range(len(s.subjects)):
                s.values(at)
        whole, instances = 2, 2 * 2
        assert buffers(s) == whole + instances
        s.collector.close()
        assert buffers(s) == 0


def test_a_new_partition_gives_the_old_buffers_back(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.start()
        s.now += 1
        for at in range(4):
            s.values(at)
        s.driver.unset("gpu.0.mig.5.uuid")
        s.values(0)
        s.enumerate()
        s.now += 1
        s.values(1)
        assert buffers(s) == 2


def test_a_driver_reload_does_not_average_over_it(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.reload()
        s.fault()
        s.enumerate()
        assert not ACTIVITY & set(s.values())
        s.now += 1
        assert s.values()["sm_active_ratio"] == 0.615
        s.collector.close()
        assert buffers(s) == 0


HANG = "gpu.0.hang.nvmlGpmSampleGet"


def test_a_gpu_that_hangs_in_its_sample_does_not_keep_the_others_from_theirs(
    tmp_path: Path,
) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as s:
        s.start()
        s.now += 1
        s.driver.set({HANG: "forever"})
        s.driver.forget_calls()
        stuck = threading.Thread(target=lambda: s.read(0))
        stuck.start()
        wait_for(lambda: s.driver.calls("nvmlGpmSampleGet"), what="the call that hangs")
        assert s.values(1)["sm_active_ratio"] == 0.615
        s.driver.unset(HANG)
        stuck.join(20)
        assert not stuck.is_alive()


def test_a_buffer_that_the_driver_writes_to_is_given_back_when_it_comes_back(
    tmp_path: Path,
) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.now += 1
        s.driver.set({HANG: "forever"})
        stuck = threading.Thread(target=lambda: s.read(0))
        stuck.start()
        wait_for(lambda: len(s.driver.calls("nvmlGpmSampleGet")) == 2, what="the hanging call")
        s.collector.close()
        assert buffers(s) == 2
        s.driver.unset(HANG)
        stuck.join(20)
        assert buffers(s) == 0


def test_a_turn_is_taken_by_one_at_a_time_and_passes_from_whoever_is_stuck() -> None:
    turn = Turn(patience_seconds=0.01)
    release = threading.Event()
    holding = threading.Event()

    def stuck() -> None:
        with turn.taken():
            holding.set()
            release.wait(20)

    thread = threading.Thread(target=stuck)
    thread.start()
    assert holding.wait(20)
    with turn.taken():
        pass
    release.set()
    thread.join(20)
    with turn.taken():
        pass


def test_a_snapshot_looks_twice_and_so_has_the_activity(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0), fake_gpus.mig_h100(1)]) as s:
        collector = NvmlCollector(node="n", proc=s.proc, sysfs=s.sysfs)
        whole, parted = snapshot.take(collector, "n", SystemClock())["gpus"]
        assert whole["dynamic"]["sm_active_ratio"] == 0.615
        assert parted["dynamic"]["sm_active_ratio"] is None
        assert parted["mig"][0]["dynamic"]["sm_active_ratio"] == 0.8
        assert buffers(s) == 0
