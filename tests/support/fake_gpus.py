"""Boards for the fake driver: what each kind of GPU answers, in the driver's own units."""

from __future__ import annotations

from collections.abc import Callable

Value = str | int | float
Gpu = dict[str, Value]
"""State keys of one GPU without their ``gpu.N.`` (tests/fake_nvml/README.md)."""

MIB = 1 << 20


def uuid(index: int) -> str:
    """The UUID that the boards below have at an index."""
    return f"GPU-00000000-0000-4000-8000-{index:012x}"


def _identity(index: int, name: str) -> Gpu:
    return {
        "uuid": uuid(index),
        "name": name,
        "pci": f"00000000:{0x1A + index:02X}:00.0",
        "minor": index,
    }


def bare(index: int) -> Gpu:
    """Supports nothing but its identity."""
    return _identity(index, "NVIDIA Graphics Device")


def h100(index: int) -> Gpu:
    """An H100 SXM under a driver of the 590 series: margins, no absolute thresholds, no fan."""
    return {
        **_identity(index, "NVIDIA H100 80GB HBM3"),
        "serial": f"165{index:010d}",
        "board_part_number": "692-2G520-0200-000",
        "vbios": "96.00.A5.00.01",
        "architecture": 9,
        "compute_capability": "9.0",
        "cores": 16896,
        "memory.bus_width": 5120,
        "persistence_mode": 1,
        "virtualization_mode": 0,
        "mig.mode": 0,
        "ecc.mode": 1,
        "power_limit.enforced": 700000,
        "power_limit.default": 700000,
        "power_limit.min": 200000,
        "power_limit.max": 700000,
        "clock.graphics": 1980,
        "clock.sm": 1980,
        "clock.memory": 2619,
        "clock.video": 1545,
        "clock_max.graphics": 1980,
        "clock_max.sm": 1980,
        "clock_max.memory": 2619,
        "clock_max.video": 1545,
        "tlimit.shutdown": -8,
        "tlimit.slowdown": -2,
        "tlimit.memory_max": 0,
        "tlimit.gpu_max": 0,
        "temp": 41,
        "memory_temp": 48,
        "margin": 46,
        "power": 69620,
        "power_average": 69850,
        "energy": 123_456_789,
        "memory.total": 81559 * MIB,
        "memory.reserved": 479 * MIB,
        "memory.used": 1024 * MIB,
        "memory.free": (81559 - 479 - 1024) * MIB,
        "util.gpu": 37,
        "util.memory": 12,
        "util.encoder": 0,
        "util.decoder": 0,
        "pstate": 0,
        "throttle": "0x1",
        "violation.power": 4_200_000_000,
        "violation.thermal": 0,
        "gpm": 1,
        "gpm.sm": 61.5,
        "gpm.tensor": 40.25,
        "gpm.dram": 33.3,
        "fans": 0,
        "pcie.generation": 5,
        "pcie.generation_max": 5,
        "pcie.generation_gpu_max": 5,
        "pcie.width": 16,
        "pcie.width_max": 16,
        "pcie.replay": 9,
        "pcie.tx_bytes": 1_000_000,
        "pcie.rx_bytes": 2_000_000,
        "pcie.tx_rate": 352,
        "pcie.rx_rate": 329,
        "ecc.corrected_volatile": 0,
        "ecc.uncorrected_volatile": 0,
        "ecc.corrected_aggregate": 3,
        "ecc.uncorrected_aggregate": 0,
        "ecc.sram_threshold": 0,
        "remapped.correctable": 0,
        "remapped.uncorrectable": 0,
        "remapped.pending": 0,
        "remapped.failure": 0,
        "recovery_action": 0,
        "nvlink.count": 2,
        "nvlink.tx_kib": 4096,
        "nvlink.rx_kib": 8192,
        **{
            f"nvlink.{link}.{what}": value
            for link in range(2)
            for what, value in {"state": 1, "replay": 0, "recovery": 0, "crc": 0}.items()
        },
    }


