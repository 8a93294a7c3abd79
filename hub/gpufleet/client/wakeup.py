"""A bell between threads that select() hears: readable while something is new."""

from __future__ import annotations

import contextlib
import socket
import threading


class Wakeup:
    """Threads ``ring``; who waits on ``fileno`` (curses, Qt) calls ``clear`` and then looks.

    A socket pair, so that it works wherever Python does. Rings before a ``clear`` are one.
    """

    def __init__(self) -> None:
        self._hears, self._rings = socket.socketpair()
        self._hears.setblocking(False)
        self._rings.setblocking(False)
        self._lock = threading.Lock()
        self._rung = False
        self._closed = False

    def fileno(self) -> int:
        """What to wait on until it can be read."""
        return self._hears.fileno()

    def ring(self) -> None:
        """Something is new. From any thread; never waits."""
        with self._lock:
            if self._rung or self._closed:
                return
            self._rung = True
            with contextlib.suppress(OSError):
                self._rings.send(b"!")

    def clear(self) -> bool:
        """Forgets the rings so far; whether there were any. Look for news afterwards."""
        with self._lock:
            rung, self._rung = self._rung, False
            if rung and not self._closed:
                with contextlib.suppress(OSError):
                    self._hears.recv(16)
            return rung

    def close(self) -> None:
        """The end; later rings do nothing."""
        with self._lock:
            self._closed = True
            self._hears.close()
            self._rings.close()
