"""The processes of one GPU: who runs what, where it belongs, what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gpufleet.client import units
from gpufleet.tui.canvas import Canvas
from gpufleet.tui.text import fit, pad
from gpufleet.tui.theme import Theme, shade

_STEPS: tuple[tuple[str, int], ...] = (
    ("PID", 8),
    ("user", 8),
    ("memory", 7),
    ("command", 10),
    ("load", 5),
    ("job", 8),
    ("user", 12),
    ("container", 12),
    ("time", 11),
    ("command", 24),
    ("container", 22),
    ("job", 16),
    ("type", 4),
)
_ORDER = ("PID", "user", "type", "memory", "load", "time", "job", "container", "command")
_RIGHT = frozenset({"PID", "memory", "load", "time"})


def widths(room: int) -> dict[str, int]:
    """The columns that fit and their widths; the command takes what is left."""
    found: dict[str, int] = {}
    left = room
    for name, size in _STEPS:
        cost = size - found.get(name, -1)
        if cost <= left:
            found[name] = size
            left -= cost
    if "command" in found:
        found["command"] += left
    return {name: found[name] for name in _ORDER if name in found}


def draw(
    canvas: Canvas,
    processes: Sequence[Mapping[str, Any]],
    top: int,
    now_ms: int,
    gpu: Mapping[str, Any],
    theme: Theme,
) -> None:
    """A heading and a line a process from ``top`` on."""
    found = widths(canvas.width)
    x = 0
    for name, size in found.items():
        canvas.put(x, 0, pad(name, size, name in _RIGHT), theme.heading)
        x += size + 1
    if not processes:
        told = gpu.get("processes") is not None and not gpu.get("stale")
        said = "Nobody uses this GPU." if told else "No process list was told."
        canvas.put(0, 1, fit(said, canvas.width), theme.good if told else theme.dim)
        return
    for y, process in enumerate(processes[top : top + canvas.height - 1], start=1):
        _process(canvas, y, process, found, now_ms, gpu, theme)


def _process(
    canvas: Canvas,
    y: int,
    process: Mapping[str, Any],
    found: Mapping[str, int],
    now_ms: int,
    gpu: Mapping[str, Any],
    theme: Theme,
) -> None:
    total = (gpu.get("dynamic") or {}).get("memory_total_bytes")
    memory, load = process.get("memory_bytes"), process.get("utilization_ratio")
    command = process.get("arguments") or process.get("program") or units.NOTHING
    values = {
        "PID": (str(process.get("pid")), theme.strong),
        "user": (process.get("user") or units.NOTHING, theme.text),
        "type": (str(process.get("type") or units.NOTHING), theme.dim),
        "memory": (
            units.gib(memory),
            shade(theme.memory, memory / total if memory and total else 0),
        ),
        "load": (units.percent(load), theme.unknown if load is None else shade(theme.load, load)),
        "time": (_age(process.get("start_time"), now_ms), theme.dim),
        "job": (process.get("job") or units.NOTHING, theme.text),
        "container": (process.get("pod") or process.get("container") or units.NOTHING, theme.text),
        "command": (command, theme.text),
    }
    x = 0
    for name, size in found.items():
        text, style = values[name]
        canvas.put(x, y, pad(str(text), size, name in _RIGHT), style)
        x += size + 1


def _age(start: str | None, now_ms: int) -> str:
    try:
        then = datetime.fromisoformat(str(start)).timestamp()
    except ValueError:
        return units.NOTHING
    return units.span(now_ms / 1000 - then)
