"""A fault of one GPU is that GPU's alone; a fault of the driver is survived."""

from __future__ import annotations

import threading
from ctypes.util import find_library
from pathlib import Path

import pytest

from gpufleet.agent.model import CollectorUnavailable, FaultState
from gpufleet.agent.nvml.collector import RETRY_SECONDS, NvmlCollector
from gpufleet.agent.nvml.probe import MOST_PROBES
from support import fake_gpus
from support.fake_driver import FakeDriver, missing
from support.nvml_session import session

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

UUIDS = [fake_gpus.uuid(i) for i in range(4)]


@pytest.mark.parametrize(
    ("code", "state"), [(15, FaultState.LOST), (16, FaultState.RESET_REQUIRED)]
)
def test_one_gpu_fails_and_the_others_go_on(tmp_path: Path, code: int, state: FaultState) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 3)) as s:
        s.start()
        s.values(1)
        s.driver.fail("gpu.1.*", code)
        s.driver.xid(1, 79)
        fault = s.fault(1)
        assert (fault.state, fault.code) == (state, code)
        assert "GPU 1 (00000000:1B:00.0)" in fault.sentence
        assert s.values(0)["temperature_celsius"] == 41
        assert s.values(2)["temperature_celsius"] == 41
        assert not s.collector.stale()


