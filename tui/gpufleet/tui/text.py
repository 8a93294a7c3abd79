"""Text as a terminal takes it: harmless, and measured in cells."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from wcwidth import wcwidth

ELLIPSIS = "…"
_PLAIN = re.compile(r"[ -~]*")
_KNOWN_TEXTS = 4096
_UNSETTLED = frozenset({"Cc", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Control, unassigned, private and broken characters: none is the same on every terminal."""


@lru_cache(_KNOWN_TEXTS)
def cells(text: str) -> tuple[str, ...]:
    """One string a cell: a wide character is followed by "" for the cell that it covers.

    Control characters and those of no agreed width show as ``·``. Marks without a width of their
    own, joiners and signs that turn the direction of writing are left out: no two terminals agree
    on them, and a wrong guess would move everything behind.
    """
    if _PLAIN.fullmatch(text):
        return tuple(text)
    found: list[str] = []
    for char in unicodedata.normalize("NFC", text):
        kind = unicodedata.category(char)
        size = wcwidth(char)
        if "\U0001f3fb" <= char <= "\U0001f3ff":
            continue  # a skin tone: it joins the sign before it, on some terminals
        if kind in _UNSETTLED or "\U0001f1e6" <= char <= "\U0001f1ff":  # halves of flags
            found.append("·")
        elif kind == "Zs":
            found += " " * size
        elif size == 1 and kind != "Cf":
            found.append(char)
        elif size == 2:
            found += (char, "")
    return tuple(found)


def width(text: str) -> int:
    """How many cells a text takes."""
    return len(text) if _PLAIN.fullmatch(text) else len(cells(text))


def fit(text: str, room: int) -> str:
    """The text in at most ``room`` cells, with an ellipsis where something is left out."""
    if width(text) <= room:
        return text
    if room <= 0:
        return ""
    kept = list(cells(text)[: room - 1])
    if kept and cells(text)[room - 1] == "":
        kept.pop()
    return "".join(kept) + ELLIPSIS


def fit_middle(text: str, room: int) -> str:
    """The text in at most ``room`` cells; the middle is left out: names end in numbers."""
    if width(text) <= room:
        return text
    if room < 3:
        return fit(text, room)
    found = cells(text)
    tail = (room - 1) // 2
    head = room - 1 - tail
    start = list(found[:head])
    if found[head] == "":
        start[-1] = ""
    end = list(found[len(found) - tail :])
    if end and end[0] == "":
        end.pop(0)
    return "".join(start) + ELLIPSIS + "".join(end)


def pad(text: str, room: int, right: bool = False) -> str:
    """The text in exactly ``room`` cells, at the left or at the right of them."""
    text = fit(text, room)
    blank = " " * (room - width(text))
    return blank + text if right else text + blank


def wrap(text: str, room: int) -> list[str]:
    """The text in lines of at most ``room`` cells, broken between words where it can be."""
    lines = [""]
    for word in text.split():
        while width(word) > room > 0:
            if lines[-1]:
                lines.append("")
            found = cells(word)
            cut = room - 1 if found[room] == "" and room > 1 else room
            lines[-1] = "".join(found[:cut])
            word = "".join(found[cut:])
            lines.append("")
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if width(joined) <= room or not lines[-1]:
            lines[-1] = joined
        else:
            lines.append(word)
    return [line for line in lines if line] or [""]


_ASCII = str.maketrans(
    {
        "…": "~", "·": ".", "—": "-", "–": "-", "−": "-", "×": "x", "°": " ", "≥": ">", "≤": "<",
        "▲": "^", "▼": "v", "▸": ">", "▾": "v", "◂": "<", "●": "*", "■": "#", "█": "#",
        "│": "|", "─": "-", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "├": "+", "┤": "+", "┬": "+",
        "┴": "+", "┼": "+", "←": "<", "→": ">", "↑": "^", "↓": "v", "╌": "-", "┊": ":", "µ": "u",
        "✓": "x",
    }
)  # fmt: skip


def ascii_cell(cell: str) -> str:
    """A cell for a terminal that has only ASCII; what has no likeness there is ``?``."""
    if cell.isascii():
        return cell
    likeness = cell.translate(_ASCII)
    return likeness if likeness.isascii() else "?"
