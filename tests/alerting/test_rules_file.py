"""Rules files: what is read, and what every mistake is told as."""

from __future__ import annotations

import pytest

from gpufleet.alerting.rules.defaults import default_rules
from gpufleet.alerting.rules.file import RulesError, read_rules
from gpufleet.alerting.rules.tree import Compare, Const, Value
from gpufleet.alerting.state import Scope, Severity
from gpufleet.hub.alert_names import alert_schema

SCHEMA = alert_schema()


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
