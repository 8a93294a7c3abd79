"""NVML field values: many readings in one call, each with its own type and return code.

Ids, units and types are the NVML_FI_* of nvml.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gpufleet.agent.nvml_calls import Kind, kind_of
from gpufleet.agent.nvml_device import Field, Look, Source
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

FIELDS = (
    POWER_INSTANT,
    POWER_AVERAGE,
    ENERGY,
    MEMORY_TEMPERATURE,
    THROTTLE_POWER,
    THROTTLE_THERMAL,
    Field(197, _metric("pcie_tx_bytes_total")),
    Field(198, _metric("pcie_rx_bytes_total")),
    Field(138, _metric("nvlink_tx_bytes_total"), scope=ALL_LINKS, multiplier=1024),
    Field(139, _metric("nvlink_rx_bytes_total"), scope=ALL_LINKS, multiplier=1024),
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
)

LINK_STATE = "link_state"
LINK_ERRORS = ("link_errors", "link_totals", "link_recoveries")
"""How generations of NVLink count errors, best first; the first that answers is used."""


def nvlink_fields(links: int) -> tuple[Field, ...]:
    """State and error counters of every link, and the older totals over all of them."""
    if links == 0:
        return ()
    per_link = [
        Field(id, scope=link, slow=True, group=group)
        for link in range(links)
        for id, group in (
            (165, LINK_STATE),
            (161, LINK_ERRORS[0]),  # DL replay
            (162, LINK_ERRORS[0]),  # DL recovery
            (163, LINK_ERRORS[0]),  # DL CRC
            (215, LINK_ERRORS[2]),  # recovery events, NVLink 5
        )
    ]
    # CRC flit, CRC data, replay, recovery
    totals = [Field(id, slow=True, group=LINK_ERRORS[1]) for id in (38, 45, 52, 59)]
    return (*per_link, *totals)


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


def settle_links(look: Look) -> None:
    """Keep one way of counting NVLink errors, once a batch has told which of them answer."""
    fields = look.device.fields
    best = next((g for g in LINK_ERRORS if any(f.group == g for f in fields)), None)
    forget(look, [f for f in fields if f.group in LINK_ERRORS and f.group != best])
