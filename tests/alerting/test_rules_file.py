"""Rules files: what is read, and what every mistake is told as."""

from __future__ import annotations

import re

import pytest

from gpufleet.alerting.rules.defaults import default_rules
from gpufleet.alerting.rules.file import RulesError, read_rules
from gpufleet.alerting.rules.tree import Compare, Const, Value
from gpufleet.alerting.state import Scope, Severity
from gpufleet.hub.alert_names import alert_schema

SCHEMA = alert_schema()
SKEWED = "clock_skew_seconds > 5 or clock_skew_seconds < -5"


def _file(*lines: str) -> str:
    head = ["groups:", "  - name: g", "    rules:", "      - alert: Hot"]
    return "\n".join([*head, *(f"        {line}" for line in lines)])


def _problems(text: str) -> list[str]:
    with pytest.raises(RulesError) as caught:
        read_rules(text, SCHEMA, "rules.yml")
    return [str(problem) for problem in caught.value.problems]


def test_a_rule_is_read_whole() -> None:
    rules = read_rules(
        _file(
            "expr: temperature_celsius > 80",
            "for: 5m",
            "keep_firing_for: 1m30s",
            "clear: temperature_celsius < 75",
            "severity: critical",
            "max_gap: 2m",
            "match: [label.rack != r1, 'node ~= dgx*']",
            "labels: {team: infra}",
            "annotations: {summary: 'GPU {gpu} of {node} at {value}'}",
            "repeat: false",
        ),
        SCHEMA,
        "rules.yml",
    )
    (rule,) = rules.rules
    assert rule.condition == Compare(">", Value("temperature_celsius"), Const(80.0))
    assert (rule.for_ms, rule.keep_firing_ms, rule.max_gap_ms) == (300_000, 90_000, 120_000)
    assert rule.severity is Severity.CRITICAL
    assert rule.scope is Scope.GPU
    assert [(m.name, m.op, m.value) for m in rule.match] == [
        ("label.rack", "!=", "r1"),
        ("node", "~=", "dgx*"),
    ]
    assert rule.labels == {"team": "infra"}
    assert not rule.repeat


