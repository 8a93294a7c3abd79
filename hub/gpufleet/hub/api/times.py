"""Times at the door: RFC 3339, Unix seconds or relative in, RFC 3339 UTC out."""

from __future__ import annotations

import re
from datetime import UTC, datetime

MAX_TIME_MS = 253_402_300_799_000
"""The end of the year 9999: later times have no RFC 3339 form."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_RELATIVE = re.compile(r"(?:now)?([-+])(\d{1,9})([smhdw])", re.ASCII)
_UNIX = re.compile(r"-?\d{1,15}(?:\.\d{1,9})?", re.ASCII)


class TimeError(ValueError):
    """A text that is no time. One sentence."""


def parse_time(text: str, now_ms: int) -> int:
    """Unix milliseconds of a time as people write it. Raises TimeError."""
    text = text.strip()
    if text == "now":
        return now_ms
    if relative := _RELATIVE.fullmatch(text):
        away = int(relative[2]) * _UNITS[relative[3]] * 1000
        moment = now_ms - away if relative[1] == "-" else now_ms + away
    elif _UNIX.fullmatch(text):
        moment = round(float(text) * 1000)
    else:
        moment = _rfc3339(text)
    if not 0 <= moment <= MAX_TIME_MS:
        raise TimeError(f"{text[:60]!r} is not between the years 1970 and 9999.")
    return moment


def _rfc3339(text: str) -> int:
    sentence = (
        f"{text[:60]!r} is not a time: write RFC 3339 (2026-03-01T12:00:00Z),"
        " Unix seconds, or relative to now (-1h, +2h)."
    )
    if len(text) > 40:
        raise TimeError(sentence)
    if "T" in text:
        text = text.replace(" ", "+")  # what an unescaped + of a URL becomes
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise TimeError(sentence) from None
    if moment.tzinfo is None:
        raise TimeError(f"{text!r} does not say its time zone: end it with Z for UTC.")
    try:
        return round(moment.timestamp() * 1000)
    except (OverflowError, ValueError):
        raise TimeError(sentence) from None


def format_ms(moment_ms: int | None) -> str | None:
    """RFC 3339 UTC of Unix milliseconds: ``2026-03-01T12:00:00.250Z``; ``None`` stays ``None``."""
    if moment_ms is None or not 0 <= moment_ms <= MAX_TIME_MS:
        return None
    seconds, milliseconds = divmod(moment_ms, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{milliseconds:03d}Z" if milliseconds else f"{text}Z"
