"""Parses the text of an expression into a tree: nothing of it is ever run as Python."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from gpufleet.alerting.rules.schema import Schema, nearest
from gpufleet.alerting.rules.tokens import ExpressionError, Token, duration_ms, number, tokens
from gpufleet.alerting.rules.tree import (
    And,
    Arithmetic,
    Bit,
    Compare,
    Condition,
    Const,
    Count,
    Fact,
    Flag,
    FlagName,
    Not,
    Number,
    Or,
    Reduction,
    Share,
    Value,
    Was,
    Window,
    Xid,
)
from gpufleet.alerting.state import Scope

MAX_CHARACTERS = 2000
MAX_TOKENS = 300
MAX_DEPTH = 24
MAX_XID = 65_535
MAX_MASK = (1 << 53) - 1
"""As far as a float tells single flags apart."""
MAX_WINDOW_MS = 7 * 86_400_000
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
FUNCTIONS = (
    *(reduction.value for reduction in Reduction),
    *("share", "bit", "xid", "was", "count_gpus"),
    *(flag.value for flag in FlagName),
)
"""Every function of the language (docs/alerts.md)."""

_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
"""Of ``80 < temperature_celsius`` the other way round."""
_NUMBERS = (Const, Value, Fact, Arithmetic, Window, Share, Count)


def parse(text: str, schema: Schema, scope: Scope) -> Condition:
    """The condition that ``text`` is; ExpressionError says what is wrong and where."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"An expression has at most {MAX_CHARACTERS} characters.", 0)
    found = tokens(text)
    if len(found) > MAX_TOKENS:
        raise ExpressionError(f"An expression has at most {MAX_TOKENS} words.", 0)
    parser = _Parser(found, schema, scope)
    condition = parser.condition()
    parser.end()
    return condition


