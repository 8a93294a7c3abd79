"""The metric catalogue: the one table from which SQL, REST, Prometheus and the clients follow.

An id's unit, scale and kind are frozen; a change is a new id, and ids are never reused
(tests/proto/test_catalog.py holds the golden list). The wire and the storage keep scaled
integers: ``value = raw * multiplier / divisor`` in the base unit that the name carries.
Sources named in ``help`` are those of nvml.h unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Kind(Enum):
    """How values of a metric behave over time."""

    GAUGE = "gauge"
    COUNTER = "counter"
    """Grows until it is reset; a smaller value is a new baseline."""
    STATE = "state"
    """A small integer that is compared, never averaged."""
    BITS = "bits"
    """A set of flags in 64 bits."""


class SubjectKind(Enum):
    """What has metrics. The value is the name on the wire, in SQL and in REST."""

    GPU = "gpu"
    MIG = "mig"
    NODE = "node"


class Source(Enum):
    """Who makes the value."""

    AGENT = "agent"
    HUB = "hub"


GPU = frozenset({SubjectKind.GPU})
GPU_MIG = frozenset({SubjectKind.GPU, SubjectKind.MIG})
NODE = frozenset({SubjectKind.NODE})


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the catalogue.

    ``unit`` is the base unit for people ("" for none); ``dcgm`` the field name of
    dcgm-exporter that means the same thing, or "".
    """

    id: int
    name: str
    kind: Kind
    unit: str
    help: str
    divisor: int = 1
    multiplier: int = 1
    subjects: frozenset[SubjectKind] = GPU
    rollup: bool = False
    source: Source = Source.AGENT
    dcgm: str = ""

    def value(self, raw: int) -> float | int:
        """The raw scaled integer in base units; an ``int`` where the scale is whole."""
        if self.divisor == 1:
            return raw * self.multiplier
        return raw * self.multiplier / self.divisor

    def raw(self, value: float) -> int:
        """The nearest scaled integer of a value in base units."""
        return round(value * self.divisor / self.multiplier)

    def prometheus(self, subject: SubjectKind) -> str:
        """The series' name, for example ``gpufleet_gpu_temperature_celsius``."""
        return f"gpufleet_{subject.value}_{self.name}"


_G, _C, _S, _B = Kind.GAUGE, Kind.COUNTER, Kind.STATE, Kind.BITS
_HUB = Source.HUB

