"""The fleet in a few words and four meters, from the document of ``/fleet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpufleet.client import units
from gpufleet.client.columns import heat, ratio_of
from gpufleet.client.severity import LETTERS, LEVELS, STALE_LETTER, Severity

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Word:
    """A number with its label. ``strong``: it is what is read first."""

    label: str
    text: str
    severity: Severity = Severity.NONE
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Meter:
    """A value of the whole fleet, and where it lies from 0 to 1; ``None``: not known."""

    name: str
    ratio: float | None
    text: str


def counts(fleet: Document, firing: Sequence[str] | None, long: bool) -> list[Word]:
    """Nodes up and down, GPUs by health, alerts, users; ``long`` spells the letters out.

    ``firing`` has the severity of each alert that fires and is not silenced; ``None``: the hub
    tells none.
    """
    nodes, gpus = fleet.get("nodes") or {}, fleet.get("gpus") or {}
    up, total = units.count(nodes.get("up")), units.count(nodes.get("total"))
    words = [Word("nodes", f"{up}/{total} up", strong=True)]
    if nodes.get("down"):
        words.append(Word("", f"{units.count(nodes['down'])} down", Severity.CRITICAL))
    words.append(Word("GPUs", units.count(gpus.get("total")), strong=True))
    by_health = gpus.get("by_health") or {}
    for letter, level in zip(LETTERS, LEVELS, strict=True):
        many = by_health.get(level) or 0
        if many:
            text = f"{letter} {many:,}" + (f" {level}" if long else "")
            words.append(Word("", text, Severity(level)))
    if gpus.get("stale"):
        text = f"{STALE_LETTER} {gpus['stale']:,}" + (" stale" if long else "")
        words.append(Word("", text, Severity.UNKNOWN))
    words += alerts(firing)
    if fleet.get("users") is not None and long:
        words.append(Word("users", units.count(fleet["users"])))
    return words


def alerts(firing: Sequence[str] | None) -> list[Word]:
    """How many alerts fire, as bad as the worst; nothing where the hub tells none."""
    if firing is None:
        return []
    if not firing:
        return [Word("alerts", "none", Severity.HEALTHY)]
    worst = Severity.CRITICAL if "critical" in firing else Severity.WARNING
    return [Word("alerts", f"{len(firing):,} firing", worst)]


def meters(fleet: Document) -> list[Meter]:
    """Mean load, memory in use, power of the limits, and the mean and the highest temperature."""

    def of(name: str, key: str) -> Any:
        return (fleet.get(name) or {}).get(key)

    used, total = of("memory_used_bytes", "sum"), of("memory_total_bytes", "sum")
    power, limit = of("power_watts", "sum"), of("power_limit_watts", "sum")
    load, hot = of("utilization_ratio", "mean"), of("temperature_celsius", "max")
    mean = units.celsius(of("temperature_celsius", "mean"))
    return [
        Meter("load", load, units.percent(load)),
        Meter("memory", ratio_of(used, total), units.part(used, total)),
        Meter("power", ratio_of(power, limit), units.watts_of(power, limit)),
        Meter("temp", heat(hot), f"{mean} max {units.celsius(hot)}"),
    ]
