"""Asks for totals and rows: all of a small fleet, of a large one what is seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gpufleet.client import group_rows
from gpufleet.client.errors import HubError, Refused
from gpufleet.client.query import MOST_ROWS
from gpufleet.tui import asking
from gpufleet.tui.asking import Hub, Wants
from gpufleet.tui.board import TROUBLE_SECONDS, Board

SPARSE_SECONDS = 15.0
"""All GPUs of a large fleet are asked for no more often: for its order and its searches."""
COST_SHARE = 0.05
"""At most this share of the time goes into asking for all rows of a large fleet."""


@dataclass(slots=True)
class ListAsker:
    """Asks for totals and rows. ``step`` asks once and says how long to wait then."""

    hub: Hub
    board: Board
    interval: float
    now_ms: Callable[[], int]
    _sparse_due: float = 0.0
    _seen: frozenset[str] = frozenset()
    _asked: tuple[str, bool, tuple[str, ...]] | None = None

    def step(self) -> float:
        """One round of questions."""
        wants = self.board.wants()
        began = time.monotonic()
        try:
            fleet = self.hub.get("/api/v1/fleet")
            news = self._rows(wants, fleet, began)
        except Refused as error:
            self._asked = (wants.filter, wants.users, wants.more)
            self.board.learn(filter_trouble=str(error), trouble="", taken_ms=self.now_ms())
            return TROUBLE_SECONDS
        except HubError as error:
            self.board.learn(trouble=str(error))
            return min(TROUBLE_SECONDS, max(self.interval, 0.5))
        news["filter_trouble"] = ""
        news |= {"fleet": fleet, "trouble": "", "taken_ms": self.now_ms(), "filter": wants.filter}
        known = self.board.known()
        self.board.learn(list_version=known.list_version + 1, **news)
        return self.interval - (time.monotonic() - began)

    def _rows(self, wants: Wants, fleet: Mapping[str, Any], began: float) -> dict[str, Any]:
        asked = (wants.filter, wants.users, wants.more)
        total = int((fleet.get("gpus") or {}).get("total") or 0)
        whole = asking.all_fields(wants)
        if total <= asking.WHOLE_GPUS:
            rows, _ = asking.rows(self.hub, wants.filter, whole, MOST_ROWS)
            self._asked = asked
            return {"rows": rows, "fresh": {}}
        news: dict[str, Any] = {}
        if asked != self._asked or began >= self._sparse_due:
            fields = asking.sparse_fields(wants)
            rows, _ = asking.rows(self.hub, wants.filter, fields, MOST_ROWS)
            cost = time.monotonic() - began
            self._sparse_due = began + max(SPARSE_SECONDS, self.interval, cost / COST_SHARE)
            self._asked = asked
            news["rows"] = rows
        self._seen = frozenset((*wants.visible, *wants.folded))
        fresh = asking.rows_of(self.hub, wants.visible, whole)
        fresh |= group_rows.node_rows(self.hub, wants.filter, wants.folded)
        return {**news, "fresh": fresh}

    def hurry(self, wants: Wants) -> bool:
        """Whether another filter is wanted than was asked for, or rows that are not there."""
        if (wants.filter, wants.users, wants.more) != self._asked:
            return True
        if len(self.board.known().rows) <= asking.WHOLE_GPUS:
            return False
        return not self._seen.issuperset((*wants.visible, *wants.folded))
