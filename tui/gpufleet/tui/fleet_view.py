"""The standard view, and the users view: the fleet's header above a list of lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gpufleet.client import columns, lines, units
from gpufleet.client.columns import place_text
from gpufleet.client.lines import Line
from gpufleet.tui import column_layout, header
from gpufleet.tui.boxes import Title, Zone, box
from gpufleet.tui.canvas import Canvas
from gpufleet.tui.column_layout import Placed
from gpufleet.tui.list_cells import DRAW, Look
from gpufleet.tui.navigation import place
from gpufleet.tui.picture import Frame, Picture
from gpufleet.tui.state import Cursor, Ui, View
from gpufleet.tui.text import fit, width, wrap
from gpufleet.tui.theme import Theme

BOXED_WIDTH, BOXED_HEIGHT = 60, 14
"""From this size on there are boxes."""
CHARTS_HEIGHT = 34


@dataclass(frozen=True, slots=True)
class Area:
    """Where the lines are: the first cell, the size, the row of the headings."""

    x: int
    y: int
    width: int
    height: int
    headings: int


def draw(
    picture: Picture, ui: Ui, shown: Sequence[Line], cursor: Cursor, size: tuple[int, int],
    theme: Theme, live: Theme,
) -> Frame:  # fmt: skip
    """The whole view but for its last row, which is the footer's."""
    canvas = Canvas(*size, theme.text)
    zones: list[Zone] = []
    boxed = size[0] >= BOXED_WIDTH and size[1] >= BOXED_HEIGHT
    if boxed:
        charts = header.CHART_ROWS if ui.charts and size[1] >= CHARTS_HEIGHT else 0
        zones += header.boxed(canvas, picture, ui, theme, live, charts)
        y = header.BOX_ROWS + charts
        height = size[1] - 1 - y
        page = max(height - 3, 1)
        cursor = place(cursor, [line.key for line in shown], page)
        zones += _list_box(canvas, picture, ui, shown, cursor, (y, height, page), theme)
        area = Area(2, y + 2, size[0] - 4, page, y + 1)
    else:
        header.compact(canvas, picture, ui, theme, live)
        headings = 1 if size[1] >= 8 else -1
        y = 2 if headings > 0 else 1
        page = max(size[1] - 1 - y, 1)
        cursor = place(cursor, [line.key for line in shown], page)
        area = Area(0, y, size[0], page, headings)
    if shown:
        zones += _lines(canvas, picture, ui, shown, cursor, area, theme)
    else:
        _nothing(canvas, area, picture, ui, theme)
    visible = shown[cursor.top : cursor.top + page]
    return Frame(canvas, zones, page, cursor.top, visible)


def _list_box(
    canvas: Canvas,
    picture: Picture,
    ui: Ui,
    shown: Sequence[Line],
    cursor: Cursor,
    rows: tuple[int, int, int],
    theme: Theme,
) -> list[Zone]:
    y, height, page = rows
    order = ui.users_order if ui.view is View.USERS else ui.order
    arrow = (
        ("▼" if order.descending else "▲") if theme.unicode else ("v" if order.descending else "^")
    )
    left = [Title(_what(picture, ui, shown), style=theme.strong)]
    left.append(Title(f"sort {_sort_title(order.sort)} {arrow}", "s", "sort"))
    if ui.view is View.FLEET:
        by = lines.grouping(order, len(picture.rows))
        if by != lines.NO_GROUP:
            left.append(Title(f"group {by}", "g", "group"))
    if ui.filter:
        left.append(Title(f"filter {ui.filter}", "f", "filter", theme.sorted))
    if ui.search:
        left.append(Title(f"/{ui.search}", "/", "search", theme.sorted))
    right = []
    if len(shown) > page:
        last = min(cursor.top + page, len(shown))
        right.append(Title(f"{cursor.top + 1}-{last} of {len(shown):,}", style=theme.dim))
    zones = box(canvas, 0, y, (canvas.width, height), theme, left, right)
    if len(shown) > page:
        _scrollbar(canvas, y + 2, page, cursor.top, len(shown), theme)
    return zones


def _what(picture: Picture, ui: Ui, shown: Sequence[Line]) -> str:
    if ui.view is View.USERS:
        users = sum(1 for line in shown if line.group and line.title not in lines.NOBODY)
        return units.plural(users, "user")
    total = ((picture.fleet or {}).get("gpus") or {}).get("total")
    many = len(picture.rows)
    if ui.filter and total is not None and total != many:
        return f"{many:,} of {units.plural(int(total), 'GPU')}"
    return units.plural(many, "GPU")


