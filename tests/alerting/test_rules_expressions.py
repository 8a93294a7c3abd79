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
    for sampled in (True, False):
        look.remember(sampled=sampled)
    true, false = look.condition(condition)
    assert not (true & false).any()


_METRICS = st.sampled_from(["temperature_celsius", "power_watts", "health", "process_count"])
_WINDOWS = st.builds(
    "{}({}, 5m)".format,
    st.sampled_from(["avg", "min", "max", "stddev", "delta"]),
    st.sampled_from(["temperature_celsius", "energy_joules_total", "health"]),
)
_NUMBERS = st.recursive(
    _METRICS | _WINDOWS | st.integers(-200, 200).map(str),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner),
    max_leaves=5,
)
_COMPARISONS = st.builds(
    "{} {} {}".format,
    _METRICS | _WINDOWS,
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    _NUMBERS,
)
_FLAGS = st.sampled_from(
    [
        *("bit(throttle_reasons, hw_slowdown)", "xid(79, 48, 1h)", "xid(1h)", "missing()"),
        *("power_step()", "power_unreadable()", "telemetry_frozen()", "nvlink_down()"),
    ]
)
_CONDITIONS = st.recursive(
    _COMPARISONS | _FLAGS,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("not {}".format, inner)
        | st.builds("was({})".format, inner)
        | st.builds("share({}, 10m) > 0.5".format, inner)
    ),
    max_leaves=6,
)


@given(_CONDITIONS, st.lists(st.floats(-1e3, 1e3) | st.just(float("nan")), min_size=4, max_size=4))
def test_any_expression_of_the_language_evaluates_by_either_clock(
    text: str, readings: list[float]
) -> None:
    condition = parse(text, SCHEMA, Scope.GPU)
    world = World(SCHEMA, 2)
    world.prepare(condition)
    values = np.resize(readings, (len(SCHEMA.metrics), 2))
    for second in range(3):
        look = Round(world, np.arange(2), np.full(2, 1000 * second), values)
        for sampled in (True, False):
            look.remember(sampled=sampled)
        true, false = look.condition(condition)
        assert not (true & false).any()
        assert true.shape == false.shape == (2,)
        if true.any():  # what is skipped as certainly false is false
            fresh = Round(world, np.arange(2), np.full(2, 1000 * second), values)
            assert fresh.holds_somewhere(condition)
        for sampled in (True, False):
            look.latch(sampled=sampled)
    world.keep_only([])
    assert not world.bins
    assert not world.was


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
        ("xid(79 80, 1h)", "',' is expected, not '80'"),
        ("xid(79)", "',' is expected, not '\\)'"),
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
