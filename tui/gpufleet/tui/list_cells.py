"""Cells of the list: what is drawn of a GPU or a group in each column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gpufleet.tui import charts, units
from gpufleet.tui.canvas import Canvas, Style
from gpufleet.tui.lines import Line, Row
from gpufleet.tui.text import fit, fit_middle, pad, width
from gpufleet.tui.theme import LETTERS, STALE_LETTER, UNKNOWN_LETTER, Theme, shade

LEVELS = ("healthy", "caution", "warning", "critical")
COLDEST, HOTTEST = 25.0, 95.0
"""Celsius at the ends of the temperature's ramp."""


@dataclass(frozen=True, slots=True)
class Look:
    """What columns need besides the line: theme, and the recent load of each line by key."""

    theme: Theme
    sparks: Mapping[str, Sequence[float | None]]
    search: str = ""


def heat(degrees: float | None) -> float | None:
    """Where a temperature lies on its ramp."""
    return None if degrees is None else (degrees - COLDEST) / (HOTTEST - COLDEST)


def ratio_of(part: float | None, whole: float | None) -> float | None:
    """``part / whole``; ``None`` where either is not known or the whole is nothing."""
    return part / whole if part is not None and whole else None


def letter(row: Row) -> str:
    """Health as a letter. A GPU that is not heard from is S, whatever it was last."""
    if row.get("stale"):
        return STALE_LETTER
    level = row.get("health")
    return UNKNOWN_LETTER if level is None else LETTERS[int(level)]


def health_style(row: Row, theme: Theme) -> Style:
    """The colour of a row's health."""
    level = row.get("health")
    if row.get("stale") and (level is None or level < 3) and not row.get("fault"):
        return theme.unknown
    return theme.level(None if level is None else int(level))


def health_text(row: Row) -> str:
    """Health in words, with its first reason."""
    fault, level = row.get("fault"), row.get("health")
    if "levels" in row:
        counts = row["levels"]
        said = [f"{n} {LEVELS[i]}" for i, n in enumerate(counts) if n]
        if row["stale_count"]:
            said.append(f"{row['stale_count']} stale")
        if row["unknown"]:
            said.append(f"{row['unknown']} unknown")
        return ", ".join(reversed(said))
    word = "unknown" if level is None else LEVELS[int(level)]
    reasons = row.get("health_reasons") or ()
    if row.get("stale"):
        word = f"stale, was {word}" if level is not None else "stale"
    if fault:
        word = f"{word} ({fault})"
    return f"{word}: {reasons[0]}" if reasons and level else word


def place_text(line: Line) -> str:
    """``node / GPU 0``; a group by its name."""
    if line.group:
        return line.title
    row = line.row
    return f"{row.get('node')} / GPU {row.get('index')}"


def health_letter(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    canvas.put(x, y, letter(line.row), health_style(line.row, look.theme))


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
    ratio = row.get("memory_used_ratio")
    if ratio is None:
        ratio = ratio_of(used, total)
    text, text_room = (units.part(used, total), 11) if room >= 11 else (units.gib(used), 5)
    theme = look.theme
    _with_bar(canvas, x, y, room, ratio, text, text_room, theme.memory, theme)


def temperature(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    degrees = line.row.get("temperature_celsius")
    ramp = look.theme.temperature
    style = look.theme.unknown if degrees is None else shade(ramp, heat(degrees))
    canvas.put(x, y, pad(units.celsius(degrees), room, True), style)


def power(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    row, theme = line.row, look.theme
    power, limit = row.get("power_watts"), row.get("power_limit_watts")
    ratio = ratio_of(power, limit)
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
    row = line.row
    users = row.get("users") or ()
    processes = row.get("process_count")
    if users:
        text, style = ", ".join(map(str, users)), look.theme.text
    elif processes:
        text, style = (
            units.plural(int(processes), "process").replace("processs", "processes"),
            (look.theme.dim),
        )
    elif processes == 0 and not row.get("stale"):
        text, style = "free", look.theme.good
    else:
        text, style = units.NOTHING, look.theme.unknown
    canvas.put(x, y, fit(text, room), style)


def health(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    canvas.put(x, y, fit(health_text(line.row), room), health_style(line.row, look.theme))


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


def names(field: str) -> Callable[[Canvas, int, int, int, Line, Look], None]:
    def draw(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
        found = line.row.get(field)
        if field == "nodes" and found is None:
            found = [line.row.get("node")]
        canvas.put(x, y, fit(", ".join(map(str, found or ())), room), look.theme.dim)

    return draw
