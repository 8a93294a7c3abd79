"""Matches a rule's or a silence's matcher against what a subject is."""

from __future__ import annotations

from collections.abc import Mapping


def matches(
    name: str, op: str, value: str, node: str, model: str, labels: Mapping[str, str]
) -> bool:
    """``node``, ``model`` or ``label.KEY`` compared: ``=``, ``!=``, or ``~=`` (contains, ``*``)."""
    if name.startswith("label."):
        found = labels.get(name.removeprefix("label."), "")
    else:
        found = node if name == "node" else model
    return compare(op, found, value)


def compare(op: str, found: str, value: str) -> bool:
    """One comparison of texts; ``~=`` ignores case and is no regular expression."""
    if op == "=":
        return found == value
    if op == "!=":
        return found != value
    return contains(found.casefold(), value.casefold())


def contains(text: str, pattern: str) -> bool:
    """Whether ``text`` holds the pieces of ``pattern`` between its ``*``, in order."""
    at = 0
    for piece in pattern.split("*"):
        place = text.find(piece, at)
        if place < 0:
            return False
        at = place + len(piece)
    return True
