"""Texts of a rule with ``{fields}`` in them: replaced by plain values, never run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

FIELDS = (
    *("alertname", "severity", "node", "gpu", "model", "uuid", "value", "threshold", "metric"),
    *("duration", "for", "users", "count", "peak"),
)
"""Every field that a text may name; ``{label.NAME}`` besides."""

_FIELD = re.compile(r"\{([A-Za-z_][\w.]*)\}")


def unknown_fields(text: str) -> Iterator[str]:
    """Fields in ``text`` that nobody fills."""
    for name in _FIELD.findall(text):
        if name not in FIELDS and not name.startswith("label."):
            yield name


def filled(text: str, values: Mapping[str, str]) -> str:
    """``text`` with its fields filled; one that is not known becomes ``?``."""
    return _FIELD.sub(lambda match: values.get(match[1]) or "?", text)
