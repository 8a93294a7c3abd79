"""Tokens of the filter language, each with its place in the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from gpufleet.client.nearest import ended

MAX_LENGTH = 2000
"""Characters of a filter."""

OPERATORS = ("~=", "!=", "<=", ">=", "==", "=", "<", ">")
_BREAKS = frozenset("()&|!=<>~\"', \t\r\n")


class FilterError(ValueError):
    """A filter that cannot be understood. ``position`` counts characters from 1."""

    def __init__(self, sentence: str, position: int) -> None:
        super().__init__(ended(f"Filter, character {position}: {sentence}"))
        self.position = position


class TokenKind(Enum):
    """What a token is."""

    WORD = "word"
    QUOTED = "quoted"
    OPERATOR = "operator"
    OPEN = "("
    CLOSE = ")"
    AND = "and"
    OR = "or"
    NOT = "not"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token; ``position`` counts characters from 1."""

    kind: TokenKind
    text: str
    position: int


_WORDS = {"and": TokenKind.AND, "or": TokenKind.OR, "not": TokenKind.NOT}
_SIGNS = {
    "(": TokenKind.OPEN,
    ")": TokenKind.CLOSE,
    "&": TokenKind.AND,
    "|": TokenKind.OR,
    "!": TokenKind.NOT,
}


def tokens(text: str) -> Iterator[Token]:
    """Every token, END last. Raises FilterError."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"a filter has at most {MAX_LENGTH} characters", MAX_LENGTH)
    at = 0
    while at < len(text):
        char = text[at]
        if char in " \t\r\n":
            at += 1
        elif operator := next((o for o in OPERATORS if text.startswith(o, at)), None):
            yield Token(TokenKind.OPERATOR, operator, at + 1)
            at += len(operator)
        elif char in _SIGNS:
            width = 2 if char in "&|" and text.startswith(char * 2, at) else 1
            yield Token(_SIGNS[char], text[at : at + width], at + 1)
            at += width
        elif char in "\"'":
            value, end = _quoted(text, at)
            yield Token(TokenKind.QUOTED, value, at + 1)
            at = end
        elif char not in _BREAKS:
            word, end = _word(text, at)
            yield Token(_WORDS.get(word.lower(), TokenKind.WORD), word, at + 1)
            at = end
        else:
            hint = "; write ~= for contains" if char == "~" else ""
            raise FilterError(f"{char!r} is not understood here{hint}", at + 1)
    yield Token(TokenKind.END, "", len(text) + 1)


def _word(text: str, start: int) -> tuple[str, int]:
    """A word; one that ends in a dot goes on with quotes: ``label."a key"``."""
    end = start
    while end < len(text) and text[end] not in _BREAKS:
        end += 1
    word = text[start:end]
    if word.endswith(".") and end < len(text) and text[end] in "\"'":
        rest, end = _quoted(text, end)
        word += rest
    return word, end


def _quoted(text: str, start: int) -> tuple[str, int]:
    """The text between quotes, where a backslash takes the next character as it is."""
    quote, at = text[start], start + 1
    value: list[str] = []
    while at < len(text):
        if text[at] == quote:
            return "".join(value), at + 1
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        value.append(text[at])
        at += 1
    raise FilterError(f"the quote {quote} that begins here is not closed", start + 1)
