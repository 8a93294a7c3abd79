"""What a leaf of nvidia-smi's output says: a number in the unit expected, a word, or nothing.

``None`` and ``Not Active`` are answers. A number in another unit than expected is no value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Leaves = Mapping[str, str]
"""Path below one element, as ``temperature/gpu_temp`` → its text."""

_SILENT = frozenset(
    {
        "",
        "-",
        "n/a",
        "redacted",
        "not supported",
        "not available",
        "function not found",
        "requested functionality has been deprecated",
    }
)
_FAILED = ("gpu is lost", "gpu requires reset", "insufficient permissions", "unknown error", "err!")
_NUMBER = re.compile(r"(-?[0-9]{1,20}(?:\.[0-9]{1,9})?) ?([A-Za-z%][A-Za-z%/()]*)?")


def failure(text: str) -> str | None:
    """The kind of error that stands in place of a value, in lower case; None where none does."""
    plain = text.strip("[] \t\r\n").lower()
    return next((words for words in _FAILED if plain.startswith(words)), None)


def word(leaves: Leaves, *paths: str) -> str | None:
    """The first text among these leaves that says something."""
    for path in paths:
        text = leaves.get(path)
        if text is None:
            continue
        plain = text.strip("[] \t\r\n")
        if plain.lower() not in _SILENT and failure(text) is None:
            return plain
    return None


def number(leaves: Leaves, unit: str, *paths: str) -> float | int | None:
    """The first number in this unit among the leaves; what drivers write as blank is None."""
    for path in paths:
        text = leaves.get(path)
        if text is None:
            continue
        match = _NUMBER.fullmatch(text.strip())
        if match is None or (match[2] or "") != unit:
            continue
        value = float(match[1]) if "." in match[1] else int(match[1])
        if not _is_blank(value):
            return value
    return None


def _is_blank(value: float) -> bool:
    """True for the numbers that drivers and DCGM write where they have none."""
    return value == 0xFFFFFFFF or 1 << 47 <= value <= (1 << 47) + 16 or value >= (1 << 63) - 1024


def count(leaves: Leaves, *paths: str) -> int | None:
    """A number without a unit, whole and not negative."""
    value = number(leaves, "", *paths)
    return value if isinstance(value, int) and value >= 0 else None


def yes(leaves: Leaves, *paths: str) -> bool | None:
    """``Yes`` or ``No``."""
    said = word(leaves, *paths)
    return None if said is None else {"yes": True, "no": False}.get(said.lower())


def total(leaves: Leaves, *paths: str) -> int | None:
    """The sum of those counters that the board has.

    None where it has none, and where one that it has could not be read: a part of a sum would
    look like a reset.
    """
    if any(failure(leaves[path]) for path in paths if path in leaves):
        return None
    known = [value for path in paths if (value := count(leaves, path)) is not None]
    return sum(known) if known else None


def pci_bus_id(text: str) -> str | None:
    """One form for all: ``00000000:1A:00.0``; None for anything else."""
    match = re.fullmatch(
        r"([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-7])", text.strip()
    )
    if match is None:
        return None
    domain, bus, device, function = match.groups()
    return f"{int(domain, 16):08X}:{bus}:{device}.{function}".upper()
