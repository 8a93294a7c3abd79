"""What the agent numbers and keeps until the hub has it: ticks and events."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gpufleet.agent.model import Values
from gpufleet.proto.catalog import BY_ID, Kind

_SPAN, _HALF = 1 << 64, 1 << 63
_LOW, _HIGH = -_HALF, _HALF - 1

Row = tuple[int | None, ...]
"""Values of one subject in its layout's column order; ``None``: absent."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in what this agent recorded; ordered as the hub orders."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class LayoutSubject:
    """Columns of one subject: catalogue ids in ascending order."""

    kind: str
    key: str
    metrics: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Names the columns of ticks; ``id`` is a hash of the content."""

    id: int
    subjects: tuple[LayoutSubject, ...]


@dataclass(frozen=True, slots=True)
class TickRecord:
    """One tick: a row for each subject of the layout, ``None`` where it was not read."""

    position: Position
    tick_ms: int
    layout: Layout
    rows: tuple[Row | None, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, with the fields of ``Event`` in telemetry.proto."""

    time_ms: int
    kind: str
    severity: str
    message: str
    subject_kind: str = ""
    subject_key: str = ""
    code: int = 0
    data_json: str = ""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event with its number."""

    position: Position
    event: Event


Record = TickRecord | EventRecord


def layout_of(subjects: tuple[LayoutSubject, ...]) -> Layout:
    """The layout with these columns; the same columns have the same id everywhere."""
    digest = hashlib.blake2b(digest_size=8)
    for subject in subjects:
        text = f"{subject.kind}\0{subject.key}\0{','.join(map(str, subject.metrics))}\n"
        digest.update(text.encode())
    return Layout(int.from_bytes(digest.digest(), "big"), subjects)


def row_of(subject: LayoutSubject, values: Values) -> Row:
    """Values in column order, each fitting the wire's 64 bits."""
    row = tuple(map(values.get, subject.metrics))
    for value in row:
        if value is not None and not _LOW <= value <= _HIGH:
            return tuple(_fitting(*cell) for cell in zip(subject.metrics, row, strict=True))
    return row


def wrapped(value: int) -> int:
    """The value modulo 2^64 as a signed 64-bit integer: how deltas and bit sets fit the wire."""
    return (value + _HALF) % _SPAN - _HALF


def _fitting(metric: int, value: int | None) -> int | None:
    """Bit sets fill all 64 bits; any other value past 63 is a driver's blank, so absent."""
    if value is None or _LOW <= value <= _HIGH:
        return value
    known = BY_ID.get(metric)
    return wrapped(value) if known is not None and known.kind is Kind.BITS else None
