"""NvmlCollector through the real pynvml, on healthy GPUs of several kinds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from support import fake_gpus
from support.fake_driver import missing
from support.nvml_session import session

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def test_eight_healthy_h100_give_every_metric_in_base_units(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 8)) as s:
        subjects = s.start()
        assert [x.key for x in subjects] == [fake_gpus.uuid(i) for i in range(8)]
        assert [x.index for x in subjects] == list(range(8))
        assert {x.name for x in subjects} == {"NVIDIA H100 80GB HBM3"}
        mib = 1 << 20
        s.now += 1
        assert s.values(5) == {
            "utilization_ratio": 0.37,
            "memory_controller_utilization_ratio": 0.12,
            "encoder_utilization_ratio": 0,
            "decoder_utilization_ratio": 0,
            "sm_active_ratio": 0.615,
            "tensor_active_ratio": 0.402,
            "dram_active_ratio": 0.333,
            "memory_used_bytes": 1024 * mib,
            "memory_free_bytes": (81559 - 479 - 1024) * mib,
            "memory_reserved_bytes": 479 * mib,
            "memory_total_bytes": 81559 * mib,
            "temperature_celsius": 41,
            "memory_temperature_celsius": 48,
            "temperature_margin_celsius": 46,
            "power_watts": 69.62,
            "power_average_watts": 69.85,
            "power_limit_watts": 700,
            "energy_joules_total": 123456.789,
            "clock_graphics_hertz": 1_980_000_000,
            "clock_sm_hertz": 1_980_000_000,
            "clock_memory_hertz": 2_619_000_000,
            "clock_video_hertz": 1_545_000_000,
            "performance_state": 0,
            "pcie_link_generation": 5,
            "pcie_link_width": 16,
            "pcie_replay_total": 9,
            "pcie_rx_bytes_total": 2_000_000,
            "pcie_tx_bytes_total": 1_000_000,
            "nvlink_rx_bytes_total": 8192 * 1024,
            "nvlink_tx_bytes_total": 4096 * 1024,
            "nvlink_errors_total": 0,
            "ecc_corrected_volatile_total": 0,
            "ecc_uncorrected_volatile_total": 0,
            "ecc_corrected_aggregate_total": 3,
            "ecc_uncorrected_aggregate_total": 0,
            "remapped_rows_correctable": 0,
            "remapped_rows_uncorrectable": 0,
            "remapped_rows_pending": 0,
            "remapped_rows_failed": 0,
            "recovery_action": 0,
            "sram_threshold_exceeded": 0,
            "throttle_reasons": 1,
            "throttle_thermal_seconds_total": 0,
            "throttle_power_seconds_total": 4.2,
        }
        assert s.columns(5) == set(s.values(5))


def test_the_node_tells_its_versions(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        assert s.collector.node_facts() == {
            "driver_version": "590.48.01",
            "nvml_version": "13.590.48.01",
            "cuda_version": "13.1",
            "gpu_count": 1,
        }


def test_static_facts_are_told_in_base_units(tmp_path: Path) -> None:
    numa = tmp_path / "sys/bus/pci/devices/0000:1a:00.0/numa_node"
    numa.parent.mkdir(parents=True)
    numa.write_text("1\n")
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        (subject,) = s.start()
        assert subject.facts == {
            "uuid": fake_gpus.uuid(0),
            "name": "NVIDIA H100 80GB HBM3",
            "pci_bus_id": "00000000:1A:00.0",
            "serial": "1650000000000",
            "board_part_number": "692-2G520-0200-000",
            "vbios": "96.00.A5.00.01",
            "minor_number": 0,
            "architecture": "Hopper",
            "compute_capability": "9.0",
            "cores": 16896,
            "memory_bus_width_bits": 5120,
            "persistence_mode": "enabled",
            "virtualization_mode": "none",
            "mig_mode": "disabled",
            "mig_mode_pending": "disabled",
            "ecc_mode": "enabled",
            "ecc_mode_pending": "enabled",
            "power_limit_default_watts": 700.0,
            "power_limit_min_watts": 200.0,
            "power_limit_max_watts": 700.0,
            "clock_graphics_max_hertz": 1_980_000_000,
            "clock_sm_max_hertz": 1_980_000_000,
            "clock_memory_max_hertz": 2_619_000_000,
            "clock_video_max_hertz": 1_545_000_000,
            "pcie_link_generation_max": 5,
            "pcie_link_generation_gpu_max": 5,
            "pcie_link_width_max": 16,
            "shutdown_tlimit_celsius": -8,
            "slowdown_tlimit_celsius": -2,
            "memory_max_tlimit_celsius": 0,
            "max_operating_tlimit_celsius": 0,
            "fan_count": 0,
            "nvlink_count": 2,
            "numa_node": 1,
        }


def test_absolute_thresholds_are_told_where_the_board_has_those(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.geforce(0), fake_gpus.pascal(1)]) as s:
        geforce, pascal = s.start()
        assert geforce.facts["slowdown_temperature_celsius"] == 96
        assert geforce.facts["shutdown_temperature_celsius"] == 101
        assert geforce.facts["max_operating_temperature_celsius"] == 90
        assert pascal.facts["slowdown_temperature_celsius"] == 101
        assert not any("tlimit" in name for name in (*geforce.facts, *pascal.facts))


def test_a_consumer_card_has_no_ecc_and_no_remaps_but_fans(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.geforce(0)]) as s:
        s.start()
        values = s.values()
        absent = ("ecc_", "remapped_", "nvlink_", "memory_temperature", "retired_", "sram_")
        assert not [name for name in s.columns() if name.startswith(absent)]
        assert values["fan_speed_ratio"] == 0.41
        assert s.read().detail == {
            "fan_speed_ratios": [0.30, 0.41],
            "throttle_seconds": {"sw_power_cap": 0},
        }
        assert "ecc_mode" not in s.subjects[0].facts


def test_old_pages_are_told_and_a_zero_of_an_uncounted_fan_is_not(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.pascal(0)]) as s:
        s.start()
        assert s.values()["retired_pages_single_bit"] == 1
        assert s.values()["fan_speed_ratio"] == 0.46
        s.driver.set({"gpu.0.fan.0": 0})
        assert "fan_speed_ratio" not in s.values()


def test_a_mig_parent_simply_has_no_utilisation(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.mig_parent(0)]) as s:
        (subject,) = s.start()
        assert subject.facts["mig_mode"] == "enabled"
        values = s.values()
        assert "utilization_ratio" not in s.columns()
        assert "remapped_rows_pending" not in s.columns()
        assert values["temperature_celsius"] == 41
        assert values["memory_used_bytes"] == 1024 << 20


def test_the_power_of_a_gb200_is_the_gpus_and_not_the_modules(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.gb200, 2)) as s:
        first, second = s.start()
        assert s.values()["power_watts"] == 190
        assert s.values()["power_average_watts"] == 191
        assert first.facts["serial"] == second.facts["serial"]
        assert first.key != second.key


def test_the_power_of_a_module_is_told_apart_in_the_detail(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.gb200(0), fake_gpus.h100(1)]) as s:
        s.start()
        detail = s.read().detail or {}
        assert (detail["module_power_watts"], detail["module_power_average_watts"]) == (620, 621)
        assert "module_power_watts" not in (s.read(1).detail or {})


def test_errors_are_told_by_place_and_throttling_by_reason(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.driver.set(
            {
                "gpu.0.ecc.dram.corrected_aggregate": 3,
                "gpu.0.ecc.dram.uncorrected_aggregate": 0,
                "gpu.0.ecc.sram.aggregate_parity": 2,
                "gpu.0.ecc.sram.volatile_corrected": 5,
                "gpu.0.ecc.sram.l2": 2,
                "gpu.0.violation.sw_thermal": 1_500_000_000,
                "gpu.0.violation.hw_power_brake": 0,
            }
        )
        s.start()
        detail = s.read().detail or {}
        nothing = {"uncorrected_parity": 0, "uncorrected_secded": 0, "corrected": 0}
        units = {"l2_cache": 2, "sm": 0, "pcie": 0, "microcontroller": 0, "other": 0}
        assert detail["ecc"] == {
            "volatile": {"sram": {**nothing, "corrected": 5}},
            "aggregate": {
                "device_memory": {"corrected": 3, "uncorrected": 0},
                "sram": {**nothing, "uncorrected_parity": 2, "uncorrected_by_unit": units},
            },
        }
        assert detail["throttle_seconds"] == {
            "sw_power_cap": 4.2,
            "sw_therm_slowdown": 1.5,
            "hw_power_brake": 0,
        }


def test_a_gpu_that_supports_nothing_is_a_row_without_values(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.bare(0), fake_gpus.h100(1)]) as s:
        bare, _ = s.start()
        assert bare.columns == ()
        assert bare.fault is None
        assert s.values() == {}
        assert s.values(1)["temperature_celsius"] == 41


def test_a_gpu_without_framebuffer_has_no_memory_values(tmp_path: Path) -> None:
    gpu = {k: v for k, v in fake_gpus.h100(0).items() if not k.startswith("memory.")}
    with session(tmp_path, [gpu, {**fake_gpus.h100(1), "memory.total": 0}]) as s:
        s.start()
        assert not [name for name in s.columns() if name.startswith("memory_") and "bytes" in name]
        assert "memory_used_bytes" not in s.values(1)
        assert "memory_total_bytes" not in s.values(1)


def test_static_calls_are_made_once_and_a_tick_takes_one_batch(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as s:
        s.start()
        for slow in (True, False, False, True):
            for at in range(2):
                s.values(at, slow=slow)
        for function in ("nvmlDeviceGetName", "nvmlDeviceGetVbiosVersion", "nvmlDeviceGetNumFans"):
            assert len(s.driver.calls(function, slot=0)) == 1
        s.driver.forget_calls()
        s.values(0, slow=False)
        fast = s.driver.calls("nvmlDeviceGetFieldValues")
        s.values(0, slow=True)
        slow = s.driver.calls("nvmlDeviceGetFieldValues")[1:]
        assert [c.extra for c in fast] == ["186,185,83,82,74,75,197,198,138:*,139:*"]
        assert len(slow) == 1
        assert slow[0].extra.startswith("186,")
        assert ",230," in slow[0].extra


def test_the_blocking_pcie_throughput_calls_are_never_made(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.values(slow=True)
        s.values(slow=False)
        assert s.driver.calls("nvmlDeviceGetTemperature")
        assert not s.driver.calls("nvmlDeviceGetPcieThroughput")


def test_what_is_not_supported_is_asked_once_and_never_again(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.bare(0)]) as s:
        s.start()
        s.driver.forget_calls()
        s.values(slow=True)
        s.values(slow=False)
        assert s.driver.calls() == []


def test_the_first_fast_readings_are_answered_without_any_slow_call(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.forget_calls()
        assert s.values(slow=False)["ecc_corrected_aggregate_total"] == 3
        calls = Counter(c.function for c in s.driver.calls())
        assert calls["nvmlDeviceGetEnforcedPowerLimit"] == 0
        assert sum(calls.values()) == 13


def test_slow_values_are_carried_until_a_reading_of_them_fails(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.driver.set({"gpu.0.ecc.corrected_volatile": 7})
        assert s.values(slow=False)["ecc_corrected_volatile_total"] == 0
        assert s.values(slow=True)["ecc_corrected_volatile_total"] == 7
        s.driver.set({"gpu.0.ecc.corrected_volatile": 8})
        assert s.values(slow=False)["ecc_corrected_volatile_total"] == 7
        s.driver.fail("gpu.0.ecc.corrected_volatile", 999)
        assert "ecc_corrected_volatile_total" not in s.values(slow=True)
        assert "ecc_corrected_volatile_total" not in s.values(slow=False)
        assert s.values(slow=False)["ecc_corrected_aggregate_total"] == 3


def test_slow_values_that_grew_too_old_are_left_out(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        s.values(slow=True)
        s.now += 60
        assert "power_limit_watts" in s.values(slow=False)
        s.now += 1
        assert "power_limit_watts" not in s.values(slow=False)
        assert "power_limit_watts" in s.values(slow=True)


def test_indices_may_change_but_the_uuid_stays_the_key(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as s:
        s.start()
        s.driver.set({"gpus": "1 0", "gpu.1.temp": 55})
        first, second = s.enumerate()
        assert (first.key, first.index) == (fake_gpus.uuid(1), 0)
        assert (second.key, second.index) == (fake_gpus.uuid(0), 1)
        assert s.values(0)["temperature_celsius"] == 55


def test_counters_that_were_set_back_are_passed_on_as_they_are(tmp_path: Path) -> None:
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        assert s.values()["energy_joules_total"] == 123456.789
        s.driver.set({"gpu.0.energy": 1500})
        assert s.values()["energy_joules_total"] == 1.5
