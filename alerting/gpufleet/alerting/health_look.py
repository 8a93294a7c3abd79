"""What one look at a GPU says against its limits. ``None``: it cannot be known."""

from __future__ import annotations

from gpufleet.alerting import health_limits as limits
from gpufleet.alerting.health_inputs import Facts, Values


def operating_excess(facts: Facts, values: Values) -> float | None:
    """Degrees above the maximum operating temperature, negative below it."""
    over = _above(facts, values, "max_operating_temperature_celsius", "temperature_celsius")
    margin = values.get("temperature_margin_celsius")
    floor = limits.margin_limit(facts, "max_operating_tlimit_celsius")
    if margin is None or floor is None:
        return over
    return floor - margin if over is None else max(over, floor - margin)


def memory_excess(facts: Facts, values: Values) -> float | None:
    """Degrees of the memory above its maximum, negative below it."""
    return _above(facts, values, "memory_max_temperature_celsius", "memory_temperature_celsius")


def slowdown_margin(facts: Facts, values: Values) -> float | None:
    """Degrees left to the slowdown threshold."""
    over = _above(facts, values, "slowdown_temperature_celsius", "temperature_celsius")
    margin = values.get("temperature_margin_celsius")
    if over is None:
        return margin
    return -over if margin is None else min(-over, margin)


def at_slowdown(facts: Facts, values: Values) -> bool:
    """Whether the GPU is known to have reached its slowdown threshold."""
    over = _above(facts, values, "slowdown_temperature_celsius", "temperature_celsius")
    if over is not None and over >= 0:
        return True
    margin = values.get("temperature_margin_celsius")
    floor = limits.margin_limit(facts, "slowdown_tlimit_celsius")
    return margin is not None and floor is not None and margin <= floor


def near_shutdown(facts: Facts, values: Values) -> bool:
    """Whether the GPU is known to be within two degrees of its shutdown threshold."""
    over = _above(facts, values, "shutdown_temperature_celsius", "temperature_celsius")
    if over is not None and over >= -limits.SHUTDOWN_RESERVE_CELSIUS:
        return True
    margin = values.get("temperature_margin_celsius")
    floor = limits.margin_limit(facts, "shutdown_tlimit_celsius")
    return (
        margin is not None
        and floor is not None
        and margin <= floor + limits.SHUTDOWN_RESERVE_CELSIUS
    )


def downshifted(facts: Facts, values: Values) -> bool:
    """Whether the PCIe link is known to be below its generation while the GPU works."""
    if values.get("utilization_ratio", 0.0) <= limits.BUSY_RATIO:
        return False
    generation = values.get("pcie_link_generation", 0)
    most = limits.limit(facts, "pcie_link_generation_max")
    return most is not None and 0 < generation < most


def narrowed(facts: Facts, values: Values) -> bool:
    """Whether the PCIe link is known to have fewer lanes than it could."""
    width = values.get("pcie_link_width", 0)
    most = limits.limit(facts, "pcie_link_width_max")
    return most is not None and 0 < width < most


def _above(facts: Facts, values: Values, threshold: str, reading: str) -> float | None:
    value = values.get(reading)
    if value is None:
        return None
    most = limits.limit(facts, threshold)
    return None if most is None else value - most
