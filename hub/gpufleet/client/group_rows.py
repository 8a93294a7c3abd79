"""Groups of a large fleet as the hub sums them up, to ask only for those that are seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gpufleet.client.address import Query
from gpufleet.client.lines import Row
from gpufleet.client.query import quoted
from gpufleet.client.severity import LEVELS

MOST_CHARACTERS = 1800
"""Of a filter; the hub takes 2000."""
_SUMS = ("memory_used_bytes", "memory_total_bytes", "power_watts", "power_limit_watts")


class Hub(Protocol):
    """Who answers: ``gpufleet.client.hub.Hub``."""

    def get(self, path: str, query: Query | None = None) -> Any:
        """The document at a path."""


def node_rows(hub: Hub, filter: str, nodes: Sequence[str]) -> dict[str, Row]:
    """The rows of these nodes by the keys of their lines, as ``lines.summed`` makes them."""
    found: dict[str, Row] = {}
    for asked in filters(filter, nodes):
        query = {"by": "node", "filter": asked, "limit": str(len(nodes))}
        for group in hub.get("/api/v1/groups", query)["groups"]:
            found[f"node:{group['group']}"] = group_row(group)
    return found


def filters(filter: str, nodes: Sequence[str]) -> list[str]:
    """Filters that together let the GPUs of these nodes pass that pass the filter."""
    before = f"({filter}) and " if filter.strip() else ""
    room = max(MOST_CHARACTERS - len(before), 300)
    parts: list[list[str]] = [[]]
    used = 0
    for node in nodes:
        term = f"node={quoted(node)}"
        if parts[-1] and (used + len(term) + 4 > room or len(parts[-1]) >= 100):
            parts.append([])
            used = 0
        parts[-1].append(term)
        used += len(term) + 4
    return [f"{before}({' or '.join(terms)})" for terms in parts if terms]


def group_row(group: Mapping[str, Any]) -> Row:
    """A group of the hub as a row; what the hub does not tell of groups is left out."""
    row: dict[str, Any] = {name: group[name]["sum"] for name in _SUMS}
    used, total = row["memory_used_bytes"], row["memory_total_bytes"]
    levels = tuple(int(group["by_health"][name]) for name in LEVELS)
    return {
        **row,
        "memory_used_ratio": used / total if total and used is not None else None,
        "utilization_ratio": group["utilization_ratio"]["mean"],
        "temperature_celsius": group["temperature_celsius"]["max"],
        "fan_speed_ratio": group["fan_speed_ratio"]["mean"],
        "health": max((i for i, many in enumerate(levels) if many), default=None),
        "levels": levels,
        "unknown": group["by_health"]["unknown"],
        "stale_count": group["stale"],
        "stale": group["stale"] == group["gpus"],
        "count": group["gpus"],
        "process_count": group["processes"],
    }
