"""Names that others chose, in a form that harms no screen, no pipe and no reader."""

from __future__ import annotations

import unicodedata

STAND_IN = "·"
_HARMFUL = frozenset({"Cc", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Control, unassigned, private and broken characters, and ends of lines."""
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Signs that turn the direction of writing: what is behind them is not where it seems."""


def printable(name: str) -> str:
    """The name in one line: harmful characters as ``·``, those that turn or hide left out.

    Composed (NFC), so that one name looks one way; applying it again changes nothing.
    """
    found = []
    for char in unicodedata.normalize("NFC", name):
        kind = unicodedata.category(char)
        if kind in _HARMFUL:
            found.append(STAND_IN)
        elif char not in _TURNS and kind != "Cf":
            found.append(" " if kind == "Zs" else char)
    return unicodedata.normalize("NFC", "".join(found))
