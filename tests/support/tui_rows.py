"""Rows, pictures and documents for the terminal client's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpufleet.tui import screen, theme
from gpufleet.tui.alerts_view import ordered
from gpufleet.tui.picture import Alert, Frame, Past, Picture, Point
from gpufleet.tui.screen import Arranged
from gpufleet.tui.state import Metric, Ui
from gpufleet.tui.theme import Depth, Theme

NOW_MS = 1_780_000_000_000
HOSTILE = (
    "节点-東京-🖥",
    "\x1b[31mred\x1b[2J\x1b]0;title\x07",
    "nul\x00tab\tnew\nline\r",
    "\u202eevil\u2066 \u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627",
    "e\u0301\u0301\u0301 zero\u200bwidth\u200d joiner",
    "x" * 255,
    "",
)
"""Names of nodes, models, users that somebody may really send."""

VALUES = (
    "utilization_ratio",
    "memory_used_bytes",
    "memory_total_bytes",
    "memory_used_ratio",
    "temperature_celsius",
    "power_watts",
    "power_limit_watts",
    "fan_speed_ratio",
    "clock_sm_hertz",
)


def row(node: str = "node-1", index: int = 0, **more: Any) -> dict[str, Any]:
    """A GPU as /api/v1/gpus tells it; ``more`` replaces fields."""
    load = (index * 13 % 101) / 100
    return {
        "uuid": f"GPU-{node}-{index}",
        "node": node,
        "index": index,
        "name": "NVIDIA H100 80GB HBM3",
        "health": 0,
        "health_reasons": [],
        "stale": False,
        "fault": None,
        "utilization_ratio": load,
        "memory_used_bytes": int(load * 80 * 2**30),
        "memory_total_bytes": 80 * 2**30,
        "memory_used_ratio": load,
        "temperature_celsius": 30 + 60 * load,
        "power_watts": 70 + 600 * load,
        "power_limit_watts": 700.0,
        "fan_speed_ratio": None,
        "clock_sm_hertz": 1_980_000_000,
        "users": ["alice"] if load > 0.2 else [],
        "process_count": int(load > 0.2),
        "programs": ["train.py"],
        "jobs": ["4711"] if load > 0.2 else [],
        "labels": {"rack": "r1"},
        **more,
    }


def rows(count: int, a_node: int = 8) -> list[dict[str, Any]]:
    """So many GPUs on nodes of ``a_node``."""
    return [row(f"node-{i // a_node + 1}", i % a_node) for i in range(count)]


def unknown(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same GPUs of which no metric is known."""
    nothing = {"health": None, "users": None, "process_count": None, "labels": None}
    return [{**r, **dict.fromkeys(VALUES), **nothing, "stale": True} for r in found]


def hostile() -> list[dict[str, Any]]:
    """GPUs whose every text is hostile."""
    return [
        row(
            text,
            i,
            uuid=f"GPU-{i}-{text}",
            name=text,
            users=[text, text],
            programs=[text],
            jobs=[text],
            health=i % 4,
            health_reasons=[text],
            fault=text or None,
            labels={text: text},
        )
        for i, text in enumerate(HOSTILE)
    ]


