"""Makes texts from elsewhere harmless: labels, node names and commands may hold anything."""

from __future__ import annotations

import unicodedata

MAX_CHARACTERS = 300

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, direction marks, surrogates and what is no character: nothing that a reader misses."""


def plain(text: str, limit: int = MAX_CHARACTERS) -> str:
    """One line of visible characters, at most ``limit`` of them.

    Line ends, escapes and marks that turn the direction of text become spaces.
    """
    kept = "".join(
        " " if unicodedata.category(one) in _UNSEEN else one for one in text[: 4 * limit]
    )
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
