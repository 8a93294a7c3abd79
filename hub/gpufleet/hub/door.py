"""Bounds of what agents say: each check gives back what is sound or refuses with one sentence."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gpufleet.hub.wire import WireError, check_subject

MAX_JSON = 65_536
MAX_DEPTH = 16
"""Deeper JSON cannot be written out again by every reader; the detail document needs four."""
MAX_INDEX = 65_535
MAX_TIME_MS = 253_402_300_799_000
"""The end of the year 9999: no later time can be shown."""
MAX_SEQ = 1 << 62
"""More than any agent counts to; databases hold 63 bits."""
_TICK_UNIT_MS = 1000
"""Every interval is a multiple of it: an hour has at most 3,600 ticks of a subject."""
_EPOCH_AHEAD_MS = 1 << 42

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def text(value: str, limit: int, what: str) -> str:
    """A text without control characters, which terminals and SQL would act on."""
    if len(value) > limit:
        raise WireError(f"{what} is {len(value)} characters long; {limit} are allowed.")
    return plain(value)


def plain(value: str) -> str:
    """A text with a space for each control character."""
    return value if value.isprintable() else _CONTROL.sub(" ", value)


def shortened(value: str, limit: int) -> str:
    """A sentence for people: too long a one is cut, since the record with it would never go."""
    return plain(value if len(value) <= limit else value[: limit - 1] + "…")


def json_object(value: str, what: str) -> dict[str, Any]:
    """The object in a JSON text; {} for an empty one."""
    if len(value) > MAX_JSON:
        raise WireError(f"{what} is {len(value)} bytes long; {MAX_JSON} are allowed.")
    if not value:
        return {}
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise WireError(f"{what} is not JSON.") from None
    if not isinstance(found, dict):
        raise WireError(f"{what} is not a JSON object.")
    return {plain(key): _sound(item, what, 1) for key, item in found.items()}


def _sound(value: Any, what: str, depth: int) -> Any:
    if isinstance(value, str):
        return plain(value)
    if not isinstance(value, dict | list):
        return value
    if depth >= MAX_DEPTH:
        raise WireError(f"{what} is nested more than {MAX_DEPTH} deep.")
    if isinstance(value, list):
        return [_sound(item, what, depth + 1) for item in value]
    return {plain(key): _sound(item, what, depth + 1) for key, item in value.items()}


def time_ms(value: int, what: str) -> int:
    """A time between 1970 and 9999."""
    if not 0 <= value <= MAX_TIME_MS:
        raise WireError(f"{what} has a time that is not between the years 1970 and 9999: {value}.")
    return value


def subject(kind: str, key: str) -> tuple[str, str]:
    """The (kind, key) of a subject."""
    check_subject(kind, key)
    return kind, key


def epoch(value: int, node: str, now_ms: int) -> int:
    """An epoch: a time in milliseconds, though perhaps of a clock far ahead."""
    if not 0 < value < now_ms + _EPOCH_AHEAD_MS:
        raise WireError(f"The epoch {value} of node {node} is no time in milliseconds.")
    return value


def count(said: int, seq: int, held: int) -> int:
    """How many records end with ``seq``; a message says so or means one."""
    number = max(1, said)
    if number != held:
        raise WireError(f"A message of {number} records holds {held}.")
    if not number <= seq < MAX_SEQ:
        raise WireError(f"A message of {number} records cannot end with sequence number {seq}.")
    return number


def ticks(times: NDArray[np.int64]) -> None:
    """Refuse what is no tick (``times`` increase, and their future is not judged here)."""
    if times[0] < 0:
        raise WireError("A batch has ticks before 1970.")
    if (times % _TICK_UNIT_MS).any():
        raise WireError("A batch has ticks that are not at whole seconds.")
