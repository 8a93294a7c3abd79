"""What a stream's reader sees of the fleet, and what differs between two such views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpufleet.hub.api.gpu_list import Plan, ordered, rows
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import format_ms


@dataclass(frozen=True, slots=True)
class View:
    """The rows of one question at one version, by UUID in order; a row's first cell is its UUID."""

    version: int
    time: str | None
    total: int
    names: tuple[str, ...]
    rows: Mapping[str, tuple[Any, ...]]

    @property
    def size(self) -> int:
        """Roughly the bytes that it holds."""
        return 200 + len(self.rows) * (100 + 24 * len(self.names))


def view(table: Table, asked: Plan, limit: int, offset: int = 0) -> View:
    """``limit`` of the GPUs that answer a question, from ``offset`` on."""
    found = ordered(table, asked)
    shown = rows(table, asked.names, found[offset : offset + limit])
    return View(
        version=table.snapshot.version,
        time=format_ms(table.snapshot.time_ms),
        total=len(found),
        names=asked.names,
        rows={row[0]: row for row in shown},
    )


def whole(new: View) -> dict[str, Any]:
    """The first document of a stream."""
    return {
        **_head(new),
        "fields": new.names,
        "gpus": [dict(zip(new.names, row, strict=True)) for row in new.rows.values()],
    }


def difference(old: View, new: View) -> dict[str, Any]:
    """What turns one view into the next.

    ``cells`` by UUID and field; ``added`` whole rows; ``removed`` UUIDs; ``order`` every UUID, only
    where it is another than what is left of the old order with the added behind.
    """
    cells: dict[str, dict[str, Any]] = {}
    added = []
    for uuid, row in new.rows.items():
        before = old.rows.get(uuid)
        if before is None:
            added.append(dict(zip(new.names, row, strict=True)))
        elif before != row:
            cells[uuid] = {
                name: now
                for name, now, was in zip(new.names, row, before, strict=True)
                if now != was
            }
    document = {**_head(new), "cells": cells}
    removed = [uuid for uuid in old.rows if uuid not in new.rows]
    if removed:
        document["removed"] = removed
    if added:
        document["added"] = added
    expected = [uuid for uuid in old.rows if uuid in new.rows]
    expected += [row["uuid"] for row in added]
    if expected != list(new.rows):
        document["order"] = list(new.rows)
    return document


def _head(new: View) -> dict[str, Any]:
    return {"version": new.version, "time": new.time, "total": new.total}
