"""Wakes a thread that waits for any of several things to change."""

from __future__ import annotations

import threading


class Bell:
    """Counts its rings, so that none is missed between looking and waiting."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rings = 0

    @property
    def rings(self) -> int:
        """To be read before looking at what the bell announces."""
        return self._rings

    def ring(self) -> None:
        """Something changed."""
        with self._changed:
            self._rings += 1
            self._changed.notify_all()

    def wait(self, seen: int, seconds: float | None) -> None:
        """Return once it rang after ``seen``, or when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._rings != seen, seconds)
