"""The rows of one question to the list of GPUs, and how changes of a stream make the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpufleet.client.errors import Broken

Row = Mapping[str, Any]
"""A row of ``/api/v1/gpus``: fields by name, ``None`` where the hub has no value."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in the hub's order. Nothing of it changes: the next version is another table."""

    version: int
    time: str
    """When the hub made it, RFC 3339 UTC."""
    total: int
    """How many GPUs pass the filter, whether they are among the rows or not."""
    rows: tuple[Row, ...]

    def row(self, uuid: str) -> Row | None:
        """The row of a GPU; ``None`` where it is not among them."""
        return next((row for row in self.rows if row["uuid"] == uuid), None)


def opened(document: Any) -> Table:
    """The table of a ``snapshot``, or of an answer of ``/api/v1/gpus``. Broken where it is none."""
    return _table(document, _listed(document, "gpus"))


def changed(table: Table, document: Any) -> Table:
    """The table after a ``change``; Broken where the change is not one of this table."""
    rows: dict[str, Row] = {row["uuid"]: row for row in table.rows}
    cells = document.get("cells") if isinstance(document, dict) else None
    if not isinstance(cells, dict):
        raise Broken("The hub's stream tells a change without cells.")
    try:
        for uuid in document.get("removed") or ():
            del rows[uuid]
        for row in _listed(document, "added") if document.get("added") else ():
            rows[row["uuid"]] = row
        for uuid, news in cells.items():
            rows[uuid] = {**rows[uuid], **news, "uuid": uuid}
        if document.get("order") is not None:
            order = document["order"]
            if len(order) != len(rows):
                raise Broken("The hub's stream orders other rows than it told.")
            rows = {uuid: rows[uuid] for uuid in order}
    except (KeyError, TypeError):
        raise Broken("The hub's stream changes a row that it never told.") from None
    return _table(document, list(rows.values()))


def _listed(document: Any, name: str) -> list[Row]:
    rows = document.get(name) if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("uuid"), str) for row in rows
    ):
        raise Broken("The answer is no list of GPUs: is it a hub?")
    return rows


def _table(document: Mapping[str, Any], rows: Sequence[Row]) -> Table:
    version, total, time = document.get("version"), document.get("total"), document.get("time")
    if not isinstance(version, int) or not isinstance(total, int) or not isinstance(time, str):
        raise Broken("The answer has no version, time or total: is it a hub?")
    if len({row["uuid"] for row in rows}) != len(rows):
        raise Broken("The answer tells a GPU twice.")
    return Table(version, time, total, tuple(rows))
