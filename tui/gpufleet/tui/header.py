"""The fleet in two lines, or in one where there is little room, with charts where there is much."""

from __future__ import annotations

import time

from gpufleet.client import fleet_header, units
from gpufleet.client.columns import heat
from gpufleet.client.fleet_header import Word
from gpufleet.client.severity import LETTERS, LEVELS
from gpufleet.tui import charts
from gpufleet.tui.boxes import Title, Zone, box
from gpufleet.tui.canvas import Canvas, Style
from gpufleet.tui.picture import Picture
from gpufleet.tui.state import Ui
from gpufleet.tui.text import fit, width
from gpufleet.tui.theme import Theme, shade

CHART_ROWS = 5
BOX_ROWS = 4
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
    words = fleet_header.counts(picture.fleet or {}, firing(picture), long)
    return [_pieces(word, theme) for word in words]


def firing(picture: Picture) -> list[str] | None:
    """The severities of the alerts that fire; ``None`` where the hub tells none."""
    if picture.alerts is None:
        return None
    return [a.severity for a in picture.alerts if a.state == "firing" and not a.silenced]


def _pieces(word: Word, theme: Theme) -> Pieces:
    style = theme.strong if word.strong else theme.severity(word.severity)
    label: Pieces = [(f"{word.label} ", theme.dim)] if word.label else []
    return [*label, (word.text, style)]


def meters(canvas: Canvas, x: int, y: int, room: int, picture: Picture, theme: Theme) -> None:
    """Load, memory, power and temperature of the whole fleet beside one another, with bars."""
    ramps = (theme.load, theme.memory, theme.power, theme.temperature)
    found = list(zip(fleet_header.meters(picture.fleet or {}), ramps, strict=True))
    fixed = sum(width(m.name) + 1 + width(m.text) for m, _ in found) + 3 * (len(found) - 1)
    bar_room = min((room - fixed) // len(found) - 1, 24)
    while fixed > room and found:
        meter, _ = found.pop()
        fixed -= width(meter.name) + width(meter.text) + 4
    for meter, ramp in found:
        x = canvas.put(x, y, meter.name + " ", theme.dim)
        if bar_room >= 4:
            charts.put_bar(canvas, x, y, bar_room, meter.ratio, ramp, theme)
            x += bar_room + 1
        style = theme.unknown if meter.ratio is None else shade(ramp, meter.ratio)
        x = canvas.put(x, y, meter.text, style) + 3


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
        many = by_health.get(LEVELS[level]) or 0
        if many:
            groups.append([(f"{LETTERS[level]}{many}", theme.health[level])])
    groups.append([(units.percent(load), shade(theme.load, load))])
    groups.append([(units.watts(power), theme.text)])
    groups.append([(f"max {units.celsius(hot)}", shade(theme.temperature, heat(hot)))])
    groups += [_pieces(word, theme) for word in fleet_header.alerts(firing(picture))]
    flow(canvas, x, 0, w - x, groups, 1 if w < 36 else 2)
