"""Expressions: whatever is written is a tree or a told mistake, and Kleene's logic holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.alerting.rules.evaluate import Round, World
from gpufleet.alerting.rules.parse import FUNCTIONS, parse
from gpufleet.alerting.rules.tokens import ExpressionError
from gpufleet.alerting.state import Scope
from gpufleet.hub.alert_names import alert_schema

SCHEMA = alert_schema()
WORDS = (
    *("temperature_celsius", "power_watts", "throttle_reasons", "health", "hw_thermal_slowdown"),
    *("and", "or", "not", "(", ")", ",", "<", ">=", "==", "!=", "+", "-", "*", "/", "!", "5m"),
    *("0", "80", "1e400", "1e308", "90%", "0xffffffffffffffffff", "99999999999w", "0s", '"x"'),
    *(f"{name}(" for name in FUNCTIONS),
)


def _holds(text: str, temperature: float, power: float) -> bool | None:
    """Of one GPU with these two values; NaN is absent, as None is the answer not known."""
    condition = parse(text, SCHEMA, Scope.GPU)
    world = World(SCHEMA, 1)
    world.prepare(condition)
    values = np.full((len(SCHEMA.metrics), 1), np.nan)
    values[SCHEMA.metrics["temperature_celsius"].row] = temperature
    values[SCHEMA.metrics["power_watts"].row] = power
    true, false = Round(world, np.array([0]), np.array([1000]), values).condition(condition)
    assert not (true & false).any()
    return True if true[0] else False if false[0] else None


@given(st.lists(st.sampled_from(WORDS), max_size=12), st.sampled_from(Scope))
def test_any_words_are_an_expression_that_evaluates_or_a_told_mistake(
    words: list[str], scope: Scope
) -> None:
    text = " ".join(words)
    try:
        condition = parse(text, SCHEMA, scope)
    except ExpressionError:
        return
    world = World(SCHEMA, 2)
    world.prepare(condition)
    values = np.ones((len(SCHEMA.metrics), 2))
    look = Round(world, np.arange(2), np.full(2, 1000), values)
    look.remember()
    true, false = look.condition(condition)
    assert not (true & false).any()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("temperature_celsius > 1e400", "too large"),
        ("bit(throttle_reasons, 1e400)", "too large"),
        ("bit(throttle_reasons, 0xffffffffffffffffffff)", "too large"),
        ("bit(throttle_reasons, 1e30)", "A whole number up to"),
        ("bit(throttle_reasons, 1.5)", "A whole number up to"),
        ("xid(1e10, 1h)", "A whole number up to 65535"),
        ("xid(0s)", "A window is from 1s to 7d"),
        ("xid(99999999999w)", "A window is from 1s to 7d"),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused(text: str, told: str) -> None:
    with pytest.raises(ExpressionError, match=told):
        parse(text, SCHEMA, Scope.GPU)


ABSENT = float("nan")


@pytest.mark.parametrize(
    ("text", "temperature", "power", "held"),
    [
        ("temperature_celsius > 80 and power_watts > 100", 90, ABSENT, None),
        ("temperature_celsius > 80 and power_watts > 100", 70, ABSENT, False),
        ("temperature_celsius > 80 or power_watts > 100", 90, ABSENT, True),
        ("temperature_celsius > 80 or power_watts > 100", 70, ABSENT, None),
        ("not temperature_celsius > 80", ABSENT, 1, None),
        ("temperature_celsius != 80", ABSENT, 1, None),
        ("temperature_celsius / power_watts > 1", 90, 0, None),
        ("temperature_celsius > 2 + 3 * 4 - 6 / 2", 12, 1, True),
        ("temperature_celsius > 2 + 3 * 4 - 6 / 2", 11, 1, False),
        ("not temperature_celsius > 80 and power_watts > 100", 70, 200, True),
        ("temperature_celsius > 80 or power_watts > 1 and power_watts < 0", 90, 5, True),
        ("temperature_celsius > -power_watts", -5, 6, True),
    ],
)
def test_what_is_absent_stays_unknown_and_operators_bind_as_told(
    text: str, temperature: float, power: float, held: bool | None
) -> None:
    assert _holds(text, temperature, power) is held
