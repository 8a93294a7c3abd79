"""The newest document of a slow program, for many who ask for their part of it at once.

One tick asks for every GPU by itself, and one run of nvidia-smi answers for all of them: a run
begins when somebody comes for a document that he already has. A run may take longer than a tick's
deadline. Whoever asks waits a little for it, then gets the document before, until that is too old.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

REUSE_SECONDS = 0.5
"""A document is given to somebody new for so long after it came, without a run behind it."""

PATIENCE_SECONDS = 0.2
"""So long a run is waited for in all at the shortest interval, where a deadline is 0.3 s.

At longer intervals a fifth of them is waited, less than the 0.3 of a tick's deadline.
"""

MOST_PATIENCE_SECONDS = 3.0
OLDEST_SECONDS = 20.0


class NothingYet(Exception):
    """There is no document, or none that is new enough, and the run is not over."""


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """A document and when it was complete, on the monotonic clock."""

    document: T
    at: float


class Feed(Generic[T]):
    """``fetch`` makes one document or raises; it is never called twice at once."""

    def __init__(
        self,
        fetch: Callable[[], T],
        clock: Callable[[], float] = time.monotonic,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._least_patience = patience_seconds
        self._changed = threading.Condition()
        self._newest: Fetched[T] | None = None
        self._error: Exception | None = None
        self._served: set[str] = set()
        self._running = False
        self._begun = 0.0
        self._ended = 0.0
        self._read_at: dict[str, float] = {}
        self._gaps = (0.0, 0.0)
        self._gap_at = 0.0

    def forget(self) -> None:
        """Start anew: what comes from a run that is under way is still taken."""
        with self._changed:
            self._newest = None
            self._error = None
            self._served.clear()
            self._read_at.clear()

    def peek(self) -> Fetched[T] | None:
        """The newest document, without any waiting."""
        with self._changed:
            return self._newest

    def next(self, seconds: float) -> Fetched[T]:
        """A document of a run that ends after now, or one that has just come."""
        with self._changed:
            newest = self._newest
            if newest is None or not self._is_recent(newest.at):
                self._begin()
                self._wait(newest, seconds)
                if self._newest is newest and self._running:
                    raise NothingYet
            return self._answer()

    def read(self, who: str) -> Fetched[T]:
        """The newest document; ``who`` gets the same one twice only while a run is under way."""
        with self._changed:
            newest = self._newest
            self._note_gap(who)
            if newest is None or who in self._served or not self._is_recent(newest.at):
                self._begin()
                patience = min(0.2 * min(self._gaps), MOST_PATIENCE_SECONDS)
                patience = max(patience, self._least_patience)
                self._wait(newest, self._begun + patience - self._clock())
            answer = self._answer()
            self._served.add(who)
            return answer

    def _note_gap(self, who: str) -> None:
        """Learn the interval of the ticks; the smaller of two, as one may have been missed."""
        now = self._clock()
        before = self._read_at.get(who)
        self._read_at[who] = now
        if before is not None and now - before > REUSE_SECONDS and now > self._gap_at:
            self._gaps = (self._gaps[1], now - before)
            self._gap_at = now + REUSE_SECONDS  # once a tick

    def _is_recent(self, at: float) -> bool:
        return self._clock() - at <= REUSE_SECONDS

    def _wait(self, before: Fetched[T] | None, seconds: float) -> None:
        self._changed.wait_for(
            lambda: self._newest is not before or not self._running, timeout=max(0.0, seconds)
        )

    def _answer(self) -> Fetched[T]:
        if self._error is not None and not self._running:
            raise self._error
        newest = self._newest
        if newest is None:
            raise NothingYet
        if self._running and self._clock() - newest.at > max(OLDEST_SECONDS, 2 * min(self._gaps)):
            raise NothingYet
        return newest

    def _begin(self) -> None:
        """Start a run, unless one is under way or has just failed."""
        if self._running or (self._error is not None and self._is_recent(self._ended)):
            return
        self._running, self._begun, self._error = True, self._clock(), None
        threading.Thread(target=self._run, name="nvidia-smi", daemon=True).start()

    def _run(self) -> None:
        fetched: Fetched[T] | None = None
        error: Exception | None = None
        try:
            fetched = Fetched(self._fetch(), self._clock())
        except Exception as failed:  # handed to whoever reads
            error = failed
        with self._changed:
            self._running, self._ended = False, self._clock()
            self._error = error
            if fetched is not None:
                self._newest = fetched
                self._served.clear()
            self._changed.notify_all()
