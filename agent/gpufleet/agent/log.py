"""The agent's log: constant messages with key=value, an error once and again when it changes."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TextIO

from gpufleet.proto.logline import line, pairs

Field = str | int | float | bool | None


class Log:
    """Lines on one stream, from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last: dict[str, tuple[str, tuple[tuple[str, Field], ...]]] = {}

    def info(self, message: str, /, **fields: Field) -> None:
        """What an operator may want to know."""
        self._write("info", message, fields)

    def warning(self, message: str, /, **fields: Field) -> None:
        """What an operator should look at."""
        self._write("warning", message, fields)

    def changed(self, topic: str, message: str, /, **fields: Field) -> None:
        """A warning, said once for its topic until its text or fields change."""
        said = (message, tuple(sorted(fields.items())))
        with self._lock:
            if self._last.get(topic) == said:
                return
            self._last[topic] = said
        self._write("warning", message, fields)

    def settled(self, topic: str, message: str, /, **fields: Field) -> None:
        """Say that a topic's trouble is over, if there was one."""
        with self._lock:
            was = self._last.pop(topic, None)
        if was is not None:
            self._write("info", message, fields)

    def forget(self, topic: str) -> None:
        """Whatever comes next on this topic is news."""
        with self._lock:
            self._last.pop(topic, None)

    def _write(self, level: str, message: str, fields: dict[str, Field]) -> None:
        text = f"{message} {pairs(fields)}" if fields else message
        with self._lock:
            try:
                self._stream.write(f"{line(datetime.now(UTC), level, text)}\n")
                self._stream.flush()
            except (OSError, ValueError):
                # Nobody reads our log any more; the samples still have to go on.
                return
