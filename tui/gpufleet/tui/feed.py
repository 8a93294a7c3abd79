"""Threads that ask the hub for what the screen wants, so that a slow hub never holds up a key.

Three ask side by side: for the list, for the GPU in detail, and for the rest (past loads, alerts,
orders). Each puts what it learnt onto the board; the screen takes the newest from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gpufleet.tui.asking import Hub
from gpufleet.tui.board import TROUBLE_SECONDS, Board
from gpufleet.tui.detail_asker import DetailAsker
from gpufleet.tui.list_asker import ListAsker
from gpufleet.tui.side_asker import SideAsker
from gpufleet.tui.sparks import BUCKET_SECONDS

Asker = ListAsker | DetailAsker | SideAsker


class Feed:
    """The three threads. A context: they end with it, or soon after where a question hangs."""

    def __init__(self, make: Callable[[], Hub], board: Board, interval: float) -> None:
        self.board = board
        hubs = [make() for _ in range(3)]
        self._hubs = hubs
        self._askers: list[Asker] = [
            ListAsker(hubs[0], board, interval, now_ms),
            DetailAsker(hubs[1], board, now_ms),
            SideAsker(hubs[2], board, now_ms, BUCKET_SECONDS),
        ]

    def __enter__(self) -> Feed:
        for asker in self._askers:
            name = f"asks for {type(asker).__name__}"
            threading.Thread(target=self._run, args=(asker,), name=name, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.board.end()

    def _run(self, asker: Asker) -> None:
        while not self.board.ended:
            try:
                pause = asker.step()
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                strange = f"{type(error).__name__} {error}"
                self.board.learn(
                    trouble="The hub's answer is not understood: is it another version than this"
                    f" client? ({strange[:200]})"
                )
                pause = TROUBLE_SECONDS
            self.board.wait(pause, asker.hurry)
        asker.hub.close()


def now_ms() -> int:
    """This machine's wall clock."""
    return time.time_ns() // 1_000_000
