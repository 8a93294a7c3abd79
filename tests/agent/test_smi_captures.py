"""Recorded outputs of real GPUs: what each says, and what it only seems to say."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gpufleet.agent.smi.log import SmiGpu, SmiLog, parse
from gpufleet.proto.catalog import BY_ID

CAPTURES = Path(__file__).resolve().parents[2].parent / "shared" / "captures" / "nvidia-smi-xml"

pytestmark = pytest.mark.skipif(
    not CAPTURES.is_dir(), reason="the recorded outputs (../shared/captures) are not here"
)

MIB = 1 << 20


@cache
def capture(name: str) -> SmiLog:
    return parse((CAPTURES / f"{name}.xml").read_bytes())


def only(name: str) -> SmiGpu:
    (gpu,) = capture(name).gpus
    return gpu


def values(gpu: SmiGpu) -> dict[str, float | int]:
    return {BY_ID[id].name: BY_ID[id].value(raw) for id, raw in gpu.values.items()}


def detail(gpu: SmiGpu) -> Any:
    return gpu.detail


def test_every_capture_parses_whole_and_without_a_fault() -> None:
    files = sorted(CAPTURES.glob("*.xml"))
    assert len(files) >= 15
    for file in files:
        log = parse(file.read_bytes())
        assert log.whole, file.name
        assert log.gpus, file.name
        assert log.complaints == (), file.name
        for gpu in log.gpus:
            assert gpu.fault is None, file.name
            assert gpu.uuid is not None, file.name
            assert gpu.bus_id == gpu.facts["pci_bus_id"], file.name
            assert len(gpu.values) >= 18, file.name


def test_a100_1x_570() -> None:
    gpu = only("a100-1x-570")
    read = values(gpu)
    assert capture("a100-1x-570").facts == {"driver_version": "570.148.08", "cuda_version": "12.8"}
    assert gpu.facts["name"] == "NVIDIA A100-SXM4-40GB"
    assert gpu.facts["architecture"] == "Ampere"
    assert gpu.facts["virtualization_mode"] == "passthrough"
    assert gpu.facts["shutdown_temperature_celsius"] == 92
    assert gpu.facts["slowdown_temperature_celsius"] == 89
    assert gpu.facts["max_operating_temperature_celsius"] == 85
    assert gpu.facts["memory_max_temperature_celsius"] == 95
    assert gpu.facts["clock_memory_max_hertz"] == 1_215_000_000
    assert (read["temperature_celsius"], read["memory_temperature_celsius"]) == (33, 34)
    assert (read["power_watts"], read["power_limit_watts"]) == (49.68, 400.0)
    assert read["memory_total_bytes"] == 40960 * MIB
    assert read["memory_reserved_bytes"] == 518 * MIB
    assert read["recovery_action"] == 0  # "None" is an answer, the reset status is deprecated
    assert read["throttle_reasons"] == 1
    absent = {"power_average_watts", "temperature_margin_celsius", "fan_speed_ratio"}
    assert absent.isdisjoint(read)
    assert "throttle_power_seconds_total" not in read
    assert not {name for name in gpu.facts if "tlimit" in name}


def test_a100_mig_535() -> None:
    log, gpu = capture("a100-mig-535"), only("a100-mig-535")
    read = values(gpu)
    assert log.attached == 4  # and only one of them in the file
    assert gpu.facts["minor_number"] == 1
    assert gpu.index == 0
    assert gpu.facts["mig_mode"] == "enabled"
    assert [d.gpu_instance for d in gpu.mig] == [3, 4, 5, 6]
    assert [d.index for d in gpu.mig] == [0, 1, 2, 3]
    assert not any(d.shares_memory for d in gpu.mig)
    device = gpu.mig[0]
    assert device.facts["multiprocessor_count"] == 14
    assert {BY_ID[id].name: raw // MIB for id, raw in device.values.items()} == {
        "memory_total_bytes": 19968,
        "memory_used_bytes": 12,
        "memory_free_bytes": 19955,
        "memory_reserved_bytes": 0,
    }
    assert read["power_watts"] == 67.03  # <power_draw>, as drivers before 550 had it
    assert read["memory_temperature_celsius"] == 44
    assert read["throttle_reasons"] == 0
    assert read["recovery_action"] == 0  # from the reset status: No, No
    absent = {"utilization_ratio", "memory_controller_utilization_ratio", "fan_speed_ratio"}
    absent |= {"encoder_utilization_ratio", "remapped_rows_pending", "remapped_rows_correctable"}
    assert absent.isdisjoint(read)


def test_a10g_1x_515() -> None:
    gpu = only("a10g-1x-515")
    read = values(gpu)
    assert "fan_speed_ratio" not in read  # 0 % on a passive board
    assert "serial" not in gpu.facts  # zeros
    assert "mig_mode" not in gpu.facts
    assert (read["power_watts"], read["power_limit_watts"]) == (25.58, 300.0)
    assert (read["pcie_link_generation"], read["pcie_link_width"]) == (1, 8)
    assert gpu.facts["pcie_link_width_max"] == 16
    assert read["performance_state"] == 8
    assert read["ecc_uncorrected_aggregate_total"] == 0
    assert read["remapped_rows_failed"] == 0
    assert "recovery_action" not in read
    assert "memory_temperature_celsius" not in read
    assert gpu.facts["pci_bus_id"] == "00000000:00:1E.0"
    (process,) = gpu.processes
    assert (process.pid, process.type, process.program) == (725, "G", "Xorg")
    assert process.memory_bytes == 22 * MIB


def test_b200_8x_580() -> None:
    gpus = capture("b200-8x-580").gpus
    assert len(gpus) == 8
    assert [gpu.index for gpu in gpus] == list(range(8))
    assert [gpu.facts["minor_number"] for gpu in gpus] == list(range(8))
    assert [values(gpu)["temperature_celsius"] for gpu in gpus[:3]] == [39, 53, 38]
    read = values(gpus[0])
    assert (read["power_watts"], read["power_average_watts"]) == (195.79, 195.68)
    assert read["temperature_margin_celsius"] == 49
    assert read["throttle_power_seconds_total"] == 770.461
    assert read["throttle_thermal_seconds_total"] == 0
    assert read["sram_threshold_exceeded"] == 0
    assert gpus[0].facts["shutdown_tlimit_celsius"] == -5
    assert gpus[0].facts["slowdown_tlimit_celsius"] == -3
    assert gpus[0].facts["max_operating_tlimit_celsius"] == 0
    assert "shutdown_temperature_celsius" not in gpus[0].facts
    assert gpus[0].detail["memory_power_average_watts"] == 22.33
    assert "module_power_watts" not in gpus[0].detail


def test_gb200_4x_580() -> None:
    log = capture("gb200-4x-580")
    gpu = log.gpus[0]
    read = values(gpu)
    assert (read["power_watts"], read["power_limit_watts"]) == (165.93, 1200.0)
    assert gpu.detail["module_power_watts"] == 467.68
    assert gpu.detail["module_power_limit_watts"] == 2500.0
    assert gpu.facts["slowdown_tlimit_celsius"] == -2
    assert len({gpu.facts["serial"] for gpu in log.gpus}) == 2  # two GPUs a board
    assert len({gpu.uuid for gpu in log.gpus}) == 4
    thermal = [values(each)["throttle_thermal_seconds_total"] for each in log.gpus]
    assert thermal == [0.0, 3.36, 7.319, 7.322]
    fabric = detail(gpu)["fabric"]
    assert (fabric["state"], fabric["clique_id"]) == ("Completed", "2")


def test_gb200_2x_ecc_injected() -> None:
    sick, well = capture("gb200-2x-ecc-injected").gpus
    read = values(sick)
    assert read["ecc_uncorrected_volatile_total"] == 5
    assert read["ecc_uncorrected_aggregate_total"] == 8
    assert read["ecc_corrected_volatile_total"] == 0  # SRAM is N/A and counts for nothing
    assert (read["remapped_rows_uncorrectable"], read["remapped_rows_failed"]) == (1, 1)
    assert (read["utilization_ratio"], read["power_watts"]) == (0.5, 565.11)
    assert sick.facts["pci_bus_id"] == "00000000:0A:00.0"  # written as 0000:0A:00.0
    absent = {"recovery_action", "sram_threshold_exceeded", "throttle_power_seconds_total"}
    assert absent.isdisjoint(read)
    assert "virtualization_mode" not in sick.facts
    assert values(well)["ecc_uncorrected_volatile_total"] == 0


def test_gb200_2x_fabric_degraded() -> None:
    well, sick = capture("gb200-2x-fabric-degraded").gpus
    health = detail(sick)["fabric"]["health"]
    assert (health["summary"], health["route_unhealthy"]) == ("Unhealthy", True)
    assert detail(well)["fabric"]["health"]["summary"] == "Healthy"
    assert [values(gpu)["utilization_ratio"] for gpu in (well, sick)] == [0.44, 0.37]


def test_gb200_2x_throttle_counters() -> None:
    first, second = capture("gb200-2x-throttle-counters").gpus
    assert values(first)["throttle_power_seconds_total"] == 0.039
    assert values(second)["throttle_power_seconds_total"] == 0
    assert detail(first)["throttle_seconds"]["sw_power_cap"] == 0.039595
    assert values(first)["ecc_uncorrected_volatile_total"] == 0
    assert values(first)["retired_pages_pending"] == 0


def test_graphics_device_418() -> None:
    gpu = only("graphics-device-418")  # without DOCTYPE, architecture or MIG mode
    read = values(gpu)
    assert gpu.facts["name"] == "Graphics Device"
    assert "architecture" not in gpu.facts
    assert read["fan_speed_ratio"] == 0  # a GeForce whose fan stands still when idle
    assert (read["power_watts"], read["power_limit_watts"]) == (8.93, 130.0)
    assert read["memory_total_bytes"] == 5912 * MIB
    assert "memory_reserved_bytes" not in read
    assert read["memory_controller_utilization_ratio"] == 0.01
    assert read["throttle_reasons"] == 1
    assert "ecc_corrected_volatile_total" not in read
    assert gpu.facts["slowdown_temperature_celsius"] == 93


def test_gt1030_1x_470() -> None:
    gpu = only("gt1030-1x-470")
    read = values(gpu)
    assert len(gpu.processes) == 10
    assert {process.type for process in gpu.processes} == {"G"}
    assert gpu.processes[0].memory_bytes == 547 * MIB
    assert gpu.processes[1].memory_bytes == 0  # says 0 MiB, and that is a reading
    assert read["fan_speed_ratio"] == 0.35
    assert read["power_limit_watts"] == 30.0
    assert gpu.facts["power_limit_min_watts"] == 25.5
    assert read["pcie_link_width"] == 4
    assert read["decoder_utilization_ratio"] == 0
    absent = {"power_watts", "encoder_utilization_ratio", "ecc_uncorrected_volatile_total"}
    absent |= {"remapped_rows_pending", "memory_temperature_celsius"}
    assert absent.isdisjoint(read)
    assert "max_operating_temperature_celsius" not in gpu.facts


def test_l40s_1x_595() -> None:
    gpu = only("l40s-1x-595")
    read = values(gpu)
    assert gpu.facts["architecture"] == "Ada"
    assert (read["temperature_celsius"], read["temperature_margin_celsius"]) == (29, 59)
    assert (read["power_watts"], read["power_average_watts"]) == (66.16, 65.64)
    assert (read["pcie_link_width"], gpu.facts["pcie_link_width_max"]) == (8, 16)
    assert "memory_max_tlimit_celsius" not in gpu.facts
    assert {"fan_speed_ratio", "memory_temperature_celsius"}.isdisjoint(read)


def test_p2000_1x_525() -> None:
    gpu = only("p2000-1x-525")  # <power_readings> in v12
    read = values(gpu)
    assert (read["power_watts"], read["power_limit_watts"]) == (4.61, 75.0)
    assert gpu.facts["power_limit_min_watts"] == 75.0
    assert read["fan_speed_ratio"] == 0.46
    assert gpu.facts["serial"] == "0322218049033"
    assert (read["throttle_reasons"], read["performance_state"]) == (1, 8)
    assert {"power_average_watts", "ecc_corrected_volatile_total"}.isdisjoint(read)


def test_rtx2080_2x_590() -> None:
    first, second = capture("rtx2080-2x-590").gpus
    assert first.uuid == second.uuid  # made the same by whoever published it
    assert (first.bus_id, second.bus_id) == ("00000000:01:00.0", "00000000:02:00.0")
    assert [values(gpu)["power_watts"] for gpu in (first, second)] == [1.0, 1.62]
    assert [values(gpu)["fan_speed_ratio"] for gpu in (first, second)] == [0.31, 0.32]
    assert "power_average_watts" not in values(first)
    assert "serial" not in first.facts
    assert "temperature_margin_celsius" not in values(first)
    assert values(first)["recovery_action"] == 0


def test_rtx3080_1x_536() -> None:
    gpu = only("rtx3080-1x-536")
    read = values(gpu)
    assert (read["power_watts"], read["power_limit_watts"]) == (22.78, 336.0)
    assert gpu.facts["power_limit_default_watts"] == 320.0
    assert read["fan_speed_ratio"] == 0
    assert "minor_number" not in gpu.facts
    assert "persistence_mode" not in gpu.facts
    assert read["memory_controller_utilization_ratio"] == 0.37
    edge = next(process for process in gpu.processes if process.pid == 2214)
    assert edge.program == "msedge"  # without its arguments
    assert edge.memory_bytes == 79 * MIB


def test_rtx4000ada_1x_595() -> None:
    gpu = only("rtx4000ada-1x-595")
    read = values(gpu)
    assert "serial" not in gpu.facts  # REDACTED
    assert gpu.facts["ecc_mode"] == "disabled"
    assert gpu.facts["shutdown_tlimit_celsius"] == -7
    assert (read["power_watts"], read["power_average_watts"]) == (8.44, 8.81)
    assert read["throttle_power_seconds_total"] == 4251.825
    assert read["fan_speed_ratio"] == 0.3
    assert "ecc_uncorrected_volatile_total" not in read
    assert {"C", "G", "C+G"} <= {process.type for process in gpu.processes}
