"""An export as text: CSV or JSON lines, piece by piece."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from enum import Enum
from typing import Any

from numpy.typing import NDArray

from gpufleet.hub.api.jsonbody import encode
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.api.values import bit_names, numbers, short
from gpufleet.hub.store.export import Column, Page, Plan
from gpufleet.proto.catalog import Kind

ROWS = 900
"""Rows that are made into text at once."""
HEAD = ("time", "node", "gpu_uuid", "gpu")


class Format(Enum):
    """How rows are written. Absent values: nothing between the commas, or no key."""

    CSV = "csv"
    JSONL = "jsonl"

    @property
    def media_type(self) -> str:
        return "text/csv; charset=utf-8" if self is Format.CSV else "application/jsonl"


def export_text(plan: Plan, form: Format) -> Iterator[bytes]:
    """The whole export; CSV begins with its header, so that an empty one is a table too."""
    if form is Format.CSV:
        yield _csv([[*HEAD, *(column.name for column in plan.columns)]])
    for page in plan.pages():
        for first in range(0, len(page.times_ms), ROWS):
            yield _rows(plan, page, slice(first, first + ROWS), form)


def _rows(plan: Plan, page: Page, rows: slice, form: Format) -> bytes:
    of = page.of
    times = [format_ms(moment) for moment in page.times_ms[rows].tolist()]
    columns = [
        _values(column, values[rows])
        for column, values in zip(plan.columns, page.values, strict=True)
    ]
    if form is Format.CSV:
        own = (_text(of.node), _text(of.uuid), of.index)
        shown = [[_cell(value) for value in column] for column in columns]
        return _csv([time, *own, *row] for time, *row in zip(times, *shown, strict=True))
    names = [column.name for column in plan.columns]
    head = {"node": of.node, "gpu_uuid": of.uuid, "gpu": of.index}
    lines = []
    for time, *row in zip(times, *columns, strict=True):
        told = {name: v for name, v in zip(names, row, strict=True) if v is not None}
        lines.append(encode({"time": time, **head, **told}) + b"\n")
    return b"".join(lines)


def _values(column: Column, values: NDArray[Any]) -> list[Any]:
    if column.part == "bits" or (column.metric.kind is Kind.BITS and not column.part):
        return [None if bits == -1 else bit_names(bits) for bits in values.tolist()]
    if column.part == "n":
        return [0 if value != value else int(value) for value in values.tolist()]
    if column.part in ("avg", "active_seconds"):
        return [short(column.metric, value) for value in values.tolist()]
    return numbers(column.metric, values)


def _cell(value: Any) -> Any:
    return " ".join(value) if isinstance(value, list) else value


def _text(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _csv(rows: Any) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()
