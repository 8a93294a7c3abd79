"""Values as people and JSON get them: rounded to the metric's resolution, whole ones as ints."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.proto.catalog import Kind, Metric, throttle_reason_names

Floats = NDArray[np.float64]

_INT64 = 2.0**63


def rounded(metric: Metric, values: Floats) -> Floats:
    """Values at the metric's resolution: 0.215, never 0.21500000000000002. NaN stays."""
    with np.errstate(over="ignore", invalid="ignore"):
        raw = np.rint(values * metric.divisor / metric.multiplier)
        return raw * metric.multiplier / metric.divisor


def numbers(metric: Metric, values: Floats) -> list[Any]:
    """Rounded values as Python numbers, ``None`` where absent."""
    values = rounded(metric, values)
    absent = np.flatnonzero(~np.isfinite(values))
    result: list[Any]
    if metric.divisor == 1:
        huge = np.flatnonzero(np.abs(values) >= _INT64)
        whole = values.copy()
        whole[absent] = 0
        whole[huge] = 0
        result = whole.astype(np.int64).tolist()
        for i in huge.tolist():
            result[i] = float(values[i])
    else:
        result = values.tolist()
    for i in absent.tolist():
        result[i] = None
    return result


def json_values(metric: Metric, values: Floats) -> list[Any]:
    """As ``numbers``; a set of bits is the list of its names."""
    result = numbers(metric, values)
    if metric.kind is Kind.BITS:
        return [None if bits is None else bit_names(bits) for bits in result]
    return result


def json_value(metric: Metric, value: float) -> Any:
    """One value as JSON has it."""
    return json_values(metric, np.array([value]))[0]


def short(metric: Metric, value: float) -> float | None:
    """A mean to a hundredth of the metric's resolution."""
    return round(value, len(str(metric.divisor)) + 1) if np.isfinite(value) else None


def bit_names(bits: float) -> list[str]:
    """Names of the bits that are set, at most 64 of them."""
    return throttle_reason_names(int(bits) % (1 << 64))


def whole(number: float) -> float | int:
    """An ``int`` where the number is one."""
    return int(number) if number == int(number) else number
