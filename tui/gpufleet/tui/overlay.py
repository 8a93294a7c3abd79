"""What lies over a view: the help, and menus to choose from."""

from __future__ import annotations

from collections.abc import Sequence

from gpufleet.client import columns, lines
from gpufleet.client.severity import LETTERS, LEVELS, STALE_LETTER
from gpufleet.tui.boxes import Title, Zone, box
from gpufleet.tui.canvas import Canvas, Style
from gpufleet.tui.keymap import BINDINGS, sign
from gpufleet.tui.state import Menu, Ui, View
from gpufleet.tui.text import fit, pad, width
from gpufleet.tui.theme import Theme

FILTERS = (
    ("temp>85", "hotter than 85 °C"),
    ("util<5 & power>300", "idle, yet drawing power"),
    ("node~=dgx", "nodes with dgx in their name"),
    ("user=alice or job=4711", "of a user, or of a job"),
    ("process_count=0 & missing(job) & not stale", "free GPUs"),
    ("health>=warning", "not well"),
    ("label.rack=r1", "of nodes with this label"),
    ("missing(temp)", "without a temperature"),
)


def menu_values(ui: Ui, labels: Sequence[str]) -> list[str]:
    """What the open menu offers."""
    if ui.menu is Menu.SORT:
        return list(columns.USER_SORTS if ui.view is View.USERS else columns.SORTS)
    if ui.menu is Menu.GROUP:
        return [*lines.GROUPINGS, *(f"label.{name}" for name in labels), "label.…"]
    if ui.menu is Menu.HELP:
        return [text for text, _ in help_lines(ui, 80)]
    return []


def help_lines(ui: Ui, room: int) -> list[tuple[str, str]]:
    """Lines of the help with the part that is marked: keys of this view, health, filters."""
    found: list[tuple[str, str]] = [("", f"Keys of the {ui.view.value} view")]
    for binding in BINDINGS[ui.view]:
        keys = " ".join(sign(key) for key in binding.keys)
        found.append((keys, binding.help))
    found += [("", ""), ("", "Mouse"), ("click", "select; a heading sorts"),
              ("double", "open or close; in detail"), ("wheel", "scroll")]  # fmt: skip
    found += [("", ""), ("", "Health")]
    found += [(letter, name) for letter, name in zip(LETTERS, LEVELS, strict=True)]
    found += [(STALE_LETTER, "stale: not heard from"), ("?", "unknown: never judged")]
    found += [("", ""), ("", "Filters (f)"), *FILTERS]
    return found


def draw(canvas: Canvas, ui: Ui, values: Sequence[str], theme: Theme) -> list[Zone]:
    """Draws the open menu over the view."""
    if ui.menu is Menu.HELP:
        return _help(canvas, ui, theme)
    return _menu(canvas, ui, values, theme)


def _panel(canvas: Canvas, w: int, h: int, theme: Theme, title: str, foot: str) -> tuple[int, int]:
    x, y = (canvas.width - w) // 2, max((canvas.height - h) // 2, 0)
    blank = Canvas(w, h, theme.text)
    box(blank, 0, 0, (w, h), theme, [Title(title, style=theme.strong)], (),
        [Title(foot, style=theme.dim)] if foot else ())  # fmt: skip
    canvas.blit(blank, x, y)
    return x, y


def _help(canvas: Canvas, ui: Ui, theme: Theme) -> list[Zone]:
    found = help_lines(ui, canvas.width)
    keys = max(width(key) for key, _ in found)
    w = min(keys + 4 + max(width(text) for _, text in found) + 2, canvas.width)
    columns_ = 2 if canvas.width >= 2 * w - 2 and len(found) + 2 > canvas.height else 1
    if columns_ == 2:
        w = 2 * w - 2
    rows = -(-len(found) // columns_)
    h = min(rows + 2, canvas.height)
    page = max(h - 2, 1)
    top = min(ui.menu_at, max(rows - page, 0))
    foot = "Esc closes" if rows <= page else "↑↓ scroll, Esc closes"
    x, y = _panel(canvas, w, h, theme, "help", foot)
    key_room = min(keys, max(w // columns_ - 12, 4))
    for column in range(columns_):
        left = x + 2 + column * (w // 2)
        room = w // columns_ - 4
        for i in range(page):
            at = column * rows + top + i
            if top + i >= rows or at >= len(found):
                break
            key, text = found[at]
            if not key:
                canvas.put(left, y + 1 + i, fit(text, room), theme.heading)
                continue
            canvas.put(left, y + 1 + i, fit(key, key_room), _key_style(key, theme))
            canvas.put(left + key_room + 2, y + 1 + i, fit(text, room - key_room - 2), theme.text)
    return []


def _key_style(key: str, theme: Theme) -> Style:
    if key in LETTERS:
        return theme.health[LETTERS.index(key)]
    return theme.key


def _menu(canvas: Canvas, ui: Ui, values: Sequence[str], theme: Theme) -> list[Zone]:
    sort = ui.menu is Menu.SORT
    order = ui.users_order if ui.view is View.USERS else ui.order
    words = [_sort_words(value) if sort else value for value in values]
    title = "sort by" if sort else "group by"
    now = order.sort if sort else order.group
    w = min(max(max(map(width, words)) + 10, 24), canvas.width)
    h = min(len(values) + 2, canvas.height)
    page = max(h - 2, 1)
    top = min(max(ui.menu_at - page + 1, 0), max(len(values) - page, 0))
    x, y = _panel(canvas, w, h, theme, title, "Enter, Esc" if w >= 20 else "")
    zones = []
    for i in range(min(page, len(values) - top)):
        at = top + i
        number = str(at + 1) if at < 9 else " "
        mark = ("●" if theme.unicode else "*") if values[at] == now else " "
        style = theme.strong if values[at] == now else theme.text
        canvas.put(x + 2, y + 1 + i, number, theme.key)
        canvas.put(x + 4, y + 1 + i, mark, theme.sorted)
        canvas.put(x + 6, y + 1 + i, pad(words[at], w - 8), style)
        if at == ui.menu_at:
            line = Canvas(w - 2, 1)
            line.chars[0] = canvas.chars[y + 1 + i][x + 1 : x + w - 1]
            line.styles[0] = canvas.styles[y + 1 + i][x + 1 : x + w - 1]
            line.highlight(0, theme.selected_bg, theme.selected_bg is None)
            canvas.blit(line, x + 1, y + 1 + i)
        zones.append(Zone(x, y + 1 + i, w, 1, f"menu:{at}"))
    return zones


def _sort_words(column: str) -> str:
    found = columns.BY_ID[column]
    return found.title if found.title == found.meaning else f"{found.title}: {found.meaning}"
