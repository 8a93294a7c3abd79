"""The agent's log: constant messages with key=value, an error once and again when it changes."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import TextIO

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
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        words = [time, level, message, *(f"{key}={_text(value)}" for key, value in fields.items())]
        line = " ".join(words) + "\n"
        with self._lock:
            try:
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError):
                # Nobody reads our log any more; the samples still have to go on.
                return


def _text(value: Field) -> str:
    if isinstance(value, str):
        plain = value and all(c.isprintable() and c not in ' "=' for c in value)
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
