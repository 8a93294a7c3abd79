"""The collector's life: opened, asked for its subjects, lost and opened again, never waited for."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from gpufleet.agent.clock import Clock
from gpufleet.agent.model import (
    UNKNOWN_PREFIX,
    Collector,
    CollectorUnavailable,
    Fault,
    FaultState,
    Json,
    Subject,
)

HUNG_AFTER_SECONDS = 10.0
"""Opening a driver without persistence takes seconds; past this it counts as hung."""

RETRY_SECONDS = (1.0, 60.0)

T = TypeVar("T")


class Errand(Generic[T]):
    """One call in a thread of its own, whose result is fetched later or never."""

    def __init__(self, call: Callable[[], T], clock: Clock) -> None:
        self.since_ms = clock.wall_ms()
        self.since = clock.monotonic()
        self.done = threading.Event()
        self._result: T | None = None
        self._error: Exception | None = None
        self._call = call
        threading.Thread(target=self._run, name="errand", daemon=True).start()

    def result(self) -> T:
        """What the call gave or raised; only after ``done``."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set before done

    def _run(self) -> None:
        try:
            self._result = self._call()
        except Exception as error:  # handed to whoever asks for the result
            self._error = error
        self.done.set()


class Session:
    """Keeps a collector open; ``advance`` is called each tick and never blocks."""

    def __init__(self, collector: Collector, clock: Clock, rng: random.Random) -> None:
        self._collector = collector
        self._clock = clock
        self._rng = rng
        self._errand: Errand[tuple[Mapping[str, Json], Sequence[Subject]]] | None = None
        self._opened = False
        self._failures = 0
        self._retry_at = clock.monotonic()
        self.version = 0
        """Grows whenever subjects or facts are replaced."""
        self.subjects: tuple[Subject, ...] = ()
        self.facts: Mapping[str, Json] = {}
        self.sentence = ""
        """Why the collector cannot be used now; empty while it can."""
        self.hung_since_ms: int | None = None
        self.outlived = False
        """Only a new process can go on: the driver was exchanged under this one."""

    def advance(self) -> bool:
        """Go on with opening or refreshing; True while subjects can be read."""
        if self._errand is None and not self._opened:
            if self._clock.monotonic() < self._retry_at:
                return False
            self._errand = Errand(self._open, self._clock)
        if self._errand is None:
            return True
        if not self._errand.done.is_set():
            if self._clock.monotonic() - self._errand.since >= HUNG_AFTER_SECONDS:
                self.hung_since_ms = self._errand.since_ms
                self.sentence = (
                    "The driver does not answer; the agent waits for its call to return."
                )
            return False
        errand, self._errand = self._errand, None
        self.hung_since_ms = None
        try:
            facts, subjects = errand.result()
        except Exception as error:
            self.lost(error)
            return False
        self._opened = True
        self._failures = 0
        self.sentence = ""
        self._take(facts, subjects)
        return True

    def refresh(self) -> None:
        """Ask for the subjects again; reads pause until they are known."""
        if self._opened and self._errand is None:
            self._errand = Errand(self._ask, self._clock)

    def lost(self, error: Exception) -> None:
        """The collector said that it cannot go on: open it again, later and later."""
        if isinstance(error, CollectorUnavailable):
            self.sentence = str(error)
            self.outlived = self.outlived or error.permanent
        else:
            self.sentence = f"The collector failed: {type(error).__name__}: {error}."
        self._opened = False
        low, high = RETRY_SECONDS
        delay = min(high, low * 2**self._failures) * self._rng.uniform(0.75, 1.0)
        self._failures = min(self._failures + 1, 10)
        self._retry_at = self._clock.monotonic() + delay

    def close(self, seconds: float) -> None:
        """Let the driver go, if it lets us."""
        if self._errand is not None and not self._errand.done.is_set():
            return
        closing = Errand(self._collector.close, self._clock)
        closing.done.wait(seconds)

    def _open(self) -> tuple[Mapping[str, Json], Sequence[Subject]]:
        self._collector.close()
        self._collector.open()
        return self._ask()

    def _ask(self) -> tuple[Mapping[str, Json], Sequence[Subject]]:
        return self._collector.node_facts(), self._collector.subjects()

    def _take(self, facts: Mapping[str, Json], found: Sequence[Subject]) -> None:
        keys = {subject.key for subject in found}
        missing = [
            replace(
                subject, fault=Fault(FaultState.MISSING, "The driver no longer lists this GPU.")
            )
            for subject in self.subjects
            if subject.kind == "gpu"
            and subject.key not in keys
            and not subject.key.startswith(UNKNOWN_PREFIX)
        ]
        subjects = (*found, *missing)
        if facts != self.facts or subjects != self.subjects:
            self.version += 1
            self.facts = dict(facts)
            self.subjects = subjects
