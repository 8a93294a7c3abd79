"""The alerts view: what fires, is pending, is without data, is silenced."""

from __future__ import annotations

from collections.abc import Sequence

from gpufleet.client import units
from gpufleet.tui import header
from gpufleet.tui.boxes import Title, Zone, box
from gpufleet.tui.canvas import Canvas, Style
from gpufleet.tui.fleet_view import BOXED_HEIGHT, BOXED_WIDTH
from gpufleet.tui.navigation import place
from gpufleet.tui.picture import Alert, Frame, Picture
from gpufleet.tui.state import Cursor, Ui
from gpufleet.tui.text import fit, wrap
from gpufleet.tui.theme import Theme

_STATES = ("firing", "no data", "recovering", "pending")
_SEVERITIES = ("critical", "warning", "info")
_LETTERS = {"firing": "F", "no data": "N", "recovering": "R", "pending": "P"}
_STEPS: tuple[tuple[str, int], ...] = (
    ("state", 1),
    ("place", 10),
    ("alert", 8),
    ("state", 10),
    ("since", 10),
    ("alert", 20),
    ("place", 18),
    ("severity", 8),
    ("summary", 20),
    ("mark", 12),
    ("alert", 22),
)
_ORDER = ("state", "severity", "place", "alert", "since", "mark", "summary")


def ordered(alerts: Sequence[Alert] | None) -> list[Alert]:
    """The worst first: what is silenced last, then by state, severity and age."""
    return sorted(
        alerts or (),
        key=lambda a: (
            bool(a.silenced),
            _rank(_STATES, a.state),
            _rank(_SEVERITIES, a.severity),
            -(a.since_ms or 0),
            a.key,
        ),
    )


