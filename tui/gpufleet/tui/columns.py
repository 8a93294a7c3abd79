"""The list's columns: what each shows of a GPU or a group, how wide, and how it sorts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``key`` gives a row's value to sort by, ``None`` where it has none."""

    id: str
    title: str
    meaning: str
    key: Callable[[Row], Any]
    draw: Callable[[Canvas, int, int, int, Line, Look], None]
    right: bool = False
    falling: bool = True
    """Whether the first press sorts the greatest first."""
    short: str = ""
    """The title where there is little room."""
    fields: tuple[str, ...] = ()
    """Fields of the hub's rows that it shows or sorts by."""


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


def _letter(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    canvas.put(x, y, letter(line.row), health_style(line.row, look.theme))


def _place(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
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


def _model(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
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


def _load(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    ratio = line.row.get("utilization_ratio")
    _with_bar(canvas, x, y, room, ratio, units.percent(ratio), 4, look.theme.load, look.theme)


def _memory(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    row = line.row
    used, total = row.get("memory_used_bytes"), row.get("memory_total_bytes")
    ratio = row.get("memory_used_ratio")
    if ratio is None:
        ratio = ratio_of(used, total)
    text, text_room = (units.part(used, total), 11) if room >= 11 else (units.gib(used), 5)
    theme = look.theme
    _with_bar(canvas, x, y, room, ratio, text, text_room, theme.memory, theme)


def _temperature(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    degrees = line.row.get("temperature_celsius")
    ramp = look.theme.temperature
    style = look.theme.unknown if degrees is None else shade(ramp, heat(degrees))
    canvas.put(x, y, pad(units.celsius(degrees), room, True), style)


def _power(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
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


def _fan(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    ratio = line.row.get("fan_speed_ratio")
    style = look.theme.unknown if ratio is None else shade(look.theme.neutral, ratio)
    canvas.put(x, y, pad(units.percent(ratio), room, True), style)


def _clock(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    clock = line.row.get("clock_sm_hertz")
    style = look.theme.unknown if clock is None else look.theme.text
    canvas.put(x, y, pad(units.hertz(clock), room, True), style)


def _users(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
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


def _health(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    canvas.put(x, y, fit(health_text(line.row), room), health_style(line.row, look.theme))


def _spark(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    key = line.key.partition("@")[0]
    values = look.sparks.get(key, ())
    canvas.blit(charts.sparkline(values, room, look.theme.load, look.theme), x, y)


def _gpus(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    if line.group:
        canvas.put(x, y, pad(units.count(len(line.members)), room, True), look.theme.strong)


def _processes(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
    many = line.row.get("process_count")
    canvas.put(x, y, pad(units.count(many), room, True), look.theme.text)


def _names(field: str) -> Callable[[Canvas, int, int, int, Line, Look], None]:
    def draw(canvas: Canvas, x: int, y: int, room: int, line: Line, look: Look) -> None:
        found = line.row.get(field)
        if field == "nodes" and found is None:
            found = [line.row.get("node")]
        canvas.put(x, y, fit(", ".join(map(str, found or ())), room), look.theme.dim)

    return draw


def _field(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


def _worst(row: Row) -> Any:
    level = row.get("health")
    return None if level is None else (level, bool(row.get("fault")), bool(row.get("stale")))


def _first_user(row: Row) -> Any:
    users = row.get("users")
    return str(users[0]).casefold() if users else None


def _many(field: str) -> Callable[[Row], Any]:
    return lambda row: len(row.get(field) or ()) or None


COLUMNS: tuple[Column, ...] = (
    Column("letter", "", "health as a letter", _worst, _letter, fields=("health", "stale")),
    Column("place", "node / GPU", "node and index", lambda row: None, _place, falling=False,
           short="GPU", fields=("node", "index")),
    Column("model", "model", "model", lambda row: (row.get("name") or "").casefold() or None,
           _model, falling=False, fields=("name",)),
    Column("load", "load", "load", _field("utilization_ratio"), _load, True,
           fields=("utilization_ratio",)),
    Column("memory", "memory", "memory in use", _field("memory_used_bytes"), _memory, True,
           short="mem", fields=("memory_used_bytes", "memory_total_bytes", "memory_used_ratio")),
    Column("temp", "temp", "temperature", _field("temperature_celsius"), _temperature, True,
           fields=("temperature_celsius",)),
    Column("power", "power", "power", _field("power_watts"), _power, True,
           fields=("power_watts", "power_limit_watts")),
    Column("fan", "fan", "fan speed", _field("fan_speed_ratio"), _fan, True,
           fields=("fan_speed_ratio",)),
    Column("clock", "SM clock", "SM clock", _field("clock_sm_hertz"), _clock, True,
           fields=("clock_sm_hertz",)),
    Column("users", "users", "first user's name", _first_user, _users, falling=False,
           fields=("users", "process_count")),
    Column("health", "health", "health, the worst first", _worst, _health,
           fields=("health", "health_reasons", "fault")),
    Column("gpus", "GPUs", "how many GPUs", lambda row: row.get("count", 0), _gpus, True),
    Column("processes", "procs", "how many processes", _field("process_count"), _processes, True,
           fields=("process_count",)),
    Column("nodes", "on", "how many nodes", _many("nodes"), _names("nodes")),
    Column("programs", "programs", "how many programs", _many("programs"), _names("programs"),
           fields=("programs",)),
    Column("jobs", "jobs", "how many jobs", _many("jobs"), _names("jobs"), fields=("jobs",)),
    Column("spark", "recent load", "load", _field("utilization_ratio"), _spark),
)  # fmt: skip
BY_ID: Mapping[str, Column] = {column.id: column for column in COLUMNS}
USER_ONLY = ("gpus", "processes", "nodes", "programs", "jobs")
SORTS = tuple(c.id for c in COLUMNS if c.id not in ("letter", "spark", *USER_ONLY))
"""Columns that a person can sort by."""
USER_SORTS = ("gpus", "place", "load", "memory", "power", *USER_ONLY[1:])
"""The same in the users view."""


def fields(users: bool) -> tuple[str, ...]:
    """What the hub is asked for each GPU."""
    shown = (c for c in COLUMNS if users or c.id not in USER_ONLY)
    return tuple(dict.fromkeys(["uuid", *(field for column in shown for field in column.fields)]))


_NATURAL = -1
_STEPS: tuple[tuple[str, int], ...] = (
    ("letter", 1),
    ("place", 8),
    ("load", 4),
    ("temp", 4),
    ("power", 5),
    ("place", 12),
    ("memory", 5),
    ("load", 11),
    ("memory", 11),
    ("power", 9),
    ("model", 9),
    ("spark", 10),
    ("place", _NATURAL),
    ("memory", 18),
    ("load", 15),
    ("users", 8),
    ("model", 15),
    ("fan", 4),
    ("health", 8),
    ("clock", 8),
    ("spark", 16),
    ("health", 16),
    ("memory", 22),
    ("load", 18),
    ("users", 14),
    ("power", 18),
    ("spark", 24),
    ("health", 30),
    ("model", 20),
    ("power", 22),
    ("spark", 40),
    ("load", 24),
    ("memory", 30),
    ("health", 48),
)
"""In what order columns come and grow while there is room."""
_USER_STEPS: tuple[tuple[str, int], ...] = (
    ("place", 8),
    ("gpus", 5),
    ("load", 4),
    ("memory", 5),
    ("place", 12),
    ("memory", 11),
    ("nodes", 8),
    ("load", 11),
    ("power", 9),
    ("place", _NATURAL),
    ("programs", 14),
    ("nodes", 14),
    ("jobs", 8),
    ("processes", 6),
    ("nodes", 22),
    ("programs", 22),
    ("jobs", 14),
    ("power", 11),
    ("load", 18),
    ("memory", 22),
    ("spark", 12),
    ("nodes", 36),
    ("programs", 30),
    ("jobs", 24),
    ("spark", 24),
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A column with its place in the row."""

    column: Column
    x: int
    width: int


_MAY_BE_ABSENT = {"fan": "fan_speed_ratio", "clock": "clock_sm_hertz"}
"""Columns that are left out where no line has a value: data centre GPUs have no fan."""


def absent(rows: Sequence[Row]) -> frozenset[str]:
    """Columns for which none of these rows has a value."""
    return frozenset(
        name
        for name, field in _MAY_BE_ABSENT.items()
        if all(row.get(field) is None for row in rows)
    )


def layout(
    room: int, longest_place: int, without: frozenset[str] = frozenset(), *, users: bool = False
) -> list[Placed]:
    """The columns that fit into ``room`` cells, each with its place, from left to right."""
    gap = 1 if room < 100 else 2
    widths: dict[str, int] = {}
    left = room + gap
    for name, wanted in _USER_STEPS if users else _STEPS:
        if name in without:
            continue
        size = min(max(longest_place, 12), 32) if wanted == _NATURAL else wanted
        cost = size - widths[name] if name in widths else size + gap
        if name == "letter":
            cost = size + 1
        if 0 < cost <= left:
            widths[name] = size
            left -= cost
    grows = "spark" if "spark" in widths else "place"
    if grows in widths:
        widths[grows] += min(left, 60) if grows == "spark" else left
    placed, x = [], 0
    for column in COLUMNS:
        if column.id in widths:
            placed.append(Placed(column, x, widths[column.id]))
            x += widths[column.id] + (1 if column.id == "letter" else gap)
    return placed
