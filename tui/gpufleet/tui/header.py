"""The fleet in two lines, or in one where there is little room, with charts where there is much."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from gpufleet.tui import charts, units
from gpufleet.tui.boxes import Title, Zone, box
from gpufleet.tui.canvas import Canvas, Style
from gpufleet.tui.list_cells import heat, ratio_of
from gpufleet.tui.picture import Picture
from gpufleet.tui.state import Ui
from gpufleet.tui.text import fit, width
from gpufleet.tui.theme import LETTERS, Theme, shade

CHART_ROWS = 5
BOX_ROWS = 4
_HEALTH = ("healthy", "caution", "warning", "critical")
Pieces = list[tuple[str, Style]]


def status(picture: Picture, ui: Ui, theme: Theme) -> tuple[str, Style]:
    """Whether the picture is of now."""
    if picture.taken_ms is None:
        return ("no answer yet" if picture.trouble else "asking …"), theme.dim
    if picture.old or picture.trouble:
        return f"no answer for {units.span(picture.age_seconds or 0)}", theme.error
    if ui.paused:
        return f"paused {units.span(picture.age_seconds or 0)} ago", theme.sorted
    return "live", theme.good


def clock(now_ms: int) -> str:
    """The time of day, here."""
    return time.strftime("%H:%M:%S", time.localtime(now_ms / 1000))


def counts(picture: Picture, theme: Theme, long: bool) -> list[Pieces]:
    """Groups of words: nodes, GPUs by health, alerts, users; each stays together."""
    fleet = picture.fleet or {}
    nodes, gpus = fleet.get("nodes") or {}, fleet.get("gpus") or {}
    up, total = nodes.get("up"), nodes.get("total")
    down = nodes.get("down") or 0
    groups: list[Pieces] = [
        [("nodes ", theme.dim), (f"{units.count(up)}/{units.count(total)} up", theme.strong)]
    ]
    if down:
        groups.append([(f"{units.count(down)} down", theme.health[3])])
    groups.append([("GPUs ", theme.dim), (units.count(gpus.get("total")), theme.strong)])
    by_health: Mapping[str, Any] = gpus.get("by_health") or {}
    for level, name in enumerate(_HEALTH):
        many = by_health.get(name) or 0
        if many:
            word = f"{LETTERS[level]} {many:,}" + (f" {name}" if long else "")
            groups.append([(word, theme.health[level])])
    if gpus.get("stale"):
        groups.append([(f"S {gpus['stale']:,}" + (" stale" if long else ""), theme.unknown)])
    groups += alert_counts(picture, theme)
    if fleet.get("users") is not None and long:
        groups.append([("users ", theme.dim), (units.count(fleet["users"]), theme.text)])
    return groups


def alert_counts(picture: Picture, theme: Theme) -> list[Pieces]:
    """How many alerts fire; nothing where the hub tells none."""
    if picture.alerts is None:
        return []
    firing = [a for a in picture.alerts if a.state == "firing" and not a.silenced]
    if not firing:
        return [[("alerts ", theme.dim), ("none", theme.good)]]
    worst = 3 if any(a.severity == "critical" for a in firing) else 2
    return [[("alerts ", theme.dim), (f"{len(firing)} firing", theme.health[worst])]]


def _meters(picture: Picture, theme: Theme, room: int) -> list[tuple[str, float | None, str, Any]]:
    fleet = picture.fleet or {}

    def of(name: str, key: str) -> Any:
        return (fleet.get(name) or {}).get(key)

    used, total = of("memory_used_bytes", "sum"), of("memory_total_bytes", "sum")
    power, limit = of("power_watts", "sum"), of("power_limit_watts", "sum")
    load, hot = of("utilization_ratio", "mean"), of("temperature_celsius", "max")
    mean = of("temperature_celsius", "mean")
    temperature = f"{units.celsius(mean)} max {units.celsius(hot)}"
    return [
        ("load", load, units.percent(load), theme.load),
        ("memory", ratio_of(used, total), units.part(used, total), theme.memory),
        ("power", ratio_of(power, limit), units.watts_of(power, limit), theme.power),
        ("temp", heat(hot), temperature, theme.temperature),
    ]


def meters(canvas: Canvas, x: int, y: int, room: int, picture: Picture, theme: Theme) -> None:
    """Load, memory, power and temperature of the whole fleet beside one another, with bars."""
    found = _meters(picture, theme, room)
    fixed = sum(width(name) + 1 + width(text) for name, _, text, _ in found) + 3 * (len(found) - 1)
    bar_room = min((room - fixed) // len(found) - 1, 24)
    while fixed > room and found:
        name, _, text, _ = found.pop()
        fixed -= width(name) + width(text) + 4
    for name, ratio, text, ramp in found:
        x = canvas.put(x, y, name + " ", theme.dim)
        if bar_room >= 4:
            charts.put_bar(canvas, x, y, bar_room, ratio, ramp, theme)
            x += bar_room + 1
        style = theme.unknown if ratio is None else shade(ramp, ratio)
        x = canvas.put(x, y, text, style) + 3


def flow(canvas: Canvas, x: int, y: int, room: int, groups: list[Pieces], gap: int) -> None:
    """Writes groups of words beside one another, as many as there is room for."""
    end = x + room
    for i, pieces in enumerate(groups):
        needed = sum(width(text) for text, _ in pieces)
        if x + needed > end:
            return
        x = canvas.runs(x, y, pieces) + (gap if i < len(groups) else 0)


def boxed(
    canvas: Canvas, picture: Picture, ui: Ui, theme: Theme, live: Theme, chart_rows: int
) -> list[Zone]:
    """The header in a box of BOX_ROWS and the charts' rows; ``live`` colours what is of now."""
    w = canvas.width
    word, style = status(picture, ui, live)
    zones = box(
        canvas,
        0,
        0,
        (w, BOX_ROWS + chart_rows),
        theme,
        left=[Title("gpufleet", style=theme.strong), Title(fit(picture.hub, max(w - 50, 12)))],
        right=[Title(word, "", "pause", style), Title(clock(picture.now_ms))],
    )
    room = w - 4
    long = w >= 110
    groups = counts(picture, theme, long)
    flow(canvas, 2, 1, room, groups, 3 if w >= 100 else 2)
    meters(canvas, 2, 2, room, picture, theme)
    if chart_rows:
        _charts(canvas, picture, theme, 3, chart_rows)
    return zones