def _sort_title(name: str) -> str:
    return columns.BY_ID[name].title if name in columns.BY_ID else name


def _scrollbar(canvas: Canvas, y: int, page: int, top: int, count: int, theme: Theme) -> None:
    size = max(page * page // count, 1)
    start = top * (page - size) // max(count - page, 1)
    sign = "┃" if theme.unicode else "#"
    for row in range(start, min(start + size, page)):
        canvas.put(canvas.width - 1, y + row, sign, theme.dim)


def _lines(
    canvas: Canvas,
    picture: Picture,
    ui: Ui,
    shown: Sequence[Line],
    cursor: Cursor,
    area: Area,
    theme: Theme,
) -> list[Zone]:
    visible = shown[cursor.top : cursor.top + area.height]
    longest = max(place_width(line) for line in visible)
    without = column_layout.absent([line.row for line in visible])
    placed = column_layout.layout(area.width, longest, without, users=ui.view is View.USERS)
    zones = []
    if area.headings >= 0:
        zones += headings(canvas, area, placed, picture, ui, theme)
    look = Look(theme, picture.sparks)
    wanted = ui.search.casefold()
    for i, line in enumerate(visible):
        y = area.y + i
        if picture.fresh:
            line = _fresh(line, picture)
        for column in placed:
            DRAW[column.column.id](canvas, area.x + column.x, y, column.width, line, look)
        if wanted and wanted in lines.words_of(line):
            at = next(p for p in placed if p.column.id == "place")
            canvas.restyle(area.x + at.x, y, min(at.width, place_width(line)), theme.match)
        if cursor.top + i == cursor.at:
            _select(canvas, y, area, theme)
        zones.append(Zone(area.x, y, area.width, 1, f"line:{cursor.top + i}"))
    return zones


def _fresh(line: Line, picture: Picture) -> Line:
    """The line with newer values, where there are any."""
    key = line.key if line.group else str(line.row.get("uuid"))
    newer = picture.fresh.get(key)
    return line if newer is None else replace(line, row={**line.row, **newer})


def place_width(line: Line) -> int:
    text = width(place_text(line))
    if line.group:
        return text + 3 + len(str(len(line.members)))
    return text + 2 * line.depth


def _select(canvas: Canvas, y: int, area: Area, theme: Theme) -> None:
    inside = Canvas(area.width, 1)
    inside.chars[0] = canvas.chars[y][area.x : area.x + area.width]
    inside.styles[0] = canvas.styles[y][area.x : area.x + area.width]
    inside.highlight(0, theme.selected_bg, theme.selected_bg is None)
    canvas.blit(inside, area.x, y)


def headings(
    canvas: Canvas, area: Area, placed: Sequence[Placed], picture: Picture, ui: Ui, theme: Theme
) -> list[Zone]:
    order = ui.users_order if ui.view is View.USERS else ui.order
    zones = []
    for at in placed:
        column = at.column
        title = column.title
        if column.id == "place" and ui.view is View.USERS:
            title = "user"
        if column.id == "spark":
            title = f"load, {units.span(at.width * picture.spark_seconds)}"
        style = theme.heading
        if column.id == order.sort:
            style = theme.sorted
            title += (
                ("▼" if order.descending else "▲")
                if theme.unicode
                else ("v" if order.descending else "^")
            )
        if width(title) > at.width and column.short:
            title = title.replace(column.title, column.short, 1)
        title = fit(title, at.width)
        x = area.x + at.x
        if column.right:
            canvas.put_right(x + at.width, area.headings, title, style)
        else:
            canvas.put(x, area.headings, title, style)
        if column.id in columns.SORTS or column.id in columns.USER_SORTS:
            zones.append(Zone(x, area.headings, at.width, 1, f"sort:{column.id}"))
    return zones


def _nothing(canvas: Canvas, area: Area, picture: Picture, ui: Ui, theme: Theme) -> None:
    """Why there is no line, and what to do."""
    if picture.taken_ms is None:
        said = picture.trouble or f"Asking {picture.hub} …"
    elif ui.filter:
        said = f"No GPU passes the filter {ui.filter}: F takes it away, f changes it."
    else:
        said = (
            "The hub knows no GPU yet: start an agent on a node with"
            " gpufleet agent run --hub ADDRESS."
        )
    text = wrap(said, max(area.width - 2, 10))
    y = area.y + max((area.height - len(text)) // 3, 0)
    style = theme.error if picture.trouble and picture.taken_ms is None else theme.dim
    for i, line in enumerate(text[: area.height]):
        canvas.put(area.x + 1, y + i, line, style)
