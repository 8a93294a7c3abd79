"""Matching of ``~=``: contains, without case, ``*`` for anything between. Linear in its input."""

from __future__ import annotations


class Pattern:
    """A text to look for. Not a regular expression: no input makes it slow."""

    def __init__(self, text: str) -> None:
        self._parts = [part for part in text.casefold().split("*") if part]

    def found_in(self, text: str) -> bool:
        """Whether the parts occur in this order."""
        folded, at = text.casefold(), 0
        for part in self._parts:
            at = folded.find(part, at)
            if at < 0:
                return False
            at += len(part)
        return True