def fleet(count: int) -> dict[str, Any]:
    """Totals as /api/v1/fleet tells them."""
    levels = {"healthy": count, "caution": 0, "warning": 0, "critical": 0, "unknown": 0}
    return {
        "nodes": {"total": -(-count // 8), "up": -(-count // 8), "down": 0},
        "gpus": {"total": count, "fresh": count, "stale": 0, "by_health": levels, "by_fault": {}},
        "users": 1,
        "utilization_ratio": {"gpus": count, "mean": 0.5, "min": 0, "max": 1},
        "temperature_celsius": {"gpus": count, "mean": 50, "min": 30, "max": 85},
        "memory_used_bytes": {"gpus": count, "sum": 40 * 2**30 * count},
        "memory_total_bytes": {"gpus": count, "sum": 80 * 2**30 * count},
        "power_watts": {"gpus": count, "sum": 400.0 * count},
        "power_limit_watts": {"gpus": count, "sum": 700.0 * count},
    }


def gpu(of: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The document of a GPU that a row is about."""
    texts = of.get("users") or ["alice"]
    process = {
        "gpu": of["uuid"],
        "pid": 4242,
        "type": "C",
        "start_time": "2026-05-28T20:00:00Z",
        "user": texts[0],
        "program": "train.py",
        "memory_bytes": 2**30,
        "utilization_ratio": 0.5,
        "container": "c" * 64,
        "pod": None,
        "job": "4711",
        "arguments": None,
    }
    return {
        "uuid": of["uuid"],
        "node": of["node"],
        "index": of["index"],
        "name": of["name"],
        "stale": of.get("stale"),
        "static": {"vbios": "96.00", "slowdown_temperature_celsius": 89},
        "dynamic": {
            **{name: of.get(name) for name in VALUES},
            "throttle_reasons": ["sw_power_cap"],
        },
        "detail": {},
        "health": {"level": of.get("health"), "reasons": of.get("health_reasons") or []},
        "fault": None,
        "processes": [process] * 3,
        "mig": [],
        **more,
    }


def past(uuid: str, seconds: int = 900) -> Past:
    """A quarter of an hour of every chart."""
    start = NOW_MS - seconds * 1000
    points = [Point(start + i * 5000, i % 10 / 10, 0.0, 1.0) for i in range(seconds // 5)]
    series = {metric.value: points for metric in Metric}
    return Past(uuid, start, NOW_MS, 5000, "samples", series)


ALERTS = (
    Alert("1", "GpuHot", "critical", "firing", "node-1 / GPU 0", "1", "GPU-node-1-0", "node-1",
          NOW_MS - 300_000, "85 °C for more than 5 min"),
    Alert("2", "MemoryFull", "warning", "pending", "node-1 / GPU 1", None, "GPU-node-1-1", "node-1",
          NOW_MS - 60_000, "96 % of the memory is in use"),
    Alert("3", "NodeDown", "critical", "no data", "node-2", "3", None, "node-2", NOW_MS - 9_000_000,
          "Nothing is heard of the node", acknowledged="bob: on it"),
    Alert("4", "Waste", "info", "firing", "node-3 / GPU 7", "4", "GPU-node-3-7", "node-3", None,
          "Held, not used", silenced="until tomorrow"),
)  # fmt: skip


def picture(found: Sequence[Mapping[str, Any]], **more: Any) -> Picture:
    """What is known of these rows."""
    values: dict[str, Any] = {
        "hub": "hub:9555",
        "now_ms": NOW_MS,
        "taken_ms": NOW_MS,
        "fleet": fleet(len(found)),
        "rows": found,
        "sparks": {str(r["uuid"]): [0.1, None, 0.9] * 20 for r in found},
        "fleet_load": [0.5] * 100,
        "fleet_power": [0.7] * 100,
        "alerts": ALERTS,
    }
    if found:
        values["gpu"] = gpu(found[0])
        values["past"] = past(str(found[0]["uuid"]))
    return Picture(**{**values, **more})


def arranged(shown: Picture, ui: Ui) -> Arranged:
    """Its lines and alerts in order."""
    lines = screen.arrange(shown.rows, screen.order_of(ui))
    return Arranged(lines, ordered(shown.alerts))


def styles(name: str = "dark", depth: Depth = Depth.FULL, unicode: bool = True) -> Theme:
    """A theme."""
    return theme.build(name, depth, unicode, {})


def drawn(shown: Picture, ui: Ui, size: tuple[int, int], look: Theme | None = None) -> Frame:
    """The screen."""
    return screen.draw(shown, ui, arranged(shown, ui), size, look or styles())
