"""NVLink: the state, errors and bytes of every link, and their sums."""

from __future__ import annotations

from collections.abc import Mapping

from gpufleet.agent.model import Json
from gpufleet.agent.nvml.device import Field, Look
from gpufleet.agent.nvml.fields import ALL_LINKS, forget
from gpufleet.proto.catalog import BY_NAME

_STATE = "state"
_SPEED = "speed"
_ERRORS = ("link_errors", "link_totals", "link_recoveries")
"""How generations of NVLink count errors, best first; the first that answers is the metric."""

_BYTES = ("link_tx", "link_rx")
"""Bytes link by link, for NVLink 5, which has no counter over all links. Slow: 36 fields."""

TOTALS = (
    Field(138, BY_NAME["nvlink_tx_bytes_total"].id, scope=ALL_LINKS, multiplier=1024),
    Field(139, BY_NAME["nvlink_rx_bytes_total"].id, scope=ALL_LINKS, multiplier=1024),
)
_SUMS = {group: field.metric for group, field in zip(_BYTES, TOTALS, strict=True)}
ERRORS = BY_NAME["nvlink_errors_total"].id

_STATES = ("inactive", "active", "sleep", "traffic_disabled")  # NVML_NVLINK_STATE_*
_UP = ("active", "sleep")

_PER_LINK = (
    (165, _STATE, "state"),
    (164, _SPEED, "speed_bytes_per_second"),
    (161, _ERRORS[0], "replay_errors"),
    (162, _ERRORS[0], "recovery_errors"),
    (163, _ERRORS[0], "crc_errors"),
    (215, _ERRORS[2], "recovery_events"),
    (202, _BYTES[0], "tx_bytes"),
    (204, _BYTES[1], "rx_bytes"),
)
_NAMES = {id: name for id, _, name in _PER_LINK}


def link_fields(links: int) -> tuple[Field, ...]:
    """State and counters of every link, and the older totals over all of them."""
    if links == 0:
        return ()
    per_link = [
        Field(id, scope=link, slow=True, group=group)
        for link in range(links)
        for id, group, _ in _PER_LINK
    ]
    # CRC flit, CRC data, replay, recovery
    totals = [Field(id, slow=True, group=_ERRORS[1]) for id in (38, 45, 52, 59)]
    return (*per_link, *totals)


def settle_links(look: Look) -> None:
    """Keep one way of counting, once a batch has told which of them answer."""
    fields = look.device.fields
    best = next((g for g in _ERRORS if any(f.group == g for f in fields)), None)
    forget(look, [f for f in fields if f.group in _ERRORS and f.group != best])
    if any(total in look.device.fields for total in TOTALS):
        forget(look, [f for f in look.device.fields if f.group in _BYTES])


def link_metrics(fields: tuple[Field, ...]) -> set[int]:
    """The catalogue ids that the per-link fields add up to."""
    groups = {field.group for field in fields}
    ids = {metric for group, metric in _SUMS.items() if group in groups}
    return ids | ({ERRORS} if groups & set(_ERRORS) else set())


def link_sums(fields: tuple[Field, ...], batch: Mapping[Field, int]) -> dict[int, int]:
    """Errors and bytes over all links; a part of a sum would look like a reset, so all or none."""
    parts: dict[int, list[int | None]] = {}
    for field in fields:
        if metric := ERRORS if field.group in _ERRORS else _SUMS.get(field.group):
            parts.setdefault(metric, []).append(batch.get(field))
    return {
        metric: sum(known)
        for metric, values in parts.items()
        if len(known := [v for v in values if v is not None]) == len(values)
    }


def link_detail(batch: Mapping[Field, int]) -> dict[str, Json]:
    """Each link with what it answered."""
    links: dict[int, dict[str, Json]] = {}
    for field, value in batch.items():
        name = _NAMES.get(field.id)
        if not field.group or name is None:
            continue
        link = links.setdefault(field.scope, {"link": field.scope})
        if field.group == _STATE:
            state = _STATES[value] if value < len(_STATES) else str(value)
            link["up"], link["state"] = state in _UP, state
        elif field.group == _SPEED:
            if value:
                link[name] = value * 1_000_000
        else:
            link[name] = value
    return {"nvlinks": [links[link] for link in sorted(links)]} if links else {}
