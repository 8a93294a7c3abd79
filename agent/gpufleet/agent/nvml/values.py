"""Readings of one GPU: the fast tier of each tick and the slow tier, without what is no reading.

Values are the catalogue's scaled integers. All field values of a tick come in one batch. PCIe
throughput is never asked for by nvmlDeviceGetPcieThroughput, which blocks 20 ms a direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gpufleet.agent.model import Json
from gpufleet.agent.nvml.detail import field_detail, read_sram
from gpufleet.agent.nvml.device import Device, Field, Look, Source
from gpufleet.agent.nvml.fields import (
    ENERGY,
    FIELDS,
    MEMORY_TEMPERATURE,
    PCIE_REPLAY,
    POWER_INSTANT,
    ask_fields,
    is_blank,
)
from gpufleet.agent.nvml.gpm import ACTIVITY
from gpufleet.agent.nvml.links import (
    TOTALS,
    link_detail,
    link_fields,
    link_metrics,
    link_sums,
    settle_links,
)
from gpufleet.agent.nvml.memory import memory_columns, read_memory
from gpufleet.agent.nvml.sources import (
    CLOCK_INFO,
    CLOCKS,
    DECODER,
    DECODER_UTILIZATION,
    ENCODER,
    ENCODER_UTILIZATION,
    ENFORCED_LIMIT,
    EVENT_REASONS,
    FAN,
    FAN_SPEED,
    FAN_SPEEDS,
    LINK_GENERATION,
    LINK_WIDTH,
    MARGIN,
    MARGIN_TEMPERATURE,
    MEMORY_CONTROLLER,
    PCIE_GENERATION,
    PCIE_WIDTH,
    PERFORMANCE_STATE,
    POWER,
    POWER_LIMIT,
    POWER_USAGE,
    PSTATE,
    REPLAY_COUNTER,
    SRAM_THRESHOLD,
    TEMPERATURE,
    TEMPERATURE_NEW,
    TEMPERATURE_OLD,
    THROTTLE,
    THROTTLE_REASONS,
    TOTAL_ENERGY,
    UTILIZATION,
    UTILIZATION_RATES,
    VIOLATIONS,
    source_metrics,
)

_HOTTEST = 200
_FASTEST_MHZ = 100_000
_FASTEST_FAN = 200  # nvml.h: may exceed 100 % of what is meant as the loudest


def field_candidates(links: int) -> tuple[Field, ...]:
    """Everything that a GPU with so many links is asked for in a batch at first."""
    return (*FIELDS, *TOTALS, *link_fields(links))


def columns(device: Device) -> tuple[int, ...]:
    """Catalogue ids that the GPU can answer, known once it was read with the slow tier."""
    ids = source_metrics(device) | memory_columns(device) | link_metrics(device.fields)
    ids.update(f.metric for f in device.fields if f.metric)
    if device.gpm is not None:
        ids.update(ACTIVITY.values())
    return tuple(sorted(ids))


def read_values(look: Look, now: float, *, slow: bool) -> tuple[dict[int, int], dict[str, Json]]:
    """The fast values and their detail; with ``slow`` the device's slow values are read anew."""
    device = look.device
    if slow:
        device.refused.clear()
        device.slow, device.slow_detail = {}, {}
    batch = ask_fields(look, device.fields if slow else [f for f in device.fields if not f.slow])
    values = _fast(look, batch)
    gpm = device.gpm  # an enumeration may take it away meanwhile
    if gpm is not None:
        values.update(gpm.read(look, now))
        if not gpm.answers(look):  # a GPU in MIG mode: its instances may
            gpm.free(look.nvml)
            device.gpm = None
    detail = _fans(look, values)
    if slow:
        device.slow, device.slow_detail = _slow(look, batch)
    _leave_out_zeros(device, values)
    return values, detail


def _instead(look: Look, first: Source | Field, second: Source) -> Any:
    return None if look.supports(first) else look.ask(second)


def _either(look: Look, first: Source, second: Source) -> Any:
    answer = look.ask(first)
    return answer if answer is not None else _instead(look, first, second)


def _scaled(batch: Mapping[Field, int], *, slow: bool) -> dict[int, int]:
    return {
        f.metric: value * f.multiplier // f.divisor
        for f, value in batch.items()
        if f.metric and f.slow is slow
    }