def _charts(canvas: Canvas, picture: Picture, theme: Theme, y: int, rows: int) -> None:
    half = (canvas.width - 5) // 2
    span = units.span(half * picture.spark_seconds)
    for x, values, ramp, name in (
        (2, picture.fleet_load, theme.load, "load"),
        (3 + half, picture.fleet_power, theme.power, "power of limit"),
    ):
        canvas.blit(charts.area(values, half, rows, ramp, theme), x, y)
        canvas.put(x, y, f"{name}, {span}", theme.dim)


def compact(canvas: Canvas, picture: Picture, ui: Ui, theme: Theme, live: Theme) -> None:
    """The header in one line."""
    w = canvas.width
    fleet = picture.fleet or {}
    load = (fleet.get("utilization_ratio") or {}).get("mean")
    power = (fleet.get("power_watts") or {}).get("sum")
    hot = (fleet.get("temperature_celsius") or {}).get("max")
    x = 0
    word, style = status(picture, ui, live)
    if word != "live":
        x = canvas.put(0, 0, fit(word, w), style) + 1
    gpus = fleet.get("gpus") or {}
    groups: list[Pieces] = [[(f"{units.count(gpus.get('total'))} GPU", theme.strong)]]
    by_health = gpus.get("by_health") or {}
    for level in (3, 2, 1):
        many = by_health.get(_HEALTH[level]) or 0
        if many:
            groups.append([(f"{LETTERS[level]}{many}", theme.health[level])])
    groups.append([(units.percent(load), shade(theme.load, load))])
    groups.append([(units.watts(power), theme.text)])
    groups.append([(f"max {units.celsius(hot)}", shade(theme.temperature, heat(hot)))])
    groups += alert_counts(picture, theme)
    flow(canvas, x, 0, w - x, groups, 1 if w < 36 else 2)
