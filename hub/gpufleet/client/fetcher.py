"""Questions that are asked once, by threads; in each slot the latest wins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from gpufleet.client.errors import HubError
from gpufleet.client.hub import Hub

WORKERS = 3


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a question: ``value``, or why there is none. ``key`` says which it was."""

    slot: str
    key: Hashable
    value: Any = None
    error: HubError | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    slot: str
    key: Hashable
    work: Callable[[Hub], Any]


class Fetcher:
    """``fetch`` never waits; ``ring`` is called when ``take`` has something.

    A slot is a place on the screen. A newer question of a slot replaces one that waits, and ends
    one that is being answered; the result of a replaced one is never given. Orders that must be
    told (an acknowledgement) want a slot of their own each.
    """

    def __init__(self, hub: Hub, ring: Callable[[], None], workers: int = WORKERS) -> None:
        self._ring = ring
        self._turn = threading.Condition()
        self._waiting: dict[str, _Job] = {}
        self._running: dict[str, tuple[_Job, Hub]] = {}
        self._results: dict[str, Result] = {}
        self._closed = False
        self._threads = [
            threading.Thread(
                target=self._run, args=(hub.another(),), name=f"gpufleet fetcher {i}", daemon=True
            )
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def fetch(self, slot: str, work: Callable[[Hub], Any], key: Hashable = None) -> None:
        """Has ``work`` done with a hub by a thread. What it returns is the result's value."""
        with self._turn:
            self._results.pop(slot, None)
            self._waiting[slot] = _Job(slot, key, work)
            running = self._running.get(slot)
            if running is not None:
                running[1].cancel()
            self._turn.notify()

    def drop(self, slot: str) -> None:
        """Nobody wants this slot's answer any more."""
        with self._turn:
            self._waiting.pop(slot, None)
            self._results.pop(slot, None)
            running = self._running.pop(slot, None)
            if running is not None:
                running[1].cancel()

    def busy(self, slot: str) -> bool:
        """Whether a question of this slot is not answered yet."""
        with self._turn:
            return slot in self._waiting or slot in self._running

    def take(self) -> list[Result]:
        """Results since the last time, the newest of each slot."""
        with self._turn:
            found, self._results = list(self._results.values()), {}
            return found

    def close(self) -> None:
        """Ends the threads; one that hangs in the network ends when that lets it go."""
        with self._turn:
            self._closed = True
            self._waiting.clear()
            for _, hub in self._running.values():
                hub.cancel()
            self._turn.notify_all()
        for thread in self._threads:
            thread.join(1.0)

    def _run(self, hub: Hub) -> None:
        while (job := self._next(hub)) is not None:
            try:
                result = Result(job.slot, job.key, job.work(hub))
            except HubError as error:
                result = Result(job.slot, job.key, error=error)
            self._done(job, result)
        hub.close()

    def _next(self, hub: Hub) -> _Job | None:
        """The next job; a slot is never with two threads at once."""
        with self._turn:
            self._turn.wait_for(lambda: self._closed or self._free() is not None)
            slot = self._free()
            if self._closed or slot is None:
                return None
            hub.uncancel()
            job = self._waiting.pop(slot)
            self._running[slot] = (job, hub)
            return job

    def _free(self) -> str | None:
        return next((slot for slot in self._waiting if slot not in self._running), None)

    def _done(self, job: _Job, result: Result) -> None:
        with self._turn:
            running = self._running.get(job.slot)
            if running is not None and running[0] is job:
                del self._running[job.slot]
                if job.slot not in self._waiting:
                    self._results[job.slot] = result
            self._turn.notify()
        self._ring()