def lively_h100(index: int) -> Gpu:
    """An H100 whose readings move with the clock, for demos and benches."""
    used = 40_000 * MIB
    return {
        **h100(index),
        "util.gpu": "~70 25 17",
        "util.memory": "~40 15 17",
        "power": "~480000 180000 17",
        "power_average": "~480000 170000 17",
        "energy": "+123456789 480000",
        "temp": "~64 7 90",
        "memory_temp": "~70 6 90",
        "margin": "~23 7 90",
        "clock.graphics": "~1750 120 17",
        "clock.sm": "~1750 120 17",
        "throttle": "0x4",
        "memory.used": used,
        "memory.free": (81559 - 479) * MIB - used,
        "pcie.tx_bytes": "+1000000 800000000",
        "pcie.rx_bytes": "+2000000 600000000",
        "nvlink.tx_kib": "+4096 9000000",
        "nvlink.rx_kib": "+8192 9000000",
    }


def geforce(index: int) -> Gpu:
    """A consumer Ada board: no ECC, no HBM sensor, no NVLink, two fans, absolute thresholds."""
    return {
        **_identity(index, "NVIDIA GeForce RTX 4080 SUPER"),
        "vbios": "95.03.45.00.CC",
        "architecture": 8,
        "compute_capability": "8.9",
        "cores": 10240,
        "memory.bus_width": 256,
        "persistence_mode": 0,
        "virtualization_mode": 0,
        "power_limit.enforced": 320000,
        "power_limit.default": 320000,
        "power_limit.min": 150000,
        "power_limit.max": 352000,
        "clock.graphics": 210,
        "clock.sm": 210,
        "clock.memory": 405,
        "clock.video": 1185,
        "clock_max.graphics": 3105,
        "clock_max.sm": 3105,
        "clock_max.memory": 11501,
        "threshold.shutdown": 101,
        "threshold.slowdown": 96,
        "threshold.gpu_max": 90,
        "temp": 34,
        "power": 13500,
        "power_average": 13600,
        "energy": 98_765,
        "memory.total": 16376 * MIB,
        "memory.reserved": 430 * MIB,
        "memory.used": 612 * MIB,
        "memory.free": (16376 - 430 - 612) * MIB,
        "util.gpu": 3,
        "util.memory": 1,
        "util.encoder": 0,
        "util.decoder": 0,
        "pstate": 8,
        "throttle": "0x1",
        "violation.power": 0,
        "violation.thermal": 0,
        "fans": 2,
        "fan.0": 30,
        "fan.1": 41,
        "pcie.generation": 1,
        "pcie.generation_max": 4,
        "pcie.width": 16,
        "pcie.width_max": 16,
        "pcie.replay": 0,
        "recovery_action": 0,
    }


def vgpu_guest(index: int) -> Gpu:
    """A vGPU in a virtual machine: zeros that are no readings, hardly any hardware."""
    return {
        **_identity(index, "NVIDIA A40-8Q"),
        "serial": "N/A",
        "architecture": 7,
        "compute_capability": "8.6",
        "virtualization_mode": 2,
        "clock.graphics": 0,
        "clock.sm": 0,
        "clock.memory": 0,
        "clock.video": 0,
        "temp": 0,
        "memory.total": 8192 * MIB,
        "memory.reserved": 1000 * MIB,
        "memory.used": 500 * MIB,
        "memory.free": 6692 * MIB,
        "util.gpu": 8,
        "util.memory": 2,
        "pstate": 32,
    }


def gb200(index: int) -> Gpu:
    """A GB200: the module (scope 1) draws more than the GPU; two GPUs share a serial."""
    return {
        **h100(index),
        "name": "NVIDIA GB200",
        "architecture": 10,
        "compute_capability": "10.0",
        "serial": f"165{index // 2:010d}",
        "power": 190_000,
        "power_average": 191_000,
        "field.186.1": "u:620000",
        "field.185.1": "u:621000",
        "power_limit.enforced": 1_200_000,
        "nvlink.0.replay": "!3",
        "nvlink.1.replay": "!3",
        "nvlink.0.recovery": "!3",
        "nvlink.1.recovery": "!3",
        "nvlink.0.crc": "!3",
        "nvlink.1.crc": "!3",
        "nvlink.0.recovery_events": 2,
        "nvlink.1.recovery_events": 1,
        "nvlink.tx_kib": "!3",
        "nvlink.rx_kib": "!3",
        "nvlink.0.tx_bytes": 4_000_000_000,
        "nvlink.1.tx_bytes": 5_000_000_000,
        "nvlink.0.rx_bytes": 6_000_000_000,
        "nvlink.1.rx_bytes": 7_000_000_000,
        "nvlink.0.speed_mbps": 50_000,
        "nvlink.1.speed_mbps": 50_000,
    }


