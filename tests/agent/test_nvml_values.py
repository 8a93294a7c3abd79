"""What drivers say that is no reading is left out, and errors of a field lose that field only."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.agent.nvml.fields import is_blank
from support import fake_gpus
from support.fake_driver import missing
from support.nvml_session import session

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def test_the_zeros_of_a_vgpu_guest_are_no_readings(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.vgpu_guest(0)]) as s:
        (subject,) = s.start()
        values = s.values()
        assert set(values) == {
            "utilization_ratio",
            "memory_controller_utilization_ratio",
            "memory_used_bytes",
            "memory_free_bytes",
            "memory_reserved_bytes",
            "memory_total_bytes",
        }
        assert subject.facts["virtualization_mode"] == "vgpu"
        assert "serial" not in subject.facts


def test_zero_degrees_with_running_clocks_are_a_reading(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({"gpu.0.temp": 0})
        assert s.values()["temperature_celsius"] == 0
        s.driver.set({f"gpu.0.clock.{name}": 0 for name in ("graphics", "sm", "memory", "video")})
        assert not [name for name in s.values() if name.startswith(("clock", "temperature_c"))]


@pytest.mark.parametrize(
    ("key", "value", "metric"),
    [
        ("util.gpu", 101, "utilization_ratio"),
        ("util.memory", 4294967295, "memory_controller_utilization_ratio"),
        ("util.encoder", 250, "encoder_utilization_ratio"),
        ("field.83", f"ull:{1 << 47}", "energy_joules_total"),
        ("field.83", "ull:9223372036854775794", "energy_joules_total"),
        ("field.186", "u:4294967295", "power_watts"),
        ("field.82", "d:140737488355328", "memory_temperature_celsius"),
        ("field.82", "d:nan", "memory_temperature_celsius"),
        ("memory_temp", 511, "memory_temperature_celsius"),
        ("temp", 4294967291, "temperature_celsius"),
        ("pstate", 32, "performance_state"),
        ("memory.reserved", "0xFFFFFFFFFFFFFFFF", "memory_reserved_bytes"),
        ("memory.used", 1 << 60, "memory_used_bytes"),
        ("memory.total", "0xFFFFFFFFFFFFFFFF", "memory_total_bytes"),
        ("clock.sm", 4294967295, "clock_sm_hertz"),
        ("pcie.generation", 0, "pcie_link_generation"),
        ("power_limit.enforced", 0, "power_limit_watts"),
    ],
)
def test_nonsense_is_left_out_and_the_other_values_stay(
    tmp_path: Path, key: str, value: str | int, metric: str
) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        before = s.values()
        s.driver.set({f"gpu.0.{key}": value})
        after = s.values()
        assert metric in before
        assert set(before) - set(after) == {metric}


@pytest.mark.parametrize(
    ("value", "celsius"),
    [("u:61", 61), ("d:60.7", 61), ("ul:62", 62), ("ull:63", 63), ("sll:64", 64), ("us:65", 65)],
)
def test_a_field_is_read_by_the_type_it_comes_in(tmp_path: Path, value: str, celsius: int) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({"gpu.0.field.82": value})
        assert s.values()["memory_temperature_celsius"] == celsius


def test_a_signed_margin_stays_signed(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({"gpu.0.margin": -3})
        assert s.values()["temperature_margin_celsius"] == -3


def test_unknown_throttle_bits_are_kept(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({"gpu.0.throttle": "0x4000000000000124"})
        assert s.values()["throttle_reasons"] == 0x4000000000000124


def test_a_field_that_fails_once_is_absent_once(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        for code in (999, 10, 27):
            s.driver.fail("gpu.0.energy", code)
            s.driver.fail("gpu.0.temp", code)
            values = s.values()
            assert "energy_joules_total" not in values
            assert "temperature_celsius" not in values
            assert values["power_watts"] == 69.62
        s.driver.set({"gpu.0.energy": 5000, "gpu.0.temp": 44})
        assert s.values()["energy_joules_total"] == 5
        assert s.values()["temperature_celsius"] == 44


@pytest.mark.parametrize("code", [3, 13, 25, 26])
def test_a_permanent_error_is_asked_for_once(tmp_path: Path, code: int) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.driver.fail("gpu.0.temp", code)
        s.driver.fail("gpu.0.field.82", code)
        s.driver.fail("gpu.0.call.nvmlDeviceGetTemperatureV", code)
        s.start()
        s.driver.forget_calls()
        values = s.values()
        assert "temperature_celsius" not in values
        assert not {"temperature_celsius", "memory_temperature_celsius"} & s.columns()
        assert not s.driver.calls("nvmlDeviceGetTemperature")
        (batch,) = s.driver.calls("nvmlDeviceGetFieldValues")
        assert "82" not in batch.extra.split(",")


def test_a_refused_reading_is_told_once_and_asked_again_with_the_slow_tier(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.driver.fail("gpu.0.util.gpu", 4)
        s.start()
        for slow in (False, False, True, False):
            assert "utilization_ratio" not in s.values(slow=slow)
        assert [r.getMessage() for r in caplog.records] == [
            f"driver refuses a reading gpu={fake_gpus.uuid(0)} call=nvmlDeviceGetUtilizationRates"
        ]
        assert len(s.driver.calls("nvmlDeviceGetUtilizationRates")) == 2
        s.driver.set({"gpu.0.util.gpu": 50})
        assert s.values(slow=True)["utilization_ratio"] == 0.5


def test_power_and_energy_come_from_their_calls_where_the_batch_has_none(tmp_path: Path) -> None:
    gpu = {**fake_gpus.h100(0), "field.186": "!3", "field.83": "!2", "field.94": "!3"}
    with session(tmp_path, [{**gpu, "field.74": "!3", "field.75": "!3"}]) as s:
        s.start()
        values = s.values()
        assert values["power_watts"] == 69.62
        assert values["energy_joules_total"] == 123456.789
        assert values["pcie_replay_total"] == 9
        assert values["throttle_power_seconds_total"] == 4.2
        s.now += 1
        assert s.columns() == set(s.values())


@given(st.integers(0, 1 << 46))
def test_ordinary_numbers_are_no_blanks(value: int) -> None:
    assert is_blank(value) == (value == ctypes.c_uint(-1).value)