def _rank(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


def draw(
    picture: Picture, ui: Ui, shown: Sequence[Alert], cursor: Cursor, size: tuple[int, int],
    theme: Theme, live: Theme,
) -> Frame:  # fmt: skip
    """The whole view but for its last row. ``shown`` are the alerts in order."""
    canvas = Canvas(*size, theme.text)
    keys = [alert.key for alert in shown]
    if size[0] < BOXED_WIDTH or size[1] < BOXED_HEIGHT:
        header.compact(canvas, picture, ui, theme, live)
        page = max(size[1] - 2, 1)
        cursor = place(cursor, keys, page)
        zones = _list(canvas, picture, shown, cursor, (0, 1, size[0], page), theme)
        return Frame(canvas, zones, page, cursor.top)
    zones = header.boxed(canvas, picture, ui, theme, live, 0)
    y, height = header.BOX_ROWS, size[1] - 1 - header.BOX_ROWS
    about = 0
    if shown:
        wanted = len(_words(shown[min(cursor.at, len(shown) - 1)], size[0] - 4, theme)) + 2
        about = min(max(height // 3, 3), wanted)
        about = max(about, min(wanted, height - len(shown) - 3))
    page = max(height - about - 3, 1)
    cursor = place(cursor, keys, page)
    zones += box(canvas, 0, y, (size[0], height - about), theme, _titles(shown, theme))
    widths = _widths(size[0] - 4)
    x = 2
    for name, width in widths.items():
        canvas.put(
            x,
            y + 1,
            fit("" if width == 1 else name.replace("mark", "ack/silence"), width),
            theme.heading,
        )
        x += width + 1
    zones += _list(canvas, picture, shown, cursor, (2, y + 2, size[0] - 4, page), theme)
    if about:
        _about(canvas, picture, shown[cursor.at], (y + height - about, about), theme)
    return Frame(canvas, zones, page, cursor.top)


def _titles(shown: Sequence[Alert], theme: Theme) -> list[Title]:
    titles = [Title("alerts", style=theme.strong)]
    for state in _STATES:
        many = sum(1 for alert in shown if alert.state == state and not alert.silenced)
        if many:
            titles.append(Title(f"{many} {state}", style=state_style(state, "warning", theme)))
    silenced = sum(1 for alert in shown if alert.silenced)
    if silenced:
        titles.append(Title(f"{silenced} silenced", style=theme.dim))
    return titles


def state_style(state: str, severity: str, theme: Theme) -> Style:
    """The colour of a state."""
    if state == "firing":
        return theme.health[{"critical": 3, "warning": 2}.get(severity, 1)]
    return {"no data": theme.health[2], "recovering": theme.good}.get(state, theme.dim)


def _widths(room: int) -> dict[str, int]:
    found: dict[str, int] = {}
    left = room
    for name, size in _STEPS:
        cost = size - found.get(name, -1)
        if cost <= left:
            found[name] = size
            left -= cost
    grows = "summary" if "summary" in found else "alert" if "alert" in found else "state"
    found[grows] = found.get(grows, 0) + left
    return {name: found[name] for name in _ORDER if name in found}


def _list(
    canvas: Canvas,
    picture: Picture,
    shown: Sequence[Alert],
    cursor: Cursor,
    area: tuple[int, int, int, int],
    theme: Theme,
) -> list[Zone]:
    x, y, w, page = area
    if not shown:
        _none(canvas, picture, area, theme)
        return []
    seen = shown[cursor.top : cursor.top + page]
    inside = Canvas(w, len(seen), theme.text)
    draw_lines(inside, picture, seen, w, theme)
    inside.highlight(cursor.at - cursor.top, theme.selected_bg, theme.selected_bg is None)
    canvas.blit(inside, x, y)
    return [Zone(x, y + i, w, 1, f"line:{cursor.top + i}") for i in range(len(seen))]


def draw_lines(
    canvas: Canvas, picture: Picture, seen: Sequence[Alert], room: int, theme: Theme
) -> None:
    """A line an alert, from the first row on."""
    widths = _widths(room)
    for y, alert in enumerate(seen):
        x = 0
        for name, width in widths.items():
            text, style = _cell(alert, name, width, picture, theme)
            canvas.put(x, y, fit(text, width), style)
            x += width + 1


def _cell(alert: Alert, name: str, width: int, picture: Picture, theme: Theme) -> tuple[str, Style]:
    style = theme.dim if alert.silenced else state_style(alert.state, alert.severity, theme)
    if name == "state":
        return (_LETTERS.get(alert.state, "?") if width == 1 else alert.state), style
    if name == "severity":
        return alert.severity, style
    if name == "place":
        return alert.place, theme.text
    if name == "alert":
        return alert.name, theme.dim if alert.silenced else theme.strong
    if name == "since":
        if alert.since_ms is None:
            return units.NOTHING, theme.dim
        return units.span((picture.now_ms - alert.since_ms) / 1000), theme.text
    if name == "mark":
        if alert.silenced:
            return "silenced", theme.dim
        return ("seen", theme.good) if alert.acknowledged else ("", theme.text)
    return alert.summary, theme.dim


def _about(
    canvas: Canvas, picture: Picture, alert: Alert, rows: tuple[int, int], theme: Theme
) -> None:
    y, height = rows
    titles = [Title(alert.name, style=theme.strong), Title(alert.place)]
    box(canvas, 0, y, (canvas.width, height), theme, titles)
    for i, (text, line_style) in enumerate(_words(alert, canvas.width - 4, theme)[: height - 2]):
        canvas.put(2, y + 1 + i, fit(text, canvas.width - 4), line_style)


def _words(alert: Alert, room: int, theme: Theme) -> list[tuple[str, Style]]:
    """All that is told of an alert, in lines."""
    style = state_style(alert.state, alert.severity, theme)
    lines = [(line, style) for line in wrap(alert.summary or "No summary.", room)]
    for text in alert.more:
        lines += [(line, theme.text) for line in wrap(text, room)]
    if alert.acknowledged:
        lines.append((f"acknowledged by {alert.acknowledged}", theme.good))
    if alert.silenced:
        lines.append((f"silenced {alert.silenced}", theme.dim))
    return lines


def _none(canvas: Canvas, picture: Picture, area: tuple[int, int, int, int], theme: Theme) -> None:
    x, y, w, height = area
    if picture.alerts is None:
        said = picture.alerts_trouble or f"Asking {picture.hub} …"
        style = theme.dim
    else:
        said, style = "Nothing fires, nothing is pending.", theme.good
    for i, line in enumerate(wrap(said, max(w - 2, 10))[:height]):
        canvas.put(x, y + i, line, style)
