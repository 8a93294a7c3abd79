"""What a GPU is asked for beside its field values, and which metrics it can therefore answer."""

from __future__ import annotations

from gpufleet.agent.nvml.device import Device, Field, Source
from gpufleet.agent.nvml.fields import (
    ENERGY,
    PCIE_REPLAY,
    POWER_INSTANT,
    THROTTLE_POWER,
    THROTTLE_THERMAL,
)
from gpufleet.proto.catalog import BY_NAME


def _metric(name: str) -> int:
    return BY_NAME[name].id


UTILIZATION = _metric("utilization_ratio")
MEMORY_CONTROLLER = _metric("memory_controller_utilization_ratio")
ENCODER = _metric("encoder_utilization_ratio")
DECODER = _metric("decoder_utilization_ratio")
TEMPERATURE = _metric("temperature_celsius")
MARGIN = _metric("temperature_margin_celsius")
POWER = _metric("power_watts")
POWER_LIMIT = _metric("power_limit_watts")
FAN = _metric("fan_speed_ratio")
CLOCKS = tuple(
    _metric(f"clock_{name}_hertz") for name in ("graphics", "sm", "memory", "video")
)  # nvmlClockType_t 0-3
PERFORMANCE_STATE = _metric("performance_state")
THROTTLE = _metric("throttle_reasons")
LINK_GENERATION = _metric("pcie_link_generation")
LINK_WIDTH = _metric("pcie_link_width")
SRAM_THRESHOLD = _metric("sram_threshold_exceeded")

_VIOLATION_POWER, _VIOLATION_THERMAL = 0, 1  # nvmlPerfPolicyType_t

UTILIZATION_RATES = Source("nvmlDeviceGetUtilizationRates", (), (UTILIZATION, MEMORY_CONTROLLER))
ENCODER_UTILIZATION = Source("nvmlDeviceGetEncoderUtilization", (), (ENCODER,))
DECODER_UTILIZATION = Source("nvmlDeviceGetDecoderUtilization", (), (DECODER,))
TEMPERATURE_OLD = Source("nvmlDeviceGetTemperature", (0,), (TEMPERATURE,))
TEMPERATURE_NEW = Source("nvmlDeviceGetTemperatureV", (0,), (TEMPERATURE,))
MARGIN_TEMPERATURE = Source("nvmlDeviceGetMarginTemperature", (), (MARGIN,))
CLOCK_INFO = tuple(
    Source("nvmlDeviceGetClockInfo", (kind,), (metric,)) for kind, metric in enumerate(CLOCKS)
)
PSTATE = Source("nvmlDeviceGetPerformanceState", (), (PERFORMANCE_STATE,))
EVENT_REASONS = Source("nvmlDeviceGetCurrentClocksEventReasons", (), (THROTTLE,))
THROTTLE_REASONS = Source("nvmlDeviceGetCurrentClocksThrottleReasons", (), (THROTTLE,))
FAN_SPEED = Source("nvmlDeviceGetFanSpeed", (), (FAN,))
FAN_SPEEDS = tuple(Source("nvmlDeviceGetFanSpeed_v2", (fan,), (FAN,)) for fan in range(16))
POWER_USAGE = Source("nvmlDeviceGetPowerUsage", (), (POWER,))
TOTAL_ENERGY = Source("nvmlDeviceGetTotalEnergyConsumption", (), (ENERGY.metric,))
VIOLATIONS = tuple(
    (field, Source("nvmlDeviceGetViolationStatus", (policy,), (field.metric,)))
    for field, policy in (
        (THROTTLE_POWER, _VIOLATION_POWER),
        (THROTTLE_THERMAL, _VIOLATION_THERMAL),
    )
)
ENFORCED_LIMIT = Source("nvmlDeviceGetEnforcedPowerLimit", (), (POWER_LIMIT,))
PCIE_GENERATION = Source("nvmlDeviceGetCurrPcieLinkGeneration", (), (LINK_GENERATION,))
PCIE_WIDTH = Source("nvmlDeviceGetCurrPcieLinkWidth", (), (LINK_WIDTH,))
REPLAY_COUNTER = Source("nvmlDeviceGetPcieReplayCounter", (), (PCIE_REPLAY.metric,))
SRAM_STATUS = Source("nvmlDeviceGetSramEccErrorStatus", (), (SRAM_THRESHOLD,))

_ALWAYS = (
    UTILIZATION_RATES,
    ENCODER_UTILIZATION,
    DECODER_UTILIZATION,
    TEMPERATURE_OLD,
    MARGIN_TEMPERATURE,
    *CLOCK_INFO,
    PSTATE,
    EVENT_REASONS,
    ENFORCED_LIMIT,
    PCIE_GENERATION,
    PCIE_WIDTH,
    SRAM_STATUS,
)
_INSTEAD: tuple[tuple[Source | Field, Source], ...] = (
    (TEMPERATURE_OLD, TEMPERATURE_NEW),
    (EVENT_REASONS, THROTTLE_REASONS),
    (POWER_INSTANT, POWER_USAGE),
    (ENERGY, TOTAL_ENERGY),
    (PCIE_REPLAY, REPLAY_COUNTER),
    *VIOLATIONS,
)
"""Where the first is not supported the second is asked."""


def source_metrics(device: Device) -> set[int]:
    """Catalogue ids of the sources that answer, known once the GPU was read with the slow tier."""
    asked: list[Source] = [s for s in _ALWAYS if s not in device.unsupported]
    for first, second in _INSTEAD:
        if first in device.unsupported and second not in device.unsupported:
            asked.append(second)
    fans = (FAN_SPEED,) if device.fans is None else FAN_SPEEDS[: device.fans]
    asked.extend(f for f in fans if f not in device.unsupported)
    return {metric for source in asked for metric in source.metrics}
