"""What is no metric but worth a look: ECC by place, throttling by reason, power of a module."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from gpufleet.agent.model import Json
from gpufleet.agent.nvml.device import Field, Look
from gpufleet.agent.nvml.fields import THROTTLE_POWER
from gpufleet.agent.nvml.sources import SRAM_STATUS

_SRAM_KINDS = tuple(
    (since, kind)
    for since in ("aggregate", "volatile")
    for kind in ("uncorrected_parity", "uncorrected_secded", "corrected")
)
_SRAM_BUCKETS = ("l2_cache", "sm", "pcie", "microcontroller", "other")


class _SramStatus(ctypes.Structure):
    """nvmlEccSramErrorStatus_v1_t: pynvml hands it over by value where a pointer is wanted."""

    VERSION_1 = 0x1000068
    _fields_ = (
        ("version", ctypes.c_uint),
        *((f"{since}_{kind}", ctypes.c_ulonglong) for since, kind in _SRAM_KINDS),
        *((bucket, ctypes.c_ulonglong) for bucket in _SRAM_BUCKETS),
        ("threshold_exceeded", ctypes.c_uint),
    )


def field_detail(batch: Mapping[Field, int]) -> dict[str, Json]:
    """The fields that have a place in the detail document, there."""
    detail: dict[str, Any] = {}
    if THROTTLE_POWER in batch:
        detail["throttle_seconds"] = {"sw_power_cap": batch[THROTTLE_POWER] / 1_000_000_000}
    for field, value in batch.items():
        if field.detail:
            place = detail
            for name in field.detail[:-1]:
                place = place.setdefault(name, {})
            place[field.detail[-1]] = value if field.divisor == 1 else value / field.divisor
    return detail


def read_sram(look: Look, detail: dict[str, Any]) -> int | None:
    """Errors of the on-chip memory for the detail; whether they passed the threshold."""
    status = _SramStatus(version=_SramStatus.VERSION_1)
    if look.ask_c(SRAM_STATUS, ctypes.byref(status)) is None:
        return None
    ecc = detail.setdefault("ecc", {})
    for since, kind in _SRAM_KINDS:
        ecc.setdefault(since, {}).setdefault("sram", {})[kind] = getattr(status, f"{since}_{kind}")
    ecc["aggregate"]["sram"]["uncorrected_by_unit"] = {
        bucket: getattr(status, bucket) for bucket in _SRAM_BUCKETS
    }
    return int(bool(status.threshold_exceeded))
