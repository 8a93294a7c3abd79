"""Asks for the GPU in detail, its past and its events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpufleet.client.address import path_part
from gpufleet.client.errors import HubError
from gpufleet.tui import asking
from gpufleet.tui.asking import Hub, Wants
from gpufleet.tui.board import TROUBLE_SECONDS, Board

DETAIL_SECONDS = 1.0
EVENTS_SECONDS = 10.0


@dataclass(slots=True)
class DetailAsker:
    """Asks for the GPU in detail and its past."""

    hub: Hub
    board: Board
    now_ms: Callable[[], int]
    _done: tuple[str, int, int] | None = None
    _past_due: float = 0.0
    _events_due: float = 0.0

    def step(self) -> float:
        """One round of questions."""
        wants = self.board.wants()
        uuid = wants.detail
        if not uuid:
            self._done = None
            return 3600.0
        now = time.monotonic()
        moved = self._done is None or not self._same(wants)
        try:
            news: dict[str, Any] = {"gpu_trouble": ""}
            news["gpu"] = self.hub.get(f"/api/v1/gpus/{path_part(uuid)}")
            if moved or now >= self._past_due:
                end = self.now_ms() if wants.live else wants.end_ms
                start = end - (wants.end_ms - wants.start_ms)
                news["past"] = asking.past(self.hub, uuid, start, end, wants.columns)
                a_column = (end - start) / 1000 / max(wants.columns, 1)
                self._past_due = now + max(2.0, a_column, 20 * (time.monotonic() - now))
                self._done = (uuid, wants.end_ms - wants.start_ms, 0 if wants.live else end)
            if moved or now >= self._events_due:
                path = f"/api/v1/gpus/{path_part(uuid)}/events"
                news["events"] = self.hub.get(path, {"limit": "20"})["events"]
                self._events_due = now + EVENTS_SECONDS
            self.board.learn(**news)
        except HubError as error:
            self.board.learn(gpu_trouble=str(error))
            self._done = (uuid, wants.end_ms - wants.start_ms, 0 if wants.live else wants.end_ms)
            return TROUBLE_SECONDS
        return DETAIL_SECONDS

    def _same(self, wants: Wants) -> bool:
        span = wants.end_ms - wants.start_ms
        return self._done == (wants.detail, span, 0 if wants.live else wants.end_ms)

    def hurry(self, wants: Wants) -> bool:
        """Whether another GPU or another time is wanted than was asked for."""
        return bool(wants.detail) and not self._same(wants)
