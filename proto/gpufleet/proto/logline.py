"""The form of a line in the logs of agent and hub (docs/logs.md): constant message, key=value."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

OURS = "gpufleet."


def line(time: datetime, level: str, message: str) -> str:
    """``2026-11-26T09:30:00.125Z warning message``; ``time`` is aware."""
    stamp = time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{stamp} {level} {message}"


def pairs(values: Mapping[str, object]) -> str:
    """``key=value key=value`` on one line, each value as JSON unless it is a plain word."""
    return " ".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: object) -> str:
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    text = str(value)
    if text.isprintable():
        plain = text and not any(c in ' "=' for c in text)
        return text if plain else json.dumps(text, ensure_ascii=False)
    return json.dumps(text)


class Said:
    """Keys and values of one record of ``logging``, written out only where the record is."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def __str__(self) -> str:
        return pairs(self._values)


def said(**values: object) -> Said:
    """``log.warning("stream refused %s", said(node=name, reason=error))``: the message stays."""
    return Said(values)


class LineFormatter(logging.Formatter):
    """Records of ``logging`` as such lines; another library's name its logger."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if not record.name.startswith(OURS):
            message = f"{message} {pairs({'logger': record.name})}"
        time = datetime.fromtimestamp(record.created, UTC)
        text = line(time, record.levelname.lower(), message)
        if record.exc_info:  # a defect: its traceback stands on lines of its own
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return text


def log_to_stderr(level: int) -> None:
    """Every record of ``logging`` from this level on goes to stderr in this form."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler])