def test_the_default_rules_are_sound() -> None:
    rules = default_rules(SCHEMA)
    names = {rule.name for rule in rules.rules}
    assert {"GpuHot", "GpuMemoryFull", "GpuPowerStep", "AgentDown", "GpuLost"} <= names
    assert all(rule.summary for rule in rules.rules)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["expr: temprature_celsius > 80"],
            "line 5, column 15: expr: There is no metric 'temprature_celsius'."
            " Did you mean temperature_celsius?",
        ),
        (["expr: temperature_celsius"], "line 5, column 15: expr: This is a number, and a"),
        (["expr: temperature_celsius >"], "line 5, column 36: expr: A number, a name or '(' is"),
        (["expr: avg(temperature_celsius, 5x) > 1"], "line 5, column 40: expr: A window is expec"),
        (["expr: bit(throttle_reasons, hw_termal_slowdown)"], "no flag 'hw_termal_slowdown'. Did"),
        (["expr: __import__('os').system('id') > 0"], 'line 5, column 26: expr: "\'" means noth'),
        (["expr: host_load1 > 3"], "is a metric of scope node, and this rule's scope is gpu."),
        (["expr: count_gpus(health > 1) > 2"], "count_gpus() is for rules of scope node."),
        (["expr: temperature_celsius > 80", "four: 5m"], "line 6, column 15: four: There is no fi"),
        (
            ["expr: temperature_celsius > 80", "for: soon"],
            "line 6, column 14: for: 'soon' is no",
        ),
        (
            ["expr: temperature_celsius > 80", "severity: bad"],
            "'bad' is none of info, warn",
        ),
        (["expr: temperature_celsius > 80", "match: [rack = r1]"], "line 6, column 17: match: 'ra"),
        (
            ["expr: temperature_celsius > 80", "annotations: {summary: '{nod}'}"],
            "line 6, column 32: summary: There is no field {nod}. Did you mean node?",
        ),
        (["for: 5m"], "line 4, column 9: expr: A rule wants 'expr'."),
        (["expr: temperature_celsius > 80", "enabled: maybe"], "'maybe' is neither true nor false"),
        (["expr: 1 > 2"], "This compares two fixed numbers."),
        (["expr: temperature_celsius > 80 > 70"], "Join comparisons with 'and'"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_nearest_name(lines: list[str], told: str) -> None:
    (problem,) = _problems(_file(*lines))
    assert told in problem


def test_all_mistakes_of_a_file_are_told_at_once() -> None:
    text = (
        _file("expr: power_wats > 1", "for: x") + "\n      - alert: Hot\n        expr: health > 0"
    )
    assert [problem.split(":")[0] for problem in _problems(text)] == [
        "line 5, column 15",
        "line 6, column 14",
        "line 7, column 16",
    ]


def test_what_is_no_yaml_is_told_with_its_place() -> None:
    (problem,) = _problems("groups: [a\n  b: }")
    assert problem.startswith("line 2, column")


def test_an_expression_cannot_be_deep_or_long_without_end() -> None:
    (problem,) = _problems(_file(f"expr: {'(' * 60}health{')' * 60} > 0"))
    assert "levels of brackets" in problem
    (problem,) = _problems(_file(f"expr: health > 0 {'or health > 0 ' * 120}"))
    assert "has at most" in problem


def _one(expr: str, *more: str) -> str:
    """A file with one rule."""
    fields = ", ".join(("alert: A", f"expr: '{expr}'", *more))
    return f"groups: [{{name: g, rules: [{{{fields}}}]}}]"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "The file is empty"),
        ("# nothing yet\n", "The file is empty"),
        ("{}", "The file wants groups"),
        ("[" * 20_000, "nested too deeply"),
        (_one("collector_hung()"), "collector_hung() is for rules of scope node."),
        (_one("power_step()", "scope: node"), "power_step() is for rules of scope gpu."),
        (_one("xid(79, 1h)", "scope: node"), "xid() is for rules of scope gpu."),
        (_one("telemetry_frozen()", "scope: mig"), "telemetry_frozen() is for rules of scope gpu."),
        (_one("missing()", "scope: mig"), "missing() is for rules of scope gpu or node."),
        (_one("memory_used_ratio > 90"), "memory_used_ratio is a ratio from 0 to 1"),
        (_one("90 < avg(memory_used_ratio, 5m)"), "memory_used_ratio is a ratio from 0 to 1"),
        (_one("temperature_celsius > 90%"), "temperature_celsius is no ratio"),
        (_one("temperature_celsius > 90", "max_gap: 0"), "A max_gap is 1s at least."),
    ],
)
def test_a_file_that_can_mean_nothing_good_is_refused(text: str, told: str) -> None:
    with pytest.raises(RulesError, match=re.escape(told)):
        read_rules(text, SCHEMA, "rules.yml")


def test_a_file_that_says_so_may_have_no_rules() -> None:
    assert read_rules("groups: []", SCHEMA, "rules.yml").rules == ()


@pytest.mark.parametrize(
    ("expr", "scope", "metric", "unit", "threshold"),
    [
        ("temperature_celsius > 80", "gpu", "temperature_celsius", "celsius", True),
        ("80 < temperature_celsius", "gpu", "temperature_celsius", "celsius", True),
        ("avg(power_watts, 5m) > 80 and health >= 1", "gpu", "power_watts", "watts", True),
        ("delta(energy_joules_total, 5m) > 80", "gpu", "", "joules", True),
        ("share(temperature_celsius > 80, 5m) > 0.5", "gpu", "", "ratio", True),
        ("memory_used_bytes / memory_total_bytes > 0.9", "gpu", "", "", True),
        ("count_gpus(temperature_celsius > 80) >= 3", "node", "", "", True),
        (SKEWED, "node", "clock_skew_seconds", "seconds", False),
    ],
)  # fmt: skip
def test_a_rule_tells_the_number_that_it_compares_and_no_other(
    expr: str, scope: str, metric: str, unit: str, threshold: bool
) -> None:
    (rule,) = read_rules(_one(expr, f"scope: {scope}"), SCHEMA, "rules.yml").rules
    told = rule.told()
    assert told is not None
    assert (told.metric(SCHEMA), told.unit(SCHEMA)) == (metric, unit)
    assert (told.threshold is not None) is threshold
    assert told.op in (">", ">=")


@pytest.mark.parametrize("expr", ["missing()", "temperature_celsius > 80 or power_watts > 9"])
def test_a_rule_that_compares_nothing_or_either_of_two_tells_no_number(expr: str) -> None:
    (rule,) = read_rules(_one(expr), SCHEMA, "rules.yml").rules
    assert rule.told() is None
