"""Splits an expression into tokens, each with its place."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass


class ExpressionError(ValueError):
    """An expression that cannot be understood. ``position`` counts characters from 0."""

    def __init__(self, sentence: str, position: int) -> None:
        super().__init__(sentence)
        self.position = position


@dataclass(frozen=True, slots=True)
class Token:
    """``kind`` is number, duration, name, text, op or end."""

    kind: str
    text: str
    position: int


MAX_HEX = len("0x") + 16
"""64 bits."""
DURATION = re.compile(r"(?:\d+(?:ms|[smhdw]))+")
_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_TOKEN = re.compile(
    r"\s*(?:"
    r"(?P<duration>(?:\d+(?:ms|[smhdw]))+\b)"
    r"|(?P<number>0[xX][0-9a-fA-F]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?:%|[kMGT]i?\b)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\"(?P<text>[^\"\n]*)\""
    r"|(?P<op><=|>=|==|!=|&&|\|\||[-+*/()<>=!,&|])"
    r")"
)
_SCALES = {
    "%": 0.01,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}
_SAME = {"&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "=": "=="}


def tokens(text: str) -> list[Token]:
    """All tokens and an end; ExpressionError at what is none."""
    found: list[Token] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            place = at + len(text[at:]) - len(text[at:].lstrip())
            raise ExpressionError(f"{text[place]!r} means nothing here.", place)
        kind = match.lastgroup or "op"
        word = match.group(kind)
        if kind == "op":
            word = _SAME.get(word, word)
        found.append(Token(kind, word, match.start(kind)))
        at = match.end()
    found.append(Token("end", "", len(text)))
    return found


def number(token: Token) -> float:
    """The value of a number token, finite; ``%`` divides by a hundred, ``Gi`` is 2^30."""
    text = token.text
    if text[:2] in ("0x", "0X"):
        if len(text) > MAX_HEX:
            raise ExpressionError("This number is too large.", token.position)
        return float(int(text, 16))
    plain = text.rstrip("%kMGTi")
    value = float(plain) * _SCALES.get(text[len(plain) :], 1.0)
    if not math.isfinite(value):
        raise ExpressionError("This number is too large.", token.position)
    return value


def duration_ms(text: str) -> int | None:
    """``1h30m`` in milliseconds, ``None`` for what is no duration."""
    if not DURATION.fullmatch(text):
        return None
    return sum(int(n) * _MS[unit] for n, unit in re.findall(r"(\d+)(ms|[smhdw])", text))
