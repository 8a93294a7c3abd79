"""A rectangle of cells, each a character and a style: what every widget draws and returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gpufleet.tui.text import cells


@dataclass(frozen=True, slots=True)
class Style:
    """How a cell looks. Colours are numbers of the terminal's palette, ``None`` its own."""

    fg: int | None = None
    bg: int | None = None
    bold: bool = False
    dim: bool = False
    underline: bool = False
    reverse: bool = False


PLAIN = Style()


@lru_cache(1000)
def _on_ground(style: Style, bg: int | None, reverse: bool) -> Style:
    """The same object each time, so that a terminal sees quickly that nothing changed."""
    if reverse:
        return Style(style.fg, style.bg, style.bold, False, style.underline, True)
    return Style(style.fg, bg, style.bold, style.dim, style.underline)


class Canvas:
    """Cells by row. Nothing that is put leaves the rectangle; half a wide character is a blank."""

    __slots__ = ("chars", "height", "styles", "width")

    def __init__(self, width: int, height: int, style: Style = PLAIN) -> None:
        self.width = max(width, 0)
        self.height = max(height, 0)
        self.chars = [[" "] * self.width for _ in range(self.height)]
        self.styles = [[style] * self.width for _ in range(self.height)]

    def put(self, x: int, y: int, text: str, style: Style = PLAIN) -> int:
        """Writes a text and returns the column behind it, be it inside or not."""
        found = cells(text)
        return self.put_cells(x, y, found, style)

    def put_right(self, x: int, y: int, text: str, style: Style = PLAIN) -> int:
        """Writes a text that ends before column ``x``; returns the column where it starts."""
        found = cells(text)
        self.put_cells(x - len(found), y, found, style)
        return x - len(found)

    def put_cells(
        self, x: int, y: int, found: Sequence[str], style: Style | Sequence[Style]
    ) -> int:
        """Writes cells as ``text.cells`` makes them, in one style or in one for each."""
        end = x + len(found)
        if not found or not 0 <= y < self.height or end <= 0 or x >= self.width:
            return end
        start, stop = max(x, 0), min(end, self.width)
        part = list(found[start - x : stop - x])
        row = self.chars[y]
        if part[0] == "":
            part[0] = " "
        if row[start] == "":
            row[start - 1] = " "
        if stop < len(row):
            if row[stop] == "":
                row[stop] = " "
        elif end > stop and found[stop - x] == "":
            part[-1] = " "
        row[start:stop] = part
        if isinstance(style, Style):
            self.styles[y][start:stop] = [style] * (stop - start)
        else:
            self.styles[y][start:stop] = style[start - x : stop - x]
        return end

    def runs(self, x: int, y: int, pieces: Iterable[tuple[str, Style]]) -> int:
        """Writes pieces one behind the other and returns the column behind them."""
        for text, style in pieces:
            x = self.put(x, y, text, style)
        return x

    def blit(self, other: Canvas, x: int, y: int) -> None:
        """Copies another canvas; its upper left corner comes to ``x``, ``y``."""
        for line in range(other.height):
            self.put_cells(x, y + line, other.chars[line], other.styles[line])

    def restyle(self, x: int, y: int, length: int, style: Style) -> None:
        """Another style for cells of a row; their characters stay."""
        if 0 <= y < self.height:
            start, stop = max(x, 0), min(x + length, self.width)
            if start < stop:
                self.styles[y][start:stop] = [style] * (stop - start)

    def highlight(self, y: int, bg: int | None, reverse: bool) -> None:
        """A bar over a whole row: its cells keep their colours on another ground."""
        self.styles[y] = [_on_ground(style, bg, reverse) for style in self.styles[y]]

    def lines(self) -> list[str]:
        """The rows as text, without styles."""
        return ["".join(row) for row in self.chars]