def gb10(index: int) -> Gpu:
    """A GB10 (DGX Spark): no memory of its own, it uses the host's."""
    gpu = {
        **h100(index),
        "name": "NVIDIA GB10",
        "architecture": 10,
        "compute_capability": "12.1",
        "addressing_mode": 2,
        "nvlink.count": 0,
        "gpm": 0,
    }
    for key in [key for key in gpu if key.startswith(("memory.", "ecc.", "remapped."))]:
        del gpu[key]
    return gpu


def mig_parent(index: int) -> Gpu:
    """An H100 in MIG mode: no utilisation of its own, no row remaps while instances exist."""
    gpu = {**h100(index), "mig.mode": 1}
    for key in ("util.gpu", "util.memory", "util.encoder", "util.decoder"):
        del gpu[key]
    for key in ("correctable", "uncorrectable", "pending", "failure"):
        del gpu[f"remapped.{key}"]
    return gpu


def mig_uuid(index: int, place: int) -> str:
    """The UUID of the MIG device at an index (its place) of the GPU at another."""
    return f"MIG-00000000-0000-4000-{0x8000 + place:x}-{index:012x}"


def mig_device(index: int, place: int, profile: str, gi: int, ci: int, used: int) -> Gpu:
    """State keys of one MIG device of a GPU; memory is its GPU instance's, 10 GiB, ``used`` MiB."""
    total = 9984 * MIB
    device: Gpu = {
        "uuid": mig_uuid(index, place),
        "name": f"NVIDIA H100 80GB HBM3 MIG {profile}",
        "gi": gi,
        "ci": ci,
        "multiprocessors": 16,
        "copy_engines": 1,
        "decoders": 1,
        "memory.total": total,
        "memory.reserved": 0,
        "memory.used": used * MIB,
        "memory.free": total - used * MIB,
    }
    return {f"mig.{place}.{key}": value for key, value in device.items()}


def mig_h100(index: int) -> Gpu:
    """An H100 with two GPU instances, the first shared by two; MIG index 1 is free."""
    return {
        **mig_parent(index),
        **mig_device(index, 0, "1c.2g.20gb", 1, 0, 1500),
        **mig_device(index, 2, "1c.2g.20gb", 1, 1, 1500),
        **mig_device(index, 5, "1g.10gb", 9, 0, 12),
        "gi.1.gpm.sm": 80,
        "gi.1.gpm.tensor": 55.5,
        "gi.9.gpm.sm": 3,
    }


def pascal(index: int) -> Gpu:
    """A P2000 of 2017: absolute thresholds, retired pages, one fan that is not counted."""
    return {
        **_identity(index, "Quadro P2000"),
        "vbios": "86.06.3F.00.2E",
        "architecture": 4,
        "compute_capability": "6.1",
        "persistence_mode": 0,
        "ecc.mode": 1,
        "power_limit.enforced": 75000,
        "power_limit.default": 75000,
        "power": 4800,
        "clock.graphics": 139,
        "clock.sm": 139,
        "clock.memory": 405,
        "clock.video": 544,
        "threshold.shutdown": 104,
        "threshold.slowdown": 101,
        "temp": 36,
        "memory.total": 5057 * MIB,
        "memory.reserved": 60 * MIB,
        "memory.used": 4 * MIB,
        "memory.free": 4993 * MIB,
        "util.gpu": 0,
        "util.memory": 0,
        "pstate": 8,
        "throttle": "0x1",
        "fan.0": 46,
        "retired.single_bit": 1,
        "retired.double_bit": 0,
        "retired.pending": 0,
        "pcie.generation": 1,
        "pcie.width": 16,
        "pcie.replay": 0,
    }


def fleet(make: Callable[[int], Gpu], count: int) -> list[Gpu]:
    """So many boards of one kind."""
    return [make(index) for index in range(count)]
