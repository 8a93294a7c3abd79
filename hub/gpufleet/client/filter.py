"""The filter language: ``temp>85 & node~=dgx`` parsed into a tree.

One grammar for the hub and for the clients (docs/api.md tells it to users)::

    or    = and { ("or" | "|" | "||") and }
    and   = not { ("and" | "&" | "&&") not }
    not   = ("not" | "!") not | "(" or ")" | "missing" "(" FIELD ")" | FLAG | FIELD OP VALUE
    OP    = "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "~="

A comparison with an absent value is false, whichever its operator.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from gpufleet.client.fields import Field, FieldKind, Fields, Named, UnknownField
from gpufleet.client.filter_tokens import FilterError, Token, TokenKind, tokens
from gpufleet.client.nearest import hint

__all__ = ["And", "Comparison", "Expr", "FilterError", "Flag", "Missing", "Not", "Or", "parse"]

MAX_DEPTH = 40
MAX_TERMS = 200


@dataclass(frozen=True, slots=True)
class Comparison:
    """``field op value``; the value is a number for NUMBER, a text for TEXT and SET, else bool."""

    field: Field
    op: str
    value: float | str | bool
    position: int


@dataclass(frozen=True, slots=True)
class Flag:
    """A field of kind FLAG that stands alone: true where the flag is."""

    field: Field
    position: int


@dataclass(frozen=True, slots=True)
class Missing:
    """True where the field is absent."""

    field: Field
    position: int


@dataclass(frozen=True, slots=True)
class Not:
    """True where the term is not."""

    term: Expr


@dataclass(frozen=True, slots=True)
class And:
    """True where every term is."""

    terms: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where a term is."""

    terms: tuple[Expr, ...]


Expr = Comparison | Flag | Missing | Not | And | Or


def parse(text: str, fields: Fields) -> Expr | None:
    """The tree of a filter, ``None`` for an empty one. Raises FilterError, one sentence."""
    parser = _Parser(list(tokens(text)), fields)
    return parser.whole()


class _Parser:
    def __init__(self, found: list[Token], fields: Fields) -> None:
        self._tokens = found
        self._fields = fields
        self._at = 0
        self._depth = 0
        self._terms = 0

    def whole(self) -> Expr | None:
        if self._peek().kind is TokenKind.END:
            return None
        expr = self._or()
        rest = self._peek()
        if rest.kind is TokenKind.CLOSE:
            raise FilterError("this ) has no (", rest.position)
        if rest.kind is not TokenKind.END:
            raise FilterError(f"expected 'and' or 'or' before {rest.text[:60]!r}", rest.position)
        return expr

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        if token.kind is not TokenKind.END:
            self._at += 1
        return token

    def _or(self) -> Expr:
        terms = [self._and()]
        while self._peek().kind is TokenKind.OR:
            self._take()
            terms.append(self._and())
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _and(self) -> Expr:
        terms = [self._not()]
        while self._peek().kind is TokenKind.AND:
            self._take()
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _not(self) -> Expr:
        token = self._peek()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterError(f"more than {MAX_DEPTH} levels of nesting", token.position)
        try:
            if token.kind is TokenKind.NOT:
                self._take()
                return Not(self._not())
            if token.kind is TokenKind.OPEN:
                self._take()
                inner = self._or()
                self._close(token)
                return inner
            return self._term()
        finally:
            self._depth -= 1

    def _close(self, opened: Token) -> None:
        token = self._take()
        if token.kind is not TokenKind.CLOSE:
            raise FilterError(
                f"expected ) for the ( at character {opened.position}", token.position
            )

    def _term(self) -> Expr:
        token = self._take()
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise FilterError(f"more than {MAX_TERMS} comparisons", token.position)
        if token.kind is not TokenKind.WORD:
            found = f"found {token.text!r}" if token.text else "the filter ends"
            raise FilterError(f"expected a field name, but {found}", token.position)
        if token.text.lower() == "missing" and self._peek().kind is TokenKind.OPEN:
            opened = self._take()
            name = self._take()
            if name.kind is not TokenKind.WORD:
                raise FilterError("expected a field name in missing()", name.position)
            self._close(opened)
            return Missing(self._field(name).field, token.position)
        named = self._field(token)
        if self._peek().kind is not TokenKind.OPERATOR:
            if named.field.kind is FieldKind.FLAG:
                return Flag(named.field, token.position)
            raise FilterError(
                f"expected = != < <= > >= or ~= after {token.text[:60]!r}", self._peek().position
            )
        operator = self._take()
        value = self._take()
        if value.kind not in (TokenKind.WORD, TokenKind.QUOTED):
            raise FilterError(f"expected a value after {operator.text!r}", value.position)
        return _comparison(named, operator, value, token.position)

    def _field(self, token: Token) -> Named:
        try:
            return self._fields.find(token.text)
        except UnknownField as error:
            raise FilterError(str(error), token.position) from None


def _comparison(named: Named, operator: Token, value: Token, position: int) -> Comparison:
    field, op = named.field, "=" if operator.text == "==" else operator.text
    if field.kind is FieldKind.NUMBER:
        if op == "~=":
            raise FilterError(f"~= is for texts, and {field.name} is a number", operator.position)
        return Comparison(field, op, _number(named, value), position)
    if field.kind is FieldKind.FLAG:
        if op not in ("=", "!=") or value.text.lower() not in ("true", "false"):
            raise FilterError(f"{field.name} is compared with =true or =false", operator.position)
        return Comparison(field, op, value.text.lower() == "true", position)
    if op not in ("=", "!=", "~="):
        raise FilterError(f"{op} is for numbers, and {field.name} is a text", operator.position)
    return Comparison(field, op, value.text, position)


_NUMBER = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d{1,3})?)([kMGT]i?B?|%)?", re.ASCII)
_FACTORS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"k": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _number(named: Named, value: Token) -> float:
    field = named.field
    if value.text.lower() in field.words:
        return field.words[value.text.lower()]
    match = _NUMBER.fullmatch(value.text)
    if match is None or not math.isfinite(number := float(match[1])):
        if field.words:
            near = hint(value.text, field.words)
            names = ", ".join(field.words)
            sentence = f"{field.name} is a number or one of {names}, not {value.text[:60]!r}{near}"
        else:
            sentence = f"{field.name} is a number, not {value.text[:60]!r}"
            if begun := _NUMBER.match(value.text):
                sentence += f"; write {begun[0]} without a unit"
        raise FilterError(sentence, value.position)
    suffix = match[2]
    if suffix == "%":
        if not field.ratio:
            raise FilterError(f"% is for ratios, and {field.name} is none", value.position)
        return number / 100
    if suffix is not None:
        number *= (_BINARY if "i" in suffix else _FACTORS)[suffix[0]]
    return number / named.divisor
