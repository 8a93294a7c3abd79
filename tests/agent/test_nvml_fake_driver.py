"""The fake driver keeps the rules of the real library that callers depend on."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import fake_gpus
from support.fake_driver import FakeDriver, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[FakeDriver]:
    with FakeDriver(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)).installed() as made:
        yield made


@pytest.fixture
def nvml(driver: FakeDriver) -> Any:
    import pynvml

    pynvml.nvmlInit()
    return pynvml


def function(nvml: Any, name: str) -> Any:
    return nvml._nvmlGetFunctionPointer(name)


def test_the_size_probe_of_process_lists_answers_the_count(driver: FakeDriver, nvml: Any) -> None:
    handle, count = nvml.nvmlDeviceGetHandleByIndex(0), ctypes.c_uint(0)
    running = function(nvml, "nvmlDeviceGetComputeRunningProcesses_v3")
    assert running(handle, ctypes.byref(count), None) == nvml.NVML_SUCCESS
    driver.set({"gpu.0.process.1": "C 5", "gpu.0.process.2": "C 6", "gpu.0.process.3": "G 6"})
    assert running(handle, ctypes.byref(count), None) == nvml.NVML_ERROR_INSUFFICIENT_SIZE
    assert count.value == 2
    assert [p.pid for p in nvml.nvmlDeviceGetComputeRunningProcesses(handle)] == [1, 2]


def test_process_utilisation_is_insufficient_size_or_not_found(
    driver: FakeDriver, nvml: Any
) -> None:
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    with pytest.raises(nvml.NVMLError_NotFound):
        nvml.nvmlDeviceGetProcessUtilization(handle, 0)
    driver.set({"gpu.0.process.1": "C 5 sm=30 at=1000"})
    (sample,) = nvml.nvmlDeviceGetProcessUtilization(handle, 999)
    assert (sample.pid, sample.smUtil, sample.timeStamp) == (1, 30, 1000)
    with pytest.raises(nvml.NVMLError_NotFound):
        nvml.nvmlDeviceGetProcessUtilization(handle, 1000)


def test_samples_answer_their_probe_with_success(nvml: Any) -> None:
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    _, samples = nvml.nvmlDeviceGetSamples(handle, nvml.NVML_GPU_UTILIZATION_SAMPLES, 0)
    assert [s.sampleValue.uiVal for s in samples] == [37] * 5


def test_a_field_batch_succeeds_outside_and_fails_inside(driver: FakeDriver, nvml: Any) -> None:
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    driver.fail("gpu.0.memory_temp", 999)
    fields = nvml.nvmlDeviceGetFieldValues(handle, [83, 82, 305])
    assert [f.nvmlReturn for f in fields] == [0, 999, 3]


def test_a_struct_of_another_version_is_refused(nvml: Any) -> None:
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    with pytest.raises(nvml.NVMLError) as raised:
        nvml.nvmlDeviceGetMemoryInfo(handle, version=0x03000028)
    assert raised.value.value == nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH


def test_nothing_works_after_the_last_shutdown(nvml: Any) -> None:
    nvml.nvmlInit()
    nvml.nvmlShutdown()
    assert nvml.nvmlDeviceGetCount() == 2
    nvml.nvmlShutdown()
    with pytest.raises(nvml.NVMLError_Uninitialized):
        nvml.nvmlDeviceGetCount()


def test_every_xid_is_delivered_once_and_waiting_sleeps(driver: FakeDriver, nvml: Any) -> None:
    events = nvml.nvmlEventSetCreate()
    for index in range(2):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
    driver.xid(1, 79)
    driver.xid(0, 31)
    got = [nvml.nvmlEventSetWait_v2(events, 5000) for _ in range(2)]
    assert [e.eventData for e in got] == [79, 31]
    assert nvml.nvmlDeviceGetUUID(got[0].device) == fake_gpus.uuid(1)
    began = time.monotonic()
    with pytest.raises(nvml.NVMLError_Timeout):
        nvml.nvmlEventSetWait_v2(events, 40)
    assert time.monotonic() - began >= 0.04
    nvml.nvmlEventSetFree(events)


def test_a_hang_of_milliseconds_makes_each_call_so_slow(driver: FakeDriver, nvml: Any) -> None:
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    driver.hang(0, milliseconds=30)
    began = time.monotonic()
    assert nvml.nvmlDeviceGetTemperature(handle, 0) == 41
    assert time.monotonic() - began >= 0.03


def test_lively_boards_move_with_the_clock(tmp_path: Path) -> None:
    with FakeDriver(tmp_path, [fake_gpus.lively_h100(0)]).installed() as driver:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        first = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        driver.set({"since": f"{time.time() - 100:.3f}"})
        later = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        assert later - first >= 40_000_000
        assert 45 <= pynvml.nvmlDeviceGetUtilizationRates(handle).gpu <= 95


def test_subprocesses_run_on_it_and_their_calls_are_logged(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path, fake_gpus.fleet(fake_gpus.h100, 3))
    said = driver.python("import pynvml as n; n.nvmlInit(); print(n.nvmlDeviceGetCount())")
    assert said == "3\n"
    assert [c.function for c in driver.calls()] == ["nvmlInitWithFlags", "nvmlDeviceGetCount_v2"]
    driver.forget_calls()
    assert driver.calls() == []


def test_mig_devices_have_gaps_and_know_their_gpu(driver: FakeDriver, nvml: Any) -> None:
    driver.set({f"gpu.0.{key}": value for key, value in fake_gpus.mig_h100(0).items()})
    gpu = nvml.nvmlDeviceGetHandleByIndex(0)
    assert nvml.nvmlDeviceGetMaxMigDeviceCount(gpu) == 7
    with pytest.raises(nvml.NVMLError_NotFound):
        nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 1)
    mig = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 2)
    assert nvml.nvmlDeviceIsMigDeviceHandle(mig).value == 1
    assert nvml.nvmlDeviceIsMigDeviceHandle(gpu).value == 0
    parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig)
    assert nvml.nvmlDeviceGetUUID(parent) == fake_gpus.uuid(0)
    assert nvml.nvmlDeviceGetUUID(mig) == fake_gpus.mig_uuid(0, 2)
    other = nvml.nvmlDeviceGetHandleByIndex(1)
    assert nvml.nvmlDeviceGetMaxMigDeviceCount(other) == 0
    driver.unset("gpu.0.mig.2.uuid")
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceGetMemoryInfo(mig)


def test_gpm_wants_two_samples_of_the_same_gpu(nvml: Any) -> None:
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(2)]
    samples = [nvml.nvmlGpmSampleAlloc() for _ in range(2)]
    for handle, sample in zip(handles, samples, strict=True):
        nvml.nvmlGpmSampleGet(handle, sample)
    asked = nvml.c_nvmlGpmMetricsGet_t()
    asked.version, asked.numMetrics = 1, 1
    asked.sample1, asked.sample2 = samples
    asked.metrics[0].metricId = nvml.NVML_GPM_METRIC_SM_UTIL
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlGpmMetricsGet(asked)
    nvml.nvmlGpmSampleGet(handles[0], samples[1])
    nvml.nvmlGpmMetricsGet(asked)
    assert asked.metrics[0].value == 61.5
    for sample in samples:
        nvml.nvmlGpmSampleFree(sample)