def test_a_lost_gpu_that_answers_again_has_no_slow_values_of_before(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.fail("gpu.0.*", 15)
        s.fault()
        s.driver.unset("gpu.0.*")
        assert "power_limit_watts" not in s.values(slow=False)
        assert "power_limit_watts" in s.values(slow=True)


@pytest.mark.parametrize("xid", [79, None])
def test_a_gpu_lost_at_the_fifth_tick_is_told_with_or_without_an_xid(
    tmp_path: Path, xid: int | None
) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as s:
        s.start()
        seen = []
        for tick in range(8):
            if tick == 5:
                s.driver.fail("gpu.0.*", 15)
                if xid is not None:
                    s.driver.xid(0, xid)
            s.now += 1
            reading = s.read(0, slow=tick % 4 == 0)
            seen.append(reading.fault.state if reading.fault else None)
            assert s.values(1)["temperature_celsius"] == 41
        assert seen == [None] * 5 + [FaultState.LOST] * 3


@pytest.mark.parametrize("code", [15, 16])
def test_a_gpu_that_was_reset_is_probed_again_and_its_counters_begin_anew(
    tmp_path: Path, code: int
) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as s:
        s.start()
        s.driver.fail("gpu.0.*", code)
        s.fault()
        assert not s.collector.stale()
        s.driver.unset("gpu.0.*")
        s.driver.set({"gpu.0.energy": 1000, "gpu.0.ecc.mode": 0, "gpu.0.retired.pending": 0})
        s.driver.forget_calls()
        assert s.values()["energy_joules_total"] == 1
        assert s.collector.stale()
        first, _ = s.enumerate()
        assert first.facts["ecc_mode"] == "disabled"
        assert "retired_pages_pending" in s.values()
        assert not s.driver.calls("nvmlDeviceGetVbiosVersion", slot=1)
        assert not s.collector.stale()


def test_a_field_that_says_lost_is_a_lost_gpu(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.fail("gpu.0.field.83", 15)
        assert s.fault().state is FaultState.LOST


def test_unknown_errors_everywhere_are_an_error_of_that_gpu(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as s:
        s.start()
        s.driver.fail("gpu.0.*", 999)
        fault = s.fault(0)
        assert (fault.state, fault.code) == (FaultState.ERROR, 999)
        assert s.values(1)["temperature_celsius"] == 41
        s.driver.unset("gpu.0.*")
        assert s.values(0)["temperature_celsius"] == 41


def test_a_hanging_gpu_blocks_its_own_reading_only(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as s:
        s.start()
        s.driver.hang(0)
        done: list[float | int] = []
        stuck = threading.Thread(target=lambda: done.append(s.values(0)["temperature_celsius"]))
        stuck.start()
        assert s.values(1)["temperature_celsius"] == 41
        assert not s.collector.stale()
        assert done == []
        s.driver.unhang(0)
        stuck.join(20)
        assert done == [41]


def test_a_gpu_without_permission_keeps_a_row_under_a_key_that_is_no_uuid(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 3)) as s:
        s.driver.fail("gpu.1.handle", 4)
        s.start()
        assert [x.key for x in s.subjects] == [UUIDS[0], "unknown-testnode-1", UUIDS[2]]
        assert s.subjects[1].columns == ()
        assert s.subjects[1].fault is not None
        assert s.subjects[1].fault.state is FaultState.NO_PERMISSION
        assert s.fault(1).state is FaultState.NO_PERMISSION
        assert s.values(2)["temperature_celsius"] == 41
        assert s.collector.processes(s.subjects[1]) == ()


def test_a_closed_gpu_is_tried_again_and_gets_its_uuid(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as s:
        s.driver.fail("gpu.1.handle", 4)
        s.start()
        s.driver.unset("gpu.1.handle")
        assert not s.collector.stale()
        s.now += RETRY_SECONDS
        assert s.collector.stale()
        assert [x.key for x in s.enumerate()] == UUIDS[:2]
        assert s.values(1)["temperature_celsius"] == 41
        assert not s.collector.stale()


def test_a_known_gpu_that_cannot_be_opened_keeps_its_uuid_and_facts(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as s:
        _, before = s.start()
        s.driver.fail("gpu.1.handle", 15)
        s.driver.reload()
        s.fault(0)
        assert s.collector.stale()
        first, second = s.enumerate()
        assert first.fault is None
        assert (second.key, second.facts) == (before.key, before.facts)
        assert second.columns == before.columns
        assert second.fault is not None
        assert second.fault.state is FaultState.LOST


def test_a_gpu_lost_from_the_start_is_keyed_by_its_address_until_it_answers(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as s:
        s.driver.fail("gpu.1.call.nvmlDeviceGetUUID", 15)
        _, second = s.start()
        assert second.key == "unknown-testnode-00000000:1B:00.0"
        assert s.fault(1).state is FaultState.LOST
        assert not s.collector.stale()
        s.driver.unset("gpu.1.call.nvmlDeviceGetUUID")
        s.fault(1)
        assert s.collector.stale()
        assert [x.key for x in s.enumerate()] == UUIDS[:2]
        assert s.values(1)["temperature_celsius"] == 41


def test_a_gpu_lost_while_its_facts_are_read_gets_them_later(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.driver.fail("gpu.0.vbios", 15)
        (subject,) = s.start()
        assert (subject.key, subject.columns) == (UUIDS[0], ())
        assert s.fault().state is FaultState.LOST
        s.driver.set({"gpu.0.vbios": "96.00"})
        s.fault()
        assert s.collector.stale()
        (subject,) = s.enumerate()
        assert subject.fault is None
        assert subject.facts["vbios"] == "96.00"
        assert s.values()["temperature_celsius"] == 41


def test_a_gpu_that_vanishes_from_the_count_is_missing_and_keeps_its_row(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 3)) as s:
        before = s.start()[1]
        s.driver.set({"gpus": "0 2"})
        assert s.collector.stale()
        found = s.enumerate()
        assert [x.key for x in found] == [UUIDS[0], UUIDS[2], UUIDS[1]]
        assert found[2].fault is not None
        assert found[2].fault.state is FaultState.MISSING
        assert (found[2].facts, found[2].columns) == (before.facts, before.columns)
        assert s.fault(2).state is FaultState.MISSING
        assert s.values(1)["temperature_celsius"] == 41
        assert not s.collector.stale()
        s.driver.unset("gpus")
        assert s.collector.stale()
        assert [x.key for x in s.enumerate()] == UUIDS[:3]
        assert s.values(1)["temperature_celsius"] == 41


def test_after_a_driver_reload_counters_begin_anew(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as s:
        s.start()
        s.values(0)
        s.driver.set({"driver_version": "595.10", "gpu.0.energy": 2000, "gpu.0.vbios": "new"})
        s.driver.reload()
        assert s.fault(0).state is FaultState.ERROR
        assert s.collector.stale()
        assert [x.facts["vbios"] for x in s.enumerate()] == ["new", "96.00.A5.00.01"]
        assert s.values(0)["energy_joules_total"] == 2
        assert s.collector.node_facts()["driver_version"] == "595.10"
        assert not s.collector.stale()


def test_a_driver_that_is_away_is_reported_until_it_is_back(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({"*": "!9", "init": "!9"})
        assert s.fault().code == 9
        for _ in range(2):
            assert s.collector.stale()
            with pytest.raises(CollectorUnavailable, match="not loaded") as raised:
                s.collector.subjects()
            assert not raised.value.permanent
        s.driver.unset("*", "init")
        s.enumerate()
        assert s.values()["temperature_celsius"] == 41
        assert not s.collector.stale()


def test_a_version_mismatch_under_the_running_agent_needs_its_restart(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({"*": "!18", "init": "!18"})
        s.fault()
        with pytest.raises(CollectorUnavailable, match="starts again by itself") as raised:
            s.collector.subjects()
        assert raised.value.permanent


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, "kernel driver is not loaded"),
        (18, "different versions"),
        (4, "may not use"),
        (999, "Unknown Error"),
        (17, "does not start"),
    ],
)
def test_init_errors_are_a_sentence_and_may_be_tried_again(
    tmp_path: Path, code: int, words: str
) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.driver.set({"init": f"!{code}"})
        with pytest.raises(CollectorUnavailable, match=words) as raised:
            s.collector.open()
        assert not raised.value.permanent
        s.driver.unset("init")
        s.start()
        assert s.values()["temperature_celsius"] == 41


def test_a_driver_that_cannot_count_is_unavailable(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.collector.open()
        s.driver.fail("call.nvmlDeviceGetCount_v2", 999)
        with pytest.raises(CollectorUnavailable):
            s.collector.subjects()


def test_a_machine_without_gpus_has_no_subjects(tmp_path: Path) -> None:
    with session(tmp_path, []) as s:
        assert list(s.start()) == []
        assert not s.collector.stale()


def test_closing_twice_and_reading_afterwards_is_harmless(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.collector.close()
        s.collector.close()
        assert s.fault().state is FaultState.MISSING
        assert s.collector.processes(s.subjects[0]) == ()


@pytest.mark.skipif(find_library("nvidia-ml") is not None, reason="this machine has a driver")
def test_without_the_library_a_sentence_says_what_to_install(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path)
    code = """
from gpufleet.agent.model import CollectorUnavailable
from gpufleet.agent.nvml.collector import NvmlCollector
try:
    NvmlCollector().open()
except CollectorUnavailable as e:
    print(e)
"""
    said = driver.python(code, library=False)
    assert said.startswith("libnvidia-ml.so.1 was not found: install the NVIDIA driver")


def test_a_collector_that_was_never_opened_is_not_stale() -> None:
    assert NvmlCollector().stale() is False


def test_before_it_is_opened_the_collector_knows_nothing_and_raises_nothing() -> None:
    assert NvmlCollector().node_facts() == {}


def test_a_lost_gpu_whose_index_moved_is_known_by_its_address(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 3)) as s:
        s.start()
        s.driver.set({"gpus": "2 1", "gpu.2.call.nvmlDeviceGetUUID": "!15"})
        found = s.enumerate()
        assert [x.key for x in found] == [UUIDS[2], UUIDS[1], UUIDS[0]]
        assert [x.fault.state if x.fault else None for x in found] == [
            FaultState.LOST,
            None,
            FaultState.MISSING,
        ]


def test_a_gpu_that_answers_nothing_at_first_gets_its_columns_once_it_does(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.geforce(0)]) as s:
        s.driver.fail("gpu.0.*", 999)
        s.start()
        assert s.fault().state is FaultState.ERROR
        s.driver.unset("gpu.0.*")
        s.fault()
        assert s.collector.stale()
        s.enumerate()
        assert s.columns() == set(s.values())


def test_what_failed_when_a_gpu_was_first_read_is_tried_again(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.gb200(0)]) as s:
        s.driver.fail("gpu.0.call.nvmlDeviceGetFieldValues", 999)
        s.driver.fail("gpu.0.vbios", 10)
        (subject,) = s.start()
        assert "vbios" not in subject.facts
        assert "power_watts" not in s.values()
        s.driver.unset("gpu.0.call.nvmlDeviceGetFieldValues")
        s.driver.set({"gpu.0.vbios": "96.00"})
        assert s.values()["power_watts"] == 190
        s.now += RETRY_SECONDS
        assert s.collector.stale()
        (subject,) = s.enumerate()
        assert (subject.facts["vbios"], subject.facts["nvlink_count"]) == ("96.00", 2)
        assert s.values()["nvlink_errors_total"] == 3


def test_a_gpu_lost_while_it_is_probed_again_comes_back_with_everything(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_h100(0)]) as s:
        s.driver.fail("gpu.0.vbios", 999)
        s.start()
        s.now += RETRY_SECONDS
        assert s.collector.stale()
        s.driver.set({"gpu.0.vbios": "!15"})
        assert s.enumerate()[0].fault is not None
        assert s.fault(1).state is FaultState.LOST
        s.driver.set({"gpu.0.vbios": "96.00"})
        s.fault(0)
        assert s.collector.stale()
        assert [x.fault for x in s.enumerate()] == [None] * 4
        assert s.values(1)["memory_used_bytes"] == 1500 << 20


def test_a_call_that_always_fails_is_not_probed_for_ever(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.driver.fail("gpu.0.vbios", 999)
        s.start()
        tries = 0
        while s.now < 1000 + 20 * RETRY_SECONDS:
            s.now += RETRY_SECONDS
            if s.collector.stale():
                tries += 1
                s.enumerate()
        assert tries == MOST_PROBES - 1


def test_gpus_are_read_by_many_threads_at_once(tmp_path: Path) -> None:
    gpus = [{**fake_gpus.h100(i), "temp": 30 + i, "energy": 1000 * i} for i in range(4)]
    with session(tmp_path, gpus) as s:
        s.start()
        wrong = []

        def watch(at: int) -> None:
            for turn in range(50):
                values = s.values(at, slow=turn % 10 == 0)
                if (values["temperature_celsius"], values["energy_joules_total"]) != (30 + at, at):
                    wrong.append((at, values))

        threads = [threading.Thread(target=watch, args=(at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(20):
            s.driver.set({"turn": turn})
        for thread in threads:
            thread.join(60)
        assert wrong == []