def _fast(look: Look, batch: Mapping[Field, int]) -> dict[int, int]:
    values = _scaled(batch, slow=False)
    if (power := _instead(look, POWER_INSTANT, POWER_USAGE)) is not None and not is_blank(power):
        values[POWER] = power
    if (energy := _instead(look, ENERGY, TOTAL_ENERGY)) is not None and not is_blank(energy):
        values[ENERGY.metric] = energy
    for field, source in VIOLATIONS:
        violation = _instead(look, field, source)
        if violation is not None and not is_blank(violation.violationTime):
            values[field.metric] = violation.violationTime // 1_000_000
    if (rates := look.ask(UTILIZATION_RATES)) is not None:
        _percent(values, UTILIZATION, rates.gpu)
        _percent(values, MEMORY_CONTROLLER, rates.memory)
    if (encoder := look.ask(ENCODER_UTILIZATION)) is not None:
        _percent(values, ENCODER, encoder[0])
    if (decoder := look.ask(DECODER_UTILIZATION)) is not None:
        _percent(values, DECODER, decoder[0])
    read_memory(look, values)
    temperature = _either(look, TEMPERATURE_OLD, TEMPERATURE_NEW)
    if temperature is not None and temperature <= _HOTTEST:
        values[TEMPERATURE] = temperature
    if values.get(MEMORY_TEMPERATURE.metric, 0) > _HOTTEST:
        del values[MEMORY_TEMPERATURE.metric]
    margin = look.ask(MARGIN_TEMPERATURE)
    if margin is not None and abs(margin) <= _HOTTEST:
        values[MARGIN] = margin
    for source, metric in zip(CLOCK_INFO, CLOCKS, strict=True):
        clock = look.ask(source)
        if clock is not None and clock < _FASTEST_MHZ:
            values[metric] = clock
    pstate = look.ask(PSTATE)
    if pstate is not None and 0 <= pstate <= 15:  # 32 is unknown
        values[PERFORMANCE_STATE] = pstate
    reasons = _either(look, EVENT_REASONS, THROTTLE_REASONS)
    if reasons is not None and reasons < 1 << 63:
        values[THROTTLE] = reasons
    return values


def _percent(values: dict[int, int], metric: int, percent: int) -> None:
    """A ratio in thousandths; drivers are known to say more than 100 %, which is no reading."""
    if percent <= 100:
        values[metric] = percent * 10


def _fans(look: Look, values: dict[int, int]) -> dict[str, Json]:
    """The fastest fan as the metric, each in the detail.

    Where the driver does not count fans (before about 2021), 0 % may be a board without a fan as
    well as one that stands still: it is left out.
    """
    fans = look.device.fans
    if fans is None:
        speed = look.ask(FAN_SPEED)
        if speed is not None and 0 < speed <= _FASTEST_FAN:
            values[FAN] = speed * 10
        return {}
    if fans == 0:
        return {}
    speeds = [look.ask(source) for source in FAN_SPEEDS[:fans]]
    known = [s if s is not None and s <= _FASTEST_FAN else None for s in speeds]
    if fastest := [s for s in known if s is not None]:
        values[FAN] = max(fastest) * 10
    ratios: list[Json] = [None if s is None else s / 100 for s in known]
    return {"fan_speed_ratios": ratios}


def _slow(look: Look, batch: Mapping[Field, int]) -> tuple[dict[int, int], dict[str, Json]]:
    values = _scaled(batch, slow=True)
    for source, metric in (
        (ENFORCED_LIMIT, POWER_LIMIT),
        (PCIE_GENERATION, LINK_GENERATION),
        (PCIE_WIDTH, LINK_WIDTH),
    ):
        answer = look.ask(source)
        if answer and not is_blank(answer):  # 0 is what is said where there is no link or limit
            values[metric] = answer
    replays = _instead(look, PCIE_REPLAY, REPLAY_COUNTER)
    if replays is not None and not is_blank(replays):
        values[PCIE_REPLAY.metric] = replays
    detail = field_detail(batch)
    exceeded = read_sram(look, detail)
    if exceeded is not None:
        values[SRAM_THRESHOLD] = exceeded
    if batch:
        settle_links(look)
    values.update(link_sums(look.device.fields, batch))
    detail.update(link_detail(batch))
    return values, detail


def _leave_out_zeros(device: Device, values: dict[int, int]) -> None:
    """Zero degrees and zero hertz of a vGPU guest are no readings (nor both together anywhere)."""
    dead = values.get(TEMPERATURE) == 0 and not any(values.get(clock) for clock in CLOCKS)
    if not device.guest and not dead:
        return
    hardware: Iterable[int] = (TEMPERATURE, POWER, FAN, *CLOCKS)
    for metric in hardware:
        if values.get(metric) == 0:
            del values[metric]
