"""Bars, sparklines and braille charts: numbers in, cells out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from gpufleet.tui.canvas import Canvas, Style
from gpufleet.tui.theme import Ramp, Theme, shade

_SPARKS = "▁▂▃▄▅▆▇"
"""Not up to the full block: rows one below the other stay apart."""
_ASCII_SPARKS = "_.-=+*#"
_LEFT = (0x00, 0x40, 0x44, 0x46, 0x47)
"""Bits of a braille cell's left column filled from below, by the number of dots."""
_RIGHT = (0x00, 0x80, 0xA0, 0xB0, 0xB8)
_LEFT_DOT = (0x00, 0x40, 0x04, 0x02, 0x01)
"""The one bit at a height, counted from below from 1 on."""
_RIGHT_DOT = (0x00, 0x80, 0x20, 0x10, 0x08)
_BRAILLE_CELLS = (" ", *(chr(0x2800 + bits) for bits in range(1, 256)))
_ASCII_AREA = " .::||####"
"""By the number of dots."""

Columns = Sequence[float | None]
"""Heights from 0 to 1; ``None`` where nothing is known."""


def bar(ratio: float | None, width: int, ramp: Ramp, theme: Theme) -> Canvas:
    """A bar of ``width`` cells whose colour runs along the ramp; nothing known: an empty one."""
    canvas = Canvas(width, 1)
    put_bar(canvas, 0, 0, width, ratio, ramp, theme)
    return canvas


def put_bar(
    canvas: Canvas, x: int, y: int, width: int, ratio: float | None, ramp: Ramp, theme: Theme
) -> None:
    """Draws a bar where it belongs."""
    clipped = 0.0 if ratio is None else min(max(ratio, 0.0), 1.0)
    filled = min(int(clipped * width + 0.5), width)
    if clipped > 0 and filled == 0 and width > 0:
        filled = 1
    # The theme and its ramps are kept in the value, so that no other object takes their ids.
    key = (id(theme), id(ramp), width, filled)
    known = _bars.get(key)
    if known is None:
        if len(_bars) >= MOST_BARS:
            _bars.clear()
        full, empty = ("■", "■") if theme.unicode else ("|", ".")
        if theme.name == "mono" and theme.unicode:
            empty = "·"
        styles = [shade(ramp, (i + 0.5) / width) for i in range(filled)]
        styles += [theme.track] * (width - filled)
        found = [full] * filled + [empty] * (width - filled)
        known = _bars[key] = (found, styles, theme, ramp)
    canvas.put_cells(x, y, known[0], known[1])


MOST_BARS = 5000
_bars: dict[tuple[int, int, int, int], tuple[list[str], list[Style], Theme, Ramp]] = {}
"""Bars that were drawn before: there are few different ones, and each frame has hundreds."""


def sparkline(values: Columns, width: int, ramp: Ramp, theme: Theme) -> Canvas:
    """The last ``width`` values, one a cell, the newest at the right."""
    canvas = Canvas(width, 1)
    put_sparkline(canvas, 0, 0, width, values, ramp, theme)
    return canvas


def put_sparkline(
    canvas: Canvas, x: int, y: int, width: int, values: Columns, ramp: Ramp, theme: Theme
) -> None:
    """Draws a sparkline where it belongs."""
    signs = _SPARKS if theme.unicode else _ASCII_SPARKS
    looks = _spark_looks(signs, ramp)
    shown = values[-width:] if width > 0 else ()
    last = len(looks) - 1
    found = [
        _NO_SPARK if value is None else looks[min(max(int(value * last), 0), last)]
        for value in shown
    ]
    start = x + width - len(found)
    canvas.put_cells(start, y, [sign for sign, _ in found], [style for _, style in found])


_NO_SPARK = (" ", Style())
_LOOKS = 56
"""So many looks a sparkline has: every sign in every colour that goes with it."""


@lru_cache(32)
def _spark_looks(signs: str, ramp: Ramp) -> list[tuple[str, Style]]:
    return [(signs[i * len(signs) // _LOOKS], shade(ramp, i / _LOOKS)) for i in range(_LOOKS)]


def area(
    values: Columns,
    width: int,
    height: int,
    ramp: Ramp,
    theme: Theme,
    highs: Columns = (),
) -> Canvas:
    """A filled braille chart of ``2 × width`` columns and ``4 × height`` dots, newest at the right.

    A cell's colour is that of the value at its height, so that peaks are seen from afar. ``highs``
    are the greatest values of the same columns: a dot each where they stand out.
    """
    canvas = Canvas(width, height)
    columns, dots = 2 * width, 4 * height
    levels = _levels(values, columns, dots)
    peaks = _levels(highs, columns, dots) if highs else levels
    for line, row in enumerate(_area_rows(levels, peaks, height, theme.unicode)):
        style = shade(ramp, ((height - 1 - line) * 4 + 2) / dots)
        canvas.put_cells(0, line, row, style)
    return canvas


@lru_cache(64)
def _area_rows(
    levels: tuple[int, ...], peaks: tuple[int, ...], height: int, unicode: bool
) -> list[list[str]]:
    """The signs of an area. Most charts are the same in the next frame."""
    rows = []
    for line in range(height):
        below = (height - 1 - line) * 4
        row = []
        for x in range(0, len(levels), 2):
            left, right = levels[x] - below, levels[x + 1] - below
            bits = _LEFT[min(max(left, 0), 4)] | _RIGHT[min(max(right, 0), 4)]
            left, right = peaks[x] - below, peaks[x + 1] - below
            if 0 < left <= 4:
                bits |= _LEFT_DOT[left]
            if 0 < right <= 4:
                bits |= _RIGHT_DOT[right]
            row.append(_BRAILLE_CELLS[bits] if unicode else _ASCII_AREA[bits.bit_count()])
        rows.append(row)
    return rows


def _levels(values: Columns, columns: int, dots: int) -> tuple[int, ...]:
    shown = values[-columns:] if columns else ()
    return (*[0] * (columns - len(shown)), *[_dots(value, dots) for value in shown])


def _dots(value: float | None, dots: int) -> int:
    """How many dots high; what is known has at least one."""
    if value is None:
        return 0
    return 1 + int(min(max(value, 0.0), 1.0) * (dots - 1) + 0.5)
