"""JSON bodies: fast for what is sound, harmless for what a hostile node sent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

_INT64 = 1 << 63
_MAX_DEPTH = 60


def encode(document: Any) -> bytes:
    """JSON of a document; NaN and infinities become null, unpaired surrogates ``\\ufffd``."""
    try:
        return orjson.dumps(document, default=_plain)
    except (orjson.JSONEncodeError, RecursionError):
        return orjson.dumps(_sound(document, 0))


def encoded_line(document: Any) -> bytes:
    """A whole answer: the document on a line of its own, as a terminal wants it."""
    return encode(document) + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _sound(value: Any, depth: int) -> Any:
    """The same document with what JSON cannot hold made holdable."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_sound(str(k), depth): _sound(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_sound(item, depth + 1) for item in value]
    if isinstance(value, int) and not -_INT64 <= value < 2 * _INT64:
        return float(value) if abs(value) < 10**300 else None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