class _Parser:
    def __init__(self, found: list[Token], schema: Schema, scope: Scope) -> None:
        self._tokens = found
        self._schema = schema
        self._scope = scope
        self._at = 0
        self._depth = 0

    # Reading tokens

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at += 1
        return token

    def _is(self, *texts: str) -> bool:
        return self._next.kind in ("op", "name") and self._next.text in texts

    def _accept(self, *texts: str) -> Token | None:
        return self._take() if self._is(*texts) else None

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._wrong(f"{text!r} is expected")

    def _wrong(self, what: str, token: Token | None = None) -> ExpressionError:
        token = token or self._next
        found = f", not {token.text!r}" if token.text else ", not the end"
        return ExpressionError(f"{what}{found}.", token.position)

    def end(self) -> None:
        if self._next.kind != "end":
            raise self._wrong("An operator or the end is expected")

    # Grammar

    def condition(self) -> Condition:
        """``or`` binds loosest, then ``and``, then ``not``, then comparisons."""
        place = self._next
        return self._as_condition(self._or(), place)

    def _or(self) -> Number | Condition:
        place = self._next
        first = self._and()
        if not self._is("or"):
            return first
        terms = [self._as_condition(first, place)]
        while self._accept("or"):
            place = self._next
            terms.append(self._as_condition(self._and(), place))
        return Or(tuple(terms))

    def _and(self) -> Number | Condition:
        place = self._next
        first = self._not()
        if not self._is("and"):
            return first
        terms = [self._as_condition(first, place)]
        while self._accept("and"):
            place = self._next
            terms.append(self._as_condition(self._not(), place))
        return And(tuple(terms))

    def _not(self) -> Number | Condition:
        if self._accept("not"):
            place = self._next
            before = self._deeper(place)
            inner = self._as_condition(self._not(), place)
            self._depth = before
            return Not(inner)
        return self._comparison()

    def _comparison(self) -> Number | Condition:
        place = self._next
        left = self._sum()
        compared = self._accept(*COMPARISONS)
        if compared is None:
            return left
        left_number = self._as_number(left, place)
        place = self._next
        right = self._as_number(self._sum(), place)
        if self._is(*COMPARISONS):
            raise self._wrong("Join comparisons with 'and': an operator is not expected")
        if isinstance(left_number, Const) and isinstance(right, Const):
            raise ExpressionError("This compares two fixed numbers.", place.position)
        op = compared.text
        if isinstance(left_number, Const):
            left_number, right, op = right, left_number, _TURNED.get(op, op)
        self._check_ratio(left_number, right, place)
        return Compare(op, left_number, right)

    def _check_ratio(self, left: Number, right: Number, token: Token) -> None:
        """A ratio is 0 to 1, and a percentage is no temperature."""
        if not isinstance(left, Value | Window) or not isinstance(right, Const):
            return
        name = left.name if isinstance(left, Value) else left.metric
        ratio = self._schema.metrics[name].unit == "ratio"
        if ratio and right.value > 1:
            text = f"{name} is a ratio from 0 to 1: write 0.9 or 90%."
            raise ExpressionError(text, token.position)
        if not ratio and token.text.endswith("%"):
            raise ExpressionError(f"{name} is no ratio: no % here.", token.position)

    def _sum(self) -> Number | Condition:
        return self._binary(("+", "-"), self._product)

    def _product(self) -> Number | Condition:
        return self._binary(("*", "/"), self._factor)

    def _binary(
        self, operators: tuple[str, str], below: Callable[[], Number | Condition]
    ) -> Number | Condition:
        place = self._next
        left = below()
        while found := self._accept(*operators):
            left_number = self._as_number(left, place)
            place = self._next
            right = self._as_number(below(), place)
            left = _folded(found.text, left_number, right)
        return left

    def _factor(self) -> Number | Condition:
        token = self._take()
        if token.kind == "number":
            return Const(number(token))
        if token.kind == "name":
            return self._call(token) if self._is("(") else self._name(token)
        if token.text == "-":
            place = self._next
            return _folded("-", Const(0.0), self._as_number(self._factor(), place))
        if token.text == "(":
            before = self._deeper(token)
            inner = self._or()
            self._expect(")")
            self._depth = before
            return inner
        if token.kind == "duration":
            raise ExpressionError(
                f"A duration ({token.text}) stands only as a window: avg(m, {token.text}).",
                token.position,
            )
        raise self._wrong("A number, a name or '(' is expected", token)

    def _deeper(self, token: Token) -> int:
        before = self._depth
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"More than {MAX_DEPTH} levels of brackets.", token.position)
        return before

    def _name(self, token: Token) -> Number:
        name = token.text
        metric = self._schema.metrics.get(name)
        if metric is not None:
            if self._scope not in metric.scopes:
                kinds = " and ".join(sorted(scope.value for scope in metric.scopes))
                raise ExpressionError(
                    f"{name} is a metric of scope {kinds}, and this rule's scope is"
                    f" {self._scope.value}.",
                    token.position,
                )
            return Value(name)
        if name in self._schema.facts:
            return Fact(name)
        known = [*self._schema.names(self._scope), *(f"{name}()" for name in FUNCTIONS)]
        raise ExpressionError(f"There is no metric {name!r}.{nearest(name, known)}", token.position)

    # Functions

    def _call(self, token: Token) -> Number | Condition:
        name = token.text
        before = self._deeper(token)
        self._expect("(")
        node = self._arguments(name, token)
        self._expect(")")
        self._depth = before
        return node

    def _arguments(self, name: str, token: Token) -> Number | Condition:
        if name in {reduction.value for reduction in Reduction}:
            metric = self._metric()
            return Window(Reduction(name), metric, self._window())
        if name == "share":
            condition = self.condition()
            return Share(condition, self._window())
        if name == "was":
            return Was(self.condition())
        if name == "bit":
            return self._bit()
        if name == "xid":
            self._only(Scope.GPU, token)
            return self._xid()
        if name == "count_gpus":
            return self._count(token)
        if name in {flag.value for flag in FlagName}:
            return self._flag(FlagName(name), token)
        raise ExpressionError(
            f"There is no function {name!r}.{nearest(name, FUNCTIONS)}", token.position
        )

    def _metric(self) -> str:
        token = self._take()
        if token.kind != "name":
            raise self._wrong("The name of a metric is expected", token)
        node = self._name(token)
        if not isinstance(node, Value):
            raise ExpressionError(f"{token.text} is no metric, it does not change.", token.position)
        return node.name

    def _window(self) -> int:
        self._expect(",")
        return self._bounded(self._take())

    def _bounded(self, token: Token) -> int:
        window = duration_ms(token.text) if token.kind == "duration" else None
        if window is None:
            raise self._wrong("A window is expected, such as 5m", token)
        if not 1000 <= window <= MAX_WINDOW_MS:
            raise ExpressionError("A window is from 1s to 7d.", token.position)
        return window

    def _whole(self, token: Token, most: int) -> int:
        value = number(token)
        if value != int(value) or value > most:
            raise ExpressionError(f"A whole number up to {most} is expected.", token.position)
        return int(value)

    def _bit(self) -> Bit:
        name = self._metric()
        metric = self._schema.metrics[name]
        if not metric.bits:
            raise self._wrong(f"{name} has no flags: bit() is for metrics of bits")
        mask = 0
        while self._accept(","):
            token = self._take()
            if token.kind == "number":
                mask |= self._whole(token, MAX_MASK)
            elif token.text in metric.bits:
                mask |= metric.bits[token.text]
            else:
                raise ExpressionError(
                    f"{name} has no flag {token.text!r}.{nearest(token.text, metric.bits)}",
                    token.position,
                )
        if not mask:
            raise self._wrong(f"bit() wants a flag: bit({name}, {next(iter(metric.bits))})")
        return Bit(name, mask)

    def _xid(self) -> Xid:
        if self._next.kind == "duration":
            return Xid((), self._bounded(self._take()))
        codes: list[int] = []
        while self._next.kind == "number":
            codes.append(self._whole(self._take(), MAX_XID))
            self._expect(",")
        if not codes:
            raise self._wrong("xid() wants codes and a window: xid(79, 1h) or xid(1h)")
        return Xid(tuple(codes), self._bounded(self._take()))

    def _flag(self, name: FlagName, token: Token) -> Flag:
        if name is FlagName.HUNG:
            self._only(Scope.NODE, token)
        elif name is not FlagName.MISSING:
            self._only(Scope.GPU, token)
        elif self._scope is Scope.MIG:
            raise ExpressionError("missing() is for rules of scope gpu or node.", token.position)
        return Flag(name)

    def _only(self, scope: Scope, token: Token) -> None:
        if self._scope is not scope:
            text = f"{token.text}() is for rules of scope {scope.value}."
            raise ExpressionError(text, token.position)

    def _count(self, token: Token) -> Count:
        self._only(Scope.NODE, token)
        self._scope = Scope.GPU
        try:
            return Count(self.condition())
        finally:
            self._scope = Scope.NODE

    # Types

    def _as_condition(self, node: Number | Condition, token: Token) -> Condition:
        if isinstance(node, _NUMBERS):
            raise ExpressionError(
                "This is a number, and a condition is expected: compare it, such as '> 80'.",
                token.position,
            )
        return node

    def _as_number(self, node: Number | Condition, token: Token) -> Number:
        if not isinstance(node, _NUMBERS):
            raise ExpressionError("This is a condition, and a number is expected.", token.position)
        return node


_FOLDS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def _folded(op: str, left: Number, right: Number) -> Number:
    """Fixed numbers are worked out once."""
    if isinstance(left, Const) and isinstance(right, Const):
        a, b = left.value, right.value
        value = _FOLDS[op](a, b) if op != "/" or b else math.nan
        if math.isfinite(value):  # else it is absent, as at any evaluation
            return Const(value)
    return Arithmetic(op, left, right)
