"""Lines of the Prometheus text format 0.0.4, a family at a time, made by C loops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def escape(text: str) -> str:
    """A label's value as the format wants it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def head(name: str, kind: str, text: str) -> bytes:
    """HELP and TYPE of a family; lines of ``samples`` follow."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}".encode()


def samples(name: str, labels: Sequence[str], values: Iterable[str], more: str = "") -> bytes:
    """A line a value, each beginning with its newline; ``more`` are labels that all lines have."""
    parts = ["\n" + name + "{"] * (4 * len(labels))
    parts[1::4] = labels
    parts[2::4] = [more + "} "] * len(labels)
    parts[3::4] = values
    return "".join(parts).encode("utf-8", "replace")


def gauge(
    name: str, text: str, labels: Sequence[str], values: Iterable[str], more: str = ""
) -> list[bytes]:
    """A whole gauge; nothing where there is no line.

    Labels and values are two lists and never a list of pairs: tens of thousands of short-lived
    tuples a render made the garbage collector walk the whole heap, a third of the render's time.
    """
    if not labels:
        return []
    return [head(name, "gauge", text), samples(name, labels, values, more), b"\n"]


def label_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """Labels behind others; one without a text is none."""
    return "".join(f',{name}="{escape(text)}"' for name, text in pairs if text)


def fact_labels(facts: Mapping[str, Any], names: Iterable[str]) -> str:
    """Labels of the facts that are there; a fact that is no scalar is none."""
    found = ((name, facts.get(name)) for name in names)
    return label_pairs([(name, str(v)) for name, v in found if isinstance(v, str | int | float)])


class Numerals(dict[float, str]):
    """Texts of floats that come again and again (ratios have 1001 values), made once."""

    def __missing__(self, value: float) -> str:
        if len(self) > 20_000:
            self.clear()
        text = self[value] = repr(value)
        return text
