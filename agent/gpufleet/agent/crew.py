"""Worker threads that ask the driver, and are left behind when it does not answer.

An NVML call can block for ever. Calls are made one after another by one worker; when the deadline
passes, the calls still waiting get a thread each, and a call that itself ran for the deadline is
left behind: nobody waits for it, and its key is not asked again until it comes back. So a round
takes at most two deadlines, whatever hangs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from gpufleet.agent.clock import Clock

LEFT_BEHIND_LIMIT = 32
"""Threads that may be stuck at once; past that nothing new is asked in their place."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call into the driver; two calls with the same key never overlap."""

    key: str
    make: Callable[[], object]


@dataclass(slots=True)
class _Running:
    since: float
    since_ms: int
    round: _Round
    alone: bool
    left: bool = False


@dataclass(slots=True)
class _Round:
    queued: deque[Call]
    results: dict[str, Any] = field(default_factory=dict)


class Crew:
    """Runs rounds of calls, each to its deadline."""

    def __init__(self, clock: Clock, limit: int = LEFT_BEHIND_LIMIT) -> None:
        self._clock = clock
        self._limit = limit
        self._lock = threading.Lock()
        self._progress = threading.Event()
        self._running: dict[str, _Running] = {}
        self._inbox: SimpleQueue[_Round | None] | None = None
        self.working = 0
        """Threads that have a round to work on, those left behind included."""

    def stuck(self) -> Mapping[str, int]:
        """Keys whose call was left behind → wall clock in ms when that call began."""
        with self._lock:
            return {key: call.since_ms for key, call in self._running.items() if call.left}

    def run(self, calls: Iterable[Call], deadline: float) -> Mapping[str, Any]:
        """What each call gave, an exception included; one without an answer is not in it."""
        with self._lock:
            round_ = _Round(deque(call for call in calls if call.key not in self._running))
            left = sum(call.left for call in self._running.values())
            if not round_.queued or left >= self._limit:
                return {}
            self.working += 1
            if self._inbox is None:
                self._inbox = SimpleQueue()
                threading.Thread(
                    target=self._serve, args=(self._inbox,), name="collect", daemon=True
                ).start()
            self._inbox.put(round_)
        spread_at: float | None = self._clock.monotonic() + deadline
        while True:
            with self._lock:
                self._progress.clear()
                now = self._clock.monotonic()
                if spread_at is not None and now >= spread_at:
                    spread_at = None
                    self._spread(round_)
                mine = [r for r in self._running.values() if r.round is round_ and not r.left]
                for running in mine:
                    if now - running.since >= deadline:
                        self._leave(running)
                mine = [running for running in mine if not running.left]
                if not mine and not round_.queued:
                    return dict(round_.results)
                wakes = [running.since + deadline for running in mine]
                if spread_at is not None:
                    wakes.append(spread_at)
                wake = min(wakes, default=now + deadline)
            self._clock.wait(self._progress, wake - now)

    def close(self) -> None:
        """Let the idle worker end; one that is stuck dies with the process."""
        with self._lock:
            if self._inbox is not None:
                self._inbox.put(None)
                self._inbox = None

    def _leave(self, running: _Running) -> None:
        running.left = True
        if not running.alone:
            self._inbox = None  # its worker ends when it comes back; the next round gets a new one

    def _spread(self, round_: _Round) -> None:
        """Give each call that still waits a thread of its own."""
        waiting, round_.queued = round_.queued, deque()
        left = sum(call.left for call in self._running.values())
        for call in list(waiting)[: max(0, self._limit - left)]:
            # Counted as running from here, so that the round waits for it.
            running = self._begin(call, round_, alone=True)
            thread = threading.Thread(
                target=self._finish_alone, args=(call, running), name="collect", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # no more threads to be had: those calls are not made this time
                del self._running[call.key]
                return
            self.working += 1

    def _begin(self, call: Call, round_: _Round, *, alone: bool) -> _Running:
        running = _Running(self._clock.monotonic(), self._clock.wall_ms(), round_, alone)
        self._running[call.key] = running
        return running

    def _serve(self, inbox: SimpleQueue[_Round | None]) -> None:
        while (round_ := inbox.get()) is not None:
            came_back_late = self._work(round_)
            with self._lock:
                self.working -= 1
            self._progress.set()
            if came_back_late:
                return

    def _work(self, round_: _Round) -> bool:
        while True:
            with self._lock:
                if not round_.queued:
                    return False
                call = round_.queued.popleft()
                running = self._begin(call, round_, alone=False)
            self._make(call, running)
            if running.left:
                return True

    def _finish_alone(self, call: Call, running: _Running) -> None:
        self._make(call, running)
        with self._lock:
            self.working -= 1
        self._progress.set()

    def _make(self, call: Call, running: _Running) -> None:
        try:
            result: object = call.make()
        except Exception as error:  # a collector's defect must not end the thread unheard
            result = error
        with self._lock:
            del self._running[call.key]
            if not running.left:
                running.round.results[call.key] = result
