"""Boxes with titles, whose letters that do something are marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpufleet.tui.canvas import Canvas, Style
from gpufleet.tui.text import fit, width
from gpufleet.tui.theme import Theme


@dataclass(frozen=True, slots=True)
class Title:
    """A piece of a box's title: ``key`` is the letter that is marked, a click does ``command``."""

    text: str
    key: str = ""
    command: str = ""
    style: Style | None = None


@dataclass(frozen=True, slots=True)
class Zone:
    """Where a click does something."""

    x: int
    y: int
    width: int
    height: int
    command: str

    def moved(self, x: int, y: int) -> Zone:
        """The same zone after its canvas was laid onto another one there."""
        return Zone(self.x + x, self.y + y, self.width, self.height, self.command)

    def holds(self, x: int, y: int) -> bool:
        """Whether a cell is in it."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


def box(
    canvas: Canvas,
    x: int,
    y: int,
    size: tuple[int, int],
    theme: Theme,
    left: Sequence[Title] = (),
    right: Sequence[Title] = (),
    foot: Sequence[Title] = (),
) -> list[Zone]:
    """Draws a box of width and height, at least 2 × 2, with titles in its upper and lower edge.

    Titles that find no room are left out, the last at the right first. Returns what can be clicked.
    """
    w, h = size
    if w < 2 or h < 2:
        return []
    corners = "╭╮╰╯" if theme.unicode else "++++"
    line, side = ("─", "│") if theme.unicode else ("-", "|")
    canvas.put(x, y, corners[0] + line * (w - 2) + corners[1], theme.border)
    for row in range(y + 1, y + h - 1):
        canvas.put(x, row, side, theme.border)
        canvas.put(x + w - 1, row, side, theme.border)
    canvas.put(x, y + h - 1, corners[2] + line * (w - 2) + corners[3], theme.border)
    zones: list[Zone] = []
    at = _titles(canvas, x + 2, y, x + w - 2, left, theme, zones)
    needed = sum(width(title.text) + 3 for title in right)
    keep = list(right)
    while keep and at + needed > x + w - 1:
        needed -= width(keep.pop().text) + 3
    if keep:
        _titles(canvas, x + w - 1 - needed, y, x + w - 1, keep, theme, zones)
    _titles(canvas, x + 2, y + h - 1, x + w - 2, foot, theme, zones)
    return zones


def _titles(
    canvas: Canvas,
    x: int,
    y: int,
    end: int,
    titles: Sequence[Title],
    theme: Theme,
    zones: list[Zone],
) -> int:
    open_, close = ("┤", "├") if theme.unicode else ("[", "]")
    for i, title in enumerate(titles):
        room = end - x - 2
        if room < (4 if i == 0 else width(title.text)):
            break
        text = fit(title.text, room)
        start = x
        x = canvas.put(x, y, open_, theme.border)
        x = keyed(canvas, x, y, text, title.key, title.style or theme.title, theme)
        x = canvas.put(x, y, close, theme.border)
        if title.command:
            zones.append(Zone(start, y, x - start, 1, title.command))
        x += 1
    return x


def keyed(canvas: Canvas, x: int, y: int, text: str, key: str, style: Style, theme: Theme) -> int:
    """A text in which the first occurrence of its key is marked."""
    at = text.find(key) if key else -1
    if at < 0:
        return canvas.put(x, y, text, style)
    pieces = ((text[:at], style), (key, theme.key), (text[at + len(key) :], style))
    return canvas.runs(x, y, pieces)
