"""The notation of promtool for series of values: ``80x12``, ``20+5x10``, ``_x3``, ``stale``."""

from __future__ import annotations

import re

MAX_VALUES = 100_000

_WORD = re.compile(
    r"(?P<first>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|_|stale|NaN)"
    r"(?:(?P<step>[-+](?:\d+\.?\d*|\.\d+))?x(?P<times>\d+))?"
)


class SeriesError(ValueError):
    """A text that is no series; one sentence."""


def values_of(text: str) -> list[float | None]:
    """The values in order; ``None`` where there is no sample.

    ``a+bxn`` is a, a+b … a+n·b: n + 1 values, as promtool has it; ``_xn`` are n without a sample.
    """
    found: list[float | None] = []
    for word in text.split():
        match = _WORD.fullmatch(word)
        if match is None:
            raise SeriesError(f"{word[:40]!r} is no value: write 80, 80x12, 20+5x10, _ or _x3.")
        times = int(match["times"] or 0)
        if len(found) + times > MAX_VALUES:
            raise SeriesError(f"A series has at most {MAX_VALUES} values.")
        if match["first"] in ("_", "stale", "NaN"):
            found += [None] * max(1, times)
            continue
        first, step = float(match["first"]), float(match["step"] or 0)
        found += [first + step * i for i in range(times + 1)]
    return found