_ROWS: tuple[Metric, ...] = (
    # Activity
    Metric(1, "utilization_ratio", _G, "ratio", "Share of the driver's last sampling period in which a kernel ran (utilization.gpu).", 1000, subjects=GPU_MIG, rollup=True, dcgm="DCGM_FI_DEV_GPU_UTIL"),
    Metric(2, "memory_controller_utilization_ratio", _G, "ratio", "Share of the driver's last sampling period in which device memory was read or written (utilization.memory).", 1000, dcgm="DCGM_FI_DEV_MEM_COPY_UTIL"),
    Metric(3, "encoder_utilization_ratio", _G, "ratio", "Video encoder utilisation.", 1000, dcgm="DCGM_FI_DEV_ENC_UTIL"),
    Metric(4, "decoder_utilization_ratio", _G, "ratio", "Video decoder utilisation.", 1000, dcgm="DCGM_FI_DEV_DEC_UTIL"),
    Metric(5, "sm_active_ratio", _G, "ratio", "Share of time in which at least one warp was active on an SM, averaged over SMs (GPM).", 1000, subjects=GPU_MIG, rollup=True, dcgm="DCGM_FI_PROF_SM_ACTIVE"),
    Metric(6, "tensor_active_ratio", _G, "ratio", "Share of cycles in which a tensor pipe was active (GPM).", 1000, subjects=GPU_MIG, dcgm="DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"),
    Metric(7, "dram_active_ratio", _G, "ratio", "Share of cycles in which the device memory interface was active (GPM).", 1000, subjects=GPU_MIG, dcgm="DCGM_FI_PROF_DRAM_ACTIVE"),
    # Memory
    Metric(10, "memory_used_bytes", _G, "bytes", "Device memory allocated, without what the driver reserves.", subjects=GPU_MIG, rollup=True, dcgm="DCGM_FI_DEV_FB_USED"),
    Metric(11, "memory_free_bytes", _G, "bytes", "Device memory free.", subjects=GPU_MIG, dcgm="DCGM_FI_DEV_FB_FREE"),
    Metric(12, "memory_reserved_bytes", _G, "bytes", "Device memory reserved by driver and firmware.", subjects=GPU_MIG, dcgm="DCGM_FI_DEV_FB_RESERVED"),
    Metric(13, "memory_total_bytes", _G, "bytes", "Device memory installed.", subjects=GPU_MIG, dcgm="DCGM_FI_DEV_FB_TOTAL"),
    Metric(14, "memory_used_ratio", _G, "ratio", "memory_used_bytes over memory_total_bytes.", 1000, subjects=GPU_MIG, rollup=True, source=_HUB),
    # Temperature, power, fan
    Metric(20, "temperature_celsius", _G, "celsius", "GPU core temperature.", rollup=True, dcgm="DCGM_FI_DEV_GPU_TEMP"),
    Metric(21, "memory_temperature_celsius", _G, "celsius", "Memory (HBM) temperature.", rollup=True, dcgm="DCGM_FI_DEV_MEMORY_TEMP"),
    Metric(22, "temperature_margin_celsius", _G, "celsius", "Degrees left to the slowdown threshold (nvmlDeviceGetMarginTemperature).", dcgm="DCGM_FI_DEV_GPU_TEMP_LIMIT"),
    Metric(23, "power_watts", _G, "watts", "Power drawn by the GPU, instantaneous where the driver has it.", 1000, rollup=True, dcgm="DCGM_FI_DEV_POWER_USAGE_INSTANT"),
    Metric(24, "power_average_watts", _G, "watts", "Power drawn by the GPU, averaged by the driver over one second.", 1000, dcgm="DCGM_FI_DEV_POWER_USAGE"),
    Metric(25, "power_limit_watts", _G, "watts", "Power limit in force.", 1000, dcgm="DCGM_FI_DEV_ENFORCED_POWER_LIMIT"),
    Metric(26, "energy_joules_total", _C, "joules", "Energy used since the driver was loaded.", 1000, rollup=True, dcgm="DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"),
    Metric(27, "fan_speed_ratio", _G, "ratio", "Speed of the fastest fan over its maximum, as intended by the driver.", 1000, dcgm="DCGM_FI_DEV_FAN_SPEED"),
    # Clocks
    Metric(30, "clock_graphics_hertz", _G, "hertz", "Graphics clock.", multiplier=1_000_000),
    Metric(31, "clock_sm_hertz", _G, "hertz", "SM clock.", multiplier=1_000_000, rollup=True, dcgm="DCGM_FI_DEV_SM_CLOCK"),
    Metric(32, "clock_memory_hertz", _G, "hertz", "Memory clock.", multiplier=1_000_000, dcgm="DCGM_FI_DEV_MEM_CLOCK"),
    Metric(33, "clock_video_hertz", _G, "hertz", "Video clock.", multiplier=1_000_000, dcgm="DCGM_FI_DEV_VIDEO_CLOCK"),
    Metric(34, "performance_state", _S, "", "Performance state: 0 (fastest) to 15.", dcgm="DCGM_FI_DEV_PSTATE"),
    # Links
    Metric(40, "pcie_link_generation", _S, "", "PCIe generation in use; idle GPUs lower it.", dcgm="DCGM_FI_DEV_PCIE_LINK_GEN"),
    Metric(41, "pcie_link_width", _S, "", "PCIe lanes in use.", dcgm="DCGM_FI_DEV_PCIE_LINK_WIDTH"),
    Metric(42, "pcie_replay_total", _C, "", "PCIe replays.", dcgm="DCGM_FI_DEV_PCIE_REPLAY_COUNTER"),
    Metric(43, "pcie_rx_bytes_total", _C, "bytes", "Bytes received over PCIe.", dcgm="DCGM_FI_PROF_PCIE_RX_BYTES"),
    Metric(44, "pcie_tx_bytes_total", _C, "bytes", "Bytes sent over PCIe.", dcgm="DCGM_FI_PROF_PCIE_TX_BYTES"),
    Metric(45, "nvlink_rx_bytes_total", _C, "bytes", "Bytes received over all NVLinks.", dcgm="DCGM_FI_PROF_NVLINK_RX_BYTES"),
    Metric(46, "nvlink_tx_bytes_total", _C, "bytes", "Bytes sent over all NVLinks.", dcgm="DCGM_FI_PROF_NVLINK_TX_BYTES"),
    Metric(47, "nvlink_errors_total", _C, "", "NVLink replay, recovery and CRC errors over all links."),
    # Errors
    Metric(50, "ecc_corrected_volatile_total", _C, "", "Corrected ECC errors since the driver was loaded.", dcgm="DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"),
    Metric(51, "ecc_uncorrected_volatile_total", _C, "", "Uncorrected ECC errors since the driver was loaded.", rollup=True, dcgm="DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"),
    Metric(52, "ecc_corrected_aggregate_total", _C, "", "Corrected ECC errors over the board's life.", dcgm="DCGM_FI_DEV_ECC_SBE_AGG_TOTAL"),
    Metric(53, "ecc_uncorrected_aggregate_total", _C, "", "Uncorrected ECC errors over the board's life.", dcgm="DCGM_FI_DEV_ECC_DBE_AGG_TOTAL"),
    Metric(54, "remapped_rows_correctable", _G, "", "Memory rows remapped for correctable errors.", dcgm="DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS"),
    Metric(55, "remapped_rows_uncorrectable", _G, "", "Memory rows remapped for uncorrectable errors.", dcgm="DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS"),
    Metric(56, "remapped_rows_pending", _S, "", "1 while a row remap waits for a GPU reset.", dcgm="DCGM_FI_DEV_ROW_REMAP_PENDING"),
    Metric(57, "remapped_rows_failed", _S, "", "1 after a row remap failed.", dcgm="DCGM_FI_DEV_ROW_REMAP_FAILURE"),
    Metric(58, "retired_pages_single_bit", _G, "", "Pages retired for single-bit errors (before Ampere).", dcgm="DCGM_FI_DEV_RETIRED_SBE"),
    Metric(59, "retired_pages_double_bit", _G, "", "Pages retired for double-bit errors (before Ampere).", dcgm="DCGM_FI_DEV_RETIRED_DBE"),
    Metric(60, "retired_pages_pending", _S, "", "1 while page retirement waits for a reboot.", dcgm="DCGM_FI_DEV_RETIRED_PENDING"),
    Metric(61, "recovery_action", _S, "", "What the driver asks for: 0 none, 1 GPU reset, 2 node reboot, 3 drain P2P, 4 drain and reset, 5 IMEX restart, 6 bus reset, 7 system reboot.", dcgm="DCGM_FI_DEV_GET_GPU_RECOVERY_ACTION"),
    Metric(62, "sram_threshold_exceeded", _S, "", "1 once uncorrected SRAM errors passed the replacement threshold."),
    # Throttling
    Metric(70, "throttle_reasons", _B, "", "Why clocks are held below their maximum (nvmlClocksEventReason*).", rollup=True, dcgm="DCGM_FI_DEV_CLOCKS_EVENT_REASONS"),
    Metric(71, "throttle_thermal_seconds_total", _C, "seconds", "Time held back by a thermal limit.", 1000, dcgm="DCGM_FI_DEV_THERMAL_VIOLATION"),
    Metric(72, "throttle_power_seconds_total", _C, "seconds", "Time held back by a power limit.", 1000, dcgm="DCGM_FI_DEV_POWER_VIOLATION"),
    # Verdict
    Metric(80, "health", _S, "", "0 healthy, 1 caution, 2 warning, 3 critical (docs/health.md).", rollup=True, source=_HUB),
    # The node
    Metric(200, "host_cpu_utilization_ratio", _G, "ratio", "Share of the host's CPU time in use (/proc/stat).", 1000, subjects=NODE),
    Metric(201, "host_memory_used_bytes", _G, "bytes", "Host memory in use: MemTotal - MemAvailable (/proc/meminfo).", subjects=NODE),
    Metric(202, "host_memory_total_bytes", _G, "bytes", "Host memory installed (/proc/meminfo).", subjects=NODE),
    Metric(203, "host_load1", _G, "", "Load average over one minute (/proc/loadavg).", 100, subjects=NODE),
    Metric(210, "agent_cpu_seconds_total", _C, "seconds", "CPU time the agent used since its start (/proc/self/stat).", 1000, subjects=NODE),
    Metric(211, "agent_resident_memory_bytes", _G, "bytes", "Resident memory of the agent (/proc/self/statm).", subjects=NODE),
    Metric(212, "agent_collect_seconds", _G, "seconds", "Time the last collection of all GPUs took.", 1_000_000, subjects=NODE),
    Metric(213, "agent_sent_bytes_total", _C, "bytes", "Bytes of messages the agent sent since its start.", subjects=NODE),
    Metric(214, "agent_spool_bytes", _G, "bytes", "Size of the agent's spool on disk.", subjects=NODE),
    Metric(215, "agent_unacknowledged_ticks", _G, "", "Ticks that the hub has not yet acknowledged.", subjects=NODE),
    Metric(216, "agent_dropped_ticks_total", _C, "", "Ticks dropped by the spool's bounds since the agent's start.", subjects=NODE),
    Metric(217, "agent_missed_ticks_total", _C, "", "Ticks at which the agent came too late to collect, since its start.", subjects=NODE),
    Metric(220, "clock_skew_seconds", _G, "seconds", "The node's clock minus the hub's, as seen by the hub.", 1000, subjects=NODE, source=_HUB),
)  # fmt: skip

