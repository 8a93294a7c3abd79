"""The rows of the health table on temperatures and fans, with their sentences."""

from __future__ import annotations

from collections.abc import Iterator

from gpufleet.alerting import health_limits as limits
from gpufleet.alerting.health_history import HealthHistory
from gpufleet.alerting.health_inputs import Facts, Values
from gpufleet.alerting.health_look import (
    at_slowdown,
    memory_excess,
    near_shutdown,
    operating_excess,
    slowdown_margin,
)
from gpufleet.alerting.health_rows import Finding


def heat_rows(facts: Facts, values: Values, history: HealthHistory | None) -> Iterator[Finding]:
    """GPU and memory temperature against their thresholds, and a fan that stands still."""
    temperature = values.get("temperature_celsius")
    gpu = "GPU temperature" if temperature is None else f"GPU temperature {temperature:g} °C"
    if near_shutdown(facts, values):
        reserve = limits.SHUTDOWN_RESERVE_CELSIUS
        threshold = _threshold(facts, "shutdown")
        yield 3, f"{gpu} is within {reserve} °C of the shutdown threshold{threshold}"
    if history is not None and history.slowdown_since_ms is not None:
        held_ms = (history.last_tick_ms or 0) - history.slowdown_since_ms
        if held_ms >= limits.SLOWDOWN_HELD_MS and at_slowdown(facts, values):
            threshold = _threshold(facts, "slowdown")
            seconds = held_ms // 1000
            yield 3, f"{gpu} has reached the slowdown threshold{threshold} for {seconds} s"
    excess = operating_excess(facts, values)
    if excess is not None:
        most = _threshold(facts, "max_operating")
        if excess > 0:
            yield 2, f"{gpu} is above the maximum operating{most or f' by {excess:g} °C'}"
        elif history is not None and history.over_operating:
            yield (
                2,
                (
                    f"{gpu} was above the maximum operating{most} "
                    f"and is not yet {limits.HYSTERESIS_CELSIUS} °C below it"
                ),
            )
    excess = memory_excess(facts, values)
    if excess is not None:
        memory = f"Memory temperature {values['memory_temperature_celsius']:g} °C"
        most = _threshold(facts, "memory_max")
        if excess > 0:
            yield 2, f"{memory} is above its maximum{most}"
        elif history is not None and history.over_memory:
            yield (
                2,
                (
                    f"{memory} was above its maximum{most} "
                    f"and is not yet {limits.HYSTERESIS_CELSIUS} °C below it"
                ),
            )
    margin = slowdown_margin(facts, values)
    if margin is not None:
        if margin < 0:
            yield 1, f"{gpu} is {-margin:g} °C above the slowdown threshold"
        elif margin <= limits.MARGIN_CELSIUS:
            yield 1, f"{gpu} is {margin:g} °C below the slowdown threshold"
        elif history is not None and history.near_slowdown:
            yield (
                1,
                (
                    f"{gpu} is {margin:g} °C below the slowdown threshold, "
                    f"not yet {limits.MARGIN_CLEARS_CELSIUS} °C again"
                ),
            )
    if (
        temperature is not None
        and temperature > limits.FAN_NEEDED_ABOVE_CELSIUS
        and values.get("fan_speed_ratio") == 0
    ):
        yield 2, f"The fan stands still (0 %) at a GPU temperature of {temperature:g} °C"


def _threshold(facts: Facts, name: str) -> str:
    most = limits.limit(facts, f"{name}_temperature_celsius")
    return "" if most is None else f" {most:g} °C"
