"""NVML field values: many readings in one call, each with its own type and return code.

Ids, units and types are the NVML_FI_* of nvml.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gpufleet.agent.nvml.calls import Kind, kind_of
from gpufleet.agent.nvml.device import Field, Look, Source
from gpufleet.proto.catalog import BY_NAME

FIELD_VALUES = Source("nvmlDeviceGetFieldValues")

ALL_LINKS = 0xFFFFFFFF
"""Scope of the NVLink throughput counters that adds all links up."""

_INVALID_ARGUMENT = 2  # how a driver says that it does not know a field

_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Member of the value union by nvmlValueType_t."""


def _metric(name: str) -> int:
    return BY_NAME[name].id


POWER_INSTANT = Field(186, _metric("power_watts"))
POWER_AVERAGE = Field(185, _metric("power_average_watts"))
ENERGY = Field(83, _metric("energy_joules_total"))
THROTTLE_POWER = Field(74, _metric("throttle_power_seconds_total"), divisor=1_000_000)
THROTTLE_THERMAL = Field(75, _metric("throttle_thermal_seconds_total"), divisor=1_000_000)
PCIE_REPLAY = Field(94, _metric("pcie_replay_total"), slow=True)
MEMORY_TEMPERATURE = Field(82, _metric("memory_temperature_celsius"))


def _ecc_locations() -> Iterator[Field]:
    """Fields 7 to 28: volatile, then aggregate, each location corrected and uncorrected."""
    locations = ("l1_cache", "l2_cache", "device_memory", "register_file", "texture_memory")
    id = 7
    for since in ("volatile", "aggregate"):
        for location in locations:
            for kind in ("corrected", "uncorrected"):
                yield Field(id, slow=True, detail=("ecc", since, location, kind))
                id += 1
        yield Field(id, slow=True, detail=("ecc", since, "cbu", "uncorrected"))
        id += 1


_MODULE = 1
"""Scope of the power of a whole module (GB200: GPUs and CPU), which is never a GPU's power."""

_DETAILS = (
    Field(186, scope=_MODULE, slow=True, divisor=1000, detail=("module_power_watts",)),
    Field(185, scope=_MODULE, slow=True, divisor=1000, detail=("module_power_average_watts",)),
    Field(190, scope=_MODULE, slow=True, divisor=1000, detail=("module_power_limit_watts",)),
    *(
        Field(id, slow=True, divisor=1_000_000_000, detail=("throttle_seconds", reason))
        for id, reason in (
            (76, "sync_boost"),
            (269, "sw_therm_slowdown"),
            (270, "hw_therm_slowdown"),
            (271, "hw_power_brake"),
        )
    ),
    *_ecc_locations(),
)

FIELDS = (
    POWER_INSTANT,
    POWER_AVERAGE,
    ENERGY,
    MEMORY_TEMPERATURE,
    THROTTLE_POWER,
    THROTTLE_THERMAL,
    Field(197, _metric("pcie_tx_bytes_total")),
    Field(198, _metric("pcie_rx_bytes_total")),
    Field(3, _metric("ecc_corrected_volatile_total"), slow=True),
    Field(4, _metric("ecc_uncorrected_volatile_total"), slow=True),
    Field(5, _metric("ecc_corrected_aggregate_total"), slow=True),
    Field(6, _metric("ecc_uncorrected_aggregate_total"), slow=True),
    Field(29, _metric("retired_pages_single_bit"), slow=True),
    Field(30, _metric("retired_pages_double_bit"), slow=True),
    Field(31, _metric("retired_pages_pending"), slow=True),
    Field(142, _metric("remapped_rows_correctable"), slow=True),
    Field(143, _metric("remapped_rows_uncorrectable"), slow=True),
    Field(144, _metric("remapped_rows_pending"), slow=True),
    Field(145, _metric("remapped_rows_failed"), slow=True),
    Field(230, _metric("recovery_action"), slow=True),
    PCIE_REPLAY,
    *_DETAILS,
)


def is_blank(value: int) -> bool:
    """True for what drivers and DCGM write where they have no value."""
    return value == 0xFFFFFFFF or 1 << 47 <= value <= (1 << 47) + 16 or value >= (1 << 63) - 16


def number(answer: Any) -> int | None:
    """The value of one nvmlFieldValue_t by its type; None for a blank or a type we do not know."""
    kind = answer.valueType
    if not 0 <= kind < len(_MEMBERS):
        return None
    value = getattr(answer.value, _MEMBERS[kind])
    if kind == 0:
        if value != value or abs(value) == float("inf"):
            return None
        value = round(value)
    return None if is_blank(value) else value


def ask_fields(look: Look, fields: Sequence[Field]) -> dict[Field, int]:
    """One batch: the values of the fields that answered. Forgets those that never will."""
    if look.device.refused:
        fields = [f for f in fields if f not in look.device.refused]
    if not fields:
        return {}
    answers = look.ask(FIELD_VALUES, [(field.id, field.scope) for field in fields])
    if answers is None:
        if not look.supports(FIELD_VALUES):
            look.device.unsupported.update(fields)
            look.device.fields = ()
        return {}
    found = {}
    for field, answer in zip(fields, answers, strict=True):
        code = answer.nvmlReturn
        if code == 0:
            value = number(answer)
            if value is not None:
                found[field] = value
        elif code == _INVALID_ARGUMENT or kind_of(code) is Kind.PERMANENT:
            forget(look, (field,))
        else:
            look.failed(field, look.nvml.failure(code, f"field {field.id}"))
    return found


def forget(look: Look, fields: Iterable[Field]) -> None:
    """Do not ask for these again in this session."""
    look.device.unsupported.update(fields)
    look.device.fields = tuple(f for f in look.device.fields if look.supports(f))
