"""Draws a pyte screen as a PNG picture, with its colours, in DejaVu Sans Mono."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pyte
from PIL import Image, ImageDraw, ImageFont

SIZE = 15
GROUND, INK = (16, 18, 22), (208, 210, 214)
LIGHT_GROUND, LIGHT_INK = (252, 252, 252), (40, 42, 46)
BASIC = {
    "black": (0, 0, 0), "red": (205, 49, 49), "green": (13, 188, 121), "brown": (229, 229, 16),
    "blue": (36, 114, 200), "magenta": (188, 63, 188), "cyan": (17, 168, 205),
    "white": (229, 229, 229), "brightblack": (102, 102, 102), "brightred": (241, 76, 76),
    "brightgreen": (35, 209, 139), "brightbrown": (245, 245, 67), "brightyellow": (245, 245, 67),
    "brightblue": (59, 142, 234), "brightmagenta": (214, 112, 214),
    "bfightmagenta": (214, 112, 214),  # as pyte spells it
    "brightcyan": (41, 184, 219), "brightwhite": (255, 255, 255),
}  # fmt: skip


def colour(name: str, default: tuple[int, int, int]) -> tuple[int, int, int]:
    """A colour as pyte names it."""
    if name == "default":
        return default
    if name in BASIC:
        return BASIC[name]
    return int(name[0:2], 16), int(name[2:4], 16), int(name[4:6], 16)


def fonts() -> tuple[ImageFont.FreeTypeFont, ImageFont.FreeTypeFont]:
    """Regular and bold; matplotlib brings them."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return (
        ImageFont.truetype(str(folder / "DejaVuSansMono.ttf"), SIZE),
        ImageFont.truetype(str(folder / "DejaVuSansMono-Bold.ttf"), SIZE),
    )


Colour = tuple[int, int, int]
Cell = tuple[int, int, int, int]
"""Left, top, width and height of a cell."""


def braille(draw: ImageDraw.ImageDraw, cell: Cell, bits: int, ink: Colour) -> None:
    """The dots of a braille sign: the font has none of them."""
    x, y, w, h = cell
    places = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
    for bit, (column, row) in enumerate(places):
        if bits >> bit & 1:
            left = x + w * (2 * column + 1) // 4
            top = y + h * (2 * row + 1) // 8
            draw.rectangle((left - 1, top - 1, left + 1, top + 1), fill=ink)


def block(draw: ImageDraw.ImageDraw, cell: Cell, eighths: int, ink: Colour) -> None:
    """A lower block, flush with the cell as terminals draw it."""
    x, y, w, h = cell
    draw.rectangle((x, y + h - h * eighths // 8, x + w - 1, y + h - 1), fill=ink)


LINES = {
    "─": "lr", "│": "tb", "╭": "rb", "╮": "lb", "╰": "rt", "╯": "lt", "├": "tbr", "┤": "tbl",
    "┃": "TB",
}  # fmt: skip
"""To which sides a line goes from the middle of the cell; capitals: a thick one."""


def lines(draw: ImageDraw.ImageDraw, cell: Cell, char: str, ink: Colour) -> None:
    """Lines of boxes, joined to their neighbours as terminals draw them."""
    x, y, w, h = cell
    middle, half = x + w // 2, y + h // 2
    ends = {"l": (x, half), "r": (x + w, half), "t": (middle, y), "b": (middle, y + h)}
    for side in LINES[char]:
        draw.line(((middle, half), ends[side.lower()]), fill=ink, width=3 if side.isupper() else 1)


def picture(screen: pyte.Screen, light: bool = False) -> Image.Image:
    """The screen as an image."""
    regular, bold = fonts()
    w = round(regular.getlength("M"))
    ascent, descent = regular.getmetrics()
    h = ascent + descent + 1
    ground, ink = (LIGHT_GROUND, LIGHT_INK) if light else (GROUND, INK)
    image = Image.new("RGB", (screen.columns * w + 12, screen.lines * h + 12), ground)
    draw = ImageDraw.Draw(image)
    for row in range(screen.lines):
        for column in range(screen.columns):
            cell = screen.buffer[row][column]
            fg, bg = colour(cell.fg, ink), colour(cell.bg, ground)
            if cell.reverse:
                fg, bg = bg, fg
            x, y = 6 + column * w, 6 + row * h
            if bg != ground:
                draw.rectangle((x, y, x + w - 1, y + h - 1), fill=bg)
            char = cell.data
            if not char or char == " ":
                continue
            code = ord(char[0])
            if 0x2800 <= code <= 0x28FF:
                braille(draw, (x, y, w, h), code - 0x2800, fg)
            elif char in LINES:
                lines(draw, (x, y, w, h), char, fg)
            elif 0x2581 <= code <= 0x2588:
                block(draw, (x, y, w, h), code - 0x2580, fg)
            else:
                draw.text((x, y), char, font=bold if cell.bold else regular, fill=fg)
            if cell.underscore:
                draw.line((x, y + h - 2, x + w - 1, y + h - 2), fill=fg)
    return image.quantize(128)
