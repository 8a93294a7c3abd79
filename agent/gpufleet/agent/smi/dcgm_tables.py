"""Tables of dcgmi: which GPU has which number in DCGM, and readings by that number."""

from __future__ import annotations

import re

_FOUND = re.compile(r"^\s*[0-9]+ GPUs? found", re.MULTILINE)
_OTHERS_FOUND = re.compile(r"^\s*[0-9]+ (?!GPUs? )[A-Za-z]+ found")
_ROW = re.compile(r"^\| *(?P<id>[0-9]{0,4}) *\| (?P<text>.*?) *\|\s*$")
_UUID = re.compile(r"Device UUID: (GPU-[0-9A-Za-z-]{1,64})")
_CELL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,9})?")


class NotATable(Exception):
    """The output is no table of dcgmi."""


def discovered(text: str) -> dict[int, str]:
    """Number of a GPU in DCGM → its UUID, from ``dcgmi discovery -l``.

    Other tables (NvSwitches, ConnectX, CPUs) follow that of the GPUs.
    """
    if _FOUND.search(text) is None:
        raise NotATable
    found: dict[int, str] = {}
    number: int | None = None
    for line in text.splitlines():
        if _OTHERS_FOUND.match(line):
            break
        row = _ROW.match(line)
        if row is None:
            continue
        if row["id"]:
            number = int(row["id"])
        uuid = _UUID.search(row["text"])
        if number is not None and uuid is not None:
            found.setdefault(number, uuid[1])
    return found


def readings(text: str, fields: int) -> dict[int, tuple[float | int | None, ...]]:
    """Number of a GPU in DCGM → its cells, from ``dcgmi dmon -e … -c 1``.

    A row with other than ``fields`` cells is left out, as is one of anything but a whole GPU.
    ``None``: N/A, or a number that DCGM writes where it has none.
    """
    found: dict[int, tuple[float | int | None, ...]] = {}
    for line in text.splitlines():
        words = line.split()
        if (
            len(words) != fields + 2
            or words[0] != "GPU"
            or not re.fullmatch(r"[0-9]{1,4}", words[1])
        ):
            continue
        found[int(words[1])] = tuple(_cell(word) for word in words[2:])
    return found


def _cell(word: str) -> float | int | None:
    if _CELL.fullmatch(word) is None:
        return None
    value = float(word) if "." in word else int(word)
    blank = value == 0xFFFFFFFF or 1 << 47 <= value <= (1 << 47) + 16 or value >= (1 << 63) - 1024
    return None if blank else value