BY_ID: Mapping[int, Metric] = MappingProxyType({m.id: m for m in _ROWS})
BY_NAME: Mapping[str, Metric] = MappingProxyType({m.name: m for m in _ROWS})

THROTTLE_REASONS: Mapping[int, str] = MappingProxyType(
    {
        0x1: "gpu_idle",
        0x2: "applications_clocks",
        0x4: "sw_power_cap",
        0x8: "hw_slowdown",
        0x10: "sync_boost",
        0x20: "sw_thermal_slowdown",
        0x40: "hw_thermal_slowdown",
        0x80: "hw_power_brake",
        0x100: "display_clocks",
    }
)
"""Names of the bits of ``throttle_reasons`` (nvmlClocksEventReason* of nvml.h)."""

HEALTH_STATES: tuple[str, ...] = ("healthy", "caution", "warning", "critical")
"""Names of the levels of ``health``."""

RECOVERY_ACTIONS: tuple[str, ...] = (
    "none",
    "gpu_reset",
    "node_reboot",
    "drain_p2p",
    "drain_and_reset",
    "imex_restart",
    "bus_reset",
    "system_reboot",
)
"""Names of the values of ``recovery_action`` (nvmlDeviceGpuRecoveryAction_t)."""


def metrics(subject: SubjectKind | None = None) -> Iterator[Metric]:
    """Every metric in id order, or those that a subject kind can have."""
    return (m for m in _ROWS if subject is None or subject in m.subjects)


def throttle_reason_names(bits: int) -> list[str]:
    """Names of the bits that are set; one unknown to us reads ``bit_0x200`` (never dropped)."""
    names = []
    while bits:
        bit = bits & -bits
        names.append(THROTTLE_REASONS.get(bit, f"bit_{bit:#x}"))
        bits ^= bit
    return names
