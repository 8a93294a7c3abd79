"""What no sample of power may be, whatever came before it: above its limit, or none under load."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

ABOVE = 1.05
"""Power controllers hold the enforced limit within a few percent."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which samples are out of bounds, (n,) each."""

    above_limit: Flags
    zero: Flags
    unreadable: Flags


def power_bounds(
    power_watts: Floats, limit_watts: Floats, utilization_ratio: Floats, readable: Flags
) -> Bounds:
    """Of samples (n,), NaN where absent.

    ``readable`` says of which GPUs a power was ever read: where the driver never gives one, that
    it gives none now is nothing new.
    """
    busy = utilization_ratio > 0.0
    return Bounds(
        above_limit=power_watts > ABOVE * limit_watts,
        zero=busy & (power_watts == 0.0),
        unreadable=busy & readable & np.isnan(power_watts),
    )
