"""Order of names as people count: node2 before node10."""

from __future__ import annotations

import re
from functools import lru_cache

Key = tuple[tuple[int, int, str], ...]

_DIGITS = re.compile(r"([0-9]+)")


@lru_cache(maxsize=65_536)
def natural_key(text: str) -> Key:
    """A key that sorts runs of digits by their number (of any length, without converting it)."""
    parts = []
    for part in _DIGITS.split(text):
        if part[:1].isdigit() and part.isascii():
            digits = part.lstrip("0")
            parts.append((0, len(digits), digits))
        else:
            parts.append((1, 0, part))
    return (*parts, (2, 0, text))
