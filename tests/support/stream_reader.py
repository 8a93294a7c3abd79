"""A reader of /stream: parses server-sent events and keeps the rows as a client would."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx


class Mirror:
    """The rows that a stream told, built from its snapshot and changes alone."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self._rows = {row["uuid"]: dict(row) for row in snapshot["gpus"]}
        self.version = snapshot["version"]
        self.total = snapshot["total"]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self._rows.values())

    def apply(self, change: dict[str, Any]) -> None:
        """Take a ``change``."""
        for uuid in change.get("removed", ()):
            del self._rows[uuid]
        for row in change.get("added", ()):
            self._rows[row["uuid"]] = dict(row)
        for uuid, cells in change["cells"].items():
            self._rows[uuid].update(cells)
        if "order" in change:
            self._rows = {uuid: self._rows[uuid] for uuid in change["order"]}
        self.version = change["version"]
        self.total = change["total"]


async def events(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """(event, data) as they come; a comment is (":", its text)."""
    name = ""
    async for line in response.aiter_lines():
        if line.startswith(":"):
            yield ":", line[1:].strip()
        elif line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
