"""Cells of the list: what is drawn of a GPU or a group in each column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gpufleet.client import columns, severity, units
from gpufleet.client.lines import Line, Row
from gpufleet.client.severity import Severity
from gpufleet.tui import charts
from gpufleet.tui.canvas import Canvas, Style
from gpufleet.tui.text import fit, fit_middle, pad, width
from gpufleet.tui.theme import Theme, shade


@dataclass(frozen=True, slots=True)
class Look:
    """What columns need besides the line: theme, and the recent load of each line by key."""

    theme: Theme
    sparks: Mapping[str, Sequence[float | None]]
    search: str = ""


Draw = Callable[[Canvas, int, int, int, Line, Look], None]


def health_style(row: Row, theme: Theme) -> Style:
    """The colour of a row's health."""
    return theme.severity(severity.of_health(row))


def health_letter(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    canvas.put(x, y, severity.letter(line.row), health_style(line.row, look.theme))


def place(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    theme, row = look.theme, line.row
    if line.group:
        sign = ("▾" if line.open else "▸") if theme.unicode else ("-" if line.open else "+")
        many = "" if line.key.startswith("user:") else f" {len(line.members)}"
        name = fit_middle(line.title, max(room - 2 - width(many), 4))
        canvas.runs(x, y, ((sign + " ", theme.dim), (name, theme.strong), (many, theme.dim)))
        return
    node, index = str(row.get("node")), str(row.get("index"))
    if line.depth:
        node_too = row.get("node") and room >= 16
        text = f"  {node} / GPU {index}" if node_too else f"  GPU {index}"
        canvas.put(x, y, fit_middle(text, room), theme.text)
        return
    between = " / GPU " if width(node) + 7 + len(index) <= room else "/"
    node = fit_middle(node, room - len(between) - len(index))
    canvas.runs(x, y, ((node, theme.text), (between, theme.dim), (index, theme.strong)))


def model(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    canvas.put(x, y, fit(units.model(line.row.get("name")), room), look.theme.dim)


def _with_bar(
    canvas: Canvas,
    x: int,
    y: int,
    room: int,
    ratio: float | None,
    text: str,
    text_room: int,
    ramp: tuple[Style, ...],
    theme: Theme,
) -> None:
    """A bar and its number at the right; only the number where there is no room for both."""
    style = shade(ramp, ratio) if ratio is not None else theme.unknown
    bar_room = room - text_room - 1
    if bar_room >= 3:
        charts.put_bar(canvas, x, y, bar_room, ratio, ramp, theme)
    canvas.put(x + max(room - text_room, 0), y, pad(text, min(text_room, room), True), style)


def load(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    ratio = line.row.get("utilization_ratio")
    _with_bar(canvas, x, y, room, ratio, units.percent(ratio), 4, look.theme.load, look.theme)


def memory(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    row = line.row
    used, total = row.get("memory_used_bytes"), row.get("memory_total_bytes")
    ratio = columns.memory_ratio(row)
    text, text_room = (units.part(used, total), 11) if room >= 11 else (units.gib(used), 5)
    theme = look.theme
    _with_bar(canvas, x, y, room, ratio, text, text_room, theme.memory, theme)


def temperature(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    degrees = line.row.get("temperature_celsius")
    ramp = look.theme.temperature
    style = look.theme.unknown if degrees is None else shade(ramp, columns.heat(degrees))
    bad = severity.of_temperature(line.row)
    if bad in (Severity.CAUTION, Severity.WARNING):
        style = look.theme.severity(bad)
    canvas.put(x, y, pad(units.celsius(degrees), room, True), style)


def power(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    row, theme = line.row, look.theme
    power, limit = row.get("power_watts"), row.get("power_limit_watts")
    ratio = columns.power_ratio(row)
    if room < 9:
        style = theme.unknown if power is None else shade(theme.power, ratio)
        canvas.put(x, y, pad(units.watts(power), room, True), style)
        return
    text_room = 11 if room >= 11 else 9
    _with_bar(
        canvas, x, y, room, ratio, units.watts_of(power, limit), text_room, theme.power, theme
    )


def fan(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    ratio = line.row.get("fan_speed_ratio")
    style = look.theme.unknown if ratio is None else shade(look.theme.neutral, ratio)
    canvas.put(x, y, pad(units.percent(ratio), room, True), style)


def clock(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    clock = line.row.get("clock_sm_hertz")
    style = look.theme.unknown if clock is None else look.theme.text
    canvas.put(x, y, pad(units.hertz(clock), room, True), style)


def users(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    text = columns.users_text(line.row)
    style = look.theme.text
    if not line.row.get("users"):
        styles = {"free": look.theme.good, units.NOTHING: look.theme.unknown}
        style = styles.get(text, look.theme.dim)
    canvas.put(x, y, fit(text, room), style)


def health(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    canvas.put(x, y, fit(severity.health_text(line.row), room), health_style(line.row, look.theme))


def spark(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    key = line.key.partition("@")[0]
    values = look.sparks.get(key, ())
    charts.put_sparkline(canvas, x, y, room, values, look.theme.load, look.theme)


def gpus(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    if line.group:
        canvas.put(x, y, pad(units.count(len(line.members)), room, True), look.theme.strong)


def processes(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    many = line.row.get("process_count")
    canvas.put(x, y, pad(units.count(many), room, True), look.theme.text)


def _names(column: str) -> Draw:
    text = columns.BY_ID[column].text

    def draw(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
        canvas.put(x, y, fit(text(line), room), look.theme.dim)

    return draw


DRAW: Mapping[str, Draw] = {
    "letter": health_letter,
    "place": place,
    "model": model,
    "load": load,
    "memory": memory,
    "temp": temperature,
    "power": power,
    "fan": fan,
    "clock": clock,
    "users": users,
    "health": health,
    "gpus": gpus,
    "processes": processes,
    "spark": spark,
    **{column: _names(column) for column in ("nodes", "programs", "jobs")},
}
"""How a line's cell of each column is drawn: (canvas, x, y, room, line, look)."""
