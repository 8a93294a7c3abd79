"""What must be written so that a terminal that shows one canvas shows another. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gpufleet.tui.canvas import Canvas, Style


@dataclass(frozen=True, slots=True)
class Run:
    """Cells beside one another that have one style."""

    y: int
    x: int
    cells: list[str]
    style: Style


def runs(new: Canvas, old: Canvas | None) -> Iterator[Run]:
    """The parts of rows that differ; everything where there is no old canvas of this size."""
    if old is not None and (old.width, old.height) != (new.width, new.height):
        old = None
    for y in range(new.height):
        start, stop = (0, new.width) if old is None else _changed(new, old, y)
        chars, styles = new.chars[y], new.styles[y]
        while start < stop:
            end = start + 1
            style = styles[start]
            while end < stop and styles[end] is style:
                end += 1
            yield Run(y, start, chars[start:end], style)
            start = end


def _changed(new: Canvas, old: Canvas, y: int) -> tuple[int, int]:
    """From which column to which a row differs; wide characters are taken whole."""
    chars, styles = new.chars[y], new.styles[y]
    was, wore = old.chars[y], old.styles[y]
    if was == chars and wore == styles:
        return 0, 0
    start, stop = 0, len(chars)
    while start < stop and chars[start] == was[start] and styles[start] is wore[start]:
        start += 1
    while start < stop and chars[stop - 1] == was[stop - 1] and styles[stop - 1] is wore[stop - 1]:
        stop -= 1
    while start > 0 and (chars[start] == "" or was[start] == ""):
        start -= 1
    while stop < len(chars) and (chars[stop] == "" or was[stop] == ""):
        stop += 1
    return start, stop
