"""The nearest known name to one that was mistyped, for sentences that help."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def hint(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where a known name is near, else nothing."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def ended(sentence: str) -> str:
    """A sentence with its full stop, unless a hint's question mark ends it already."""
    return sentence if sentence.endswith("?") else f"{sentence}."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The nearest of the known names, ``None`` where none is near."""
    candidates = list(known)
    wanted = name[:100].lower()
    close = difflib.get_close_matches(wanted, candidates, n=1, cutoff=0.6)
    if close:
        return close[0]
    parts = sorted((c for c in candidates if len(wanted) >= 3 and wanted in c.lower()), key=len)
    return parts[0] if parts else None
