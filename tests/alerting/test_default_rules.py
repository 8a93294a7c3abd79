"""Every default rule fires when it should and not when it should not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.alerting.rules.defaults import default_rules
from gpufleet.alerting.rules.series import SeriesError, values_of
from gpufleet.alerting.rules.unit_tests import run_tests
from gpufleet.alerting.rules.unit_world import TestFileError
from gpufleet.hub.alert_names import alert_schema

SCHEMA = alert_schema()
RULES = default_rules(SCHEMA)
FILE = Path(__file__).with_name("default_rules_test.yml")


def test_the_default_rules_pass_their_unit_tests() -> None:
    assert [str(failure) for failure in run_tests(FILE.read_text(), RULES, SCHEMA)] == []


def test_every_rule_is_seen_to_fire() -> None:
    text = FILE.read_text()
    for rule in RULES.rules:
        fires = f"alertname: {rule.name}, exp_alerts: [{{"
        assert fires in text, rule.name


def test_an_expectation_that_does_not_come_true_is_told() -> None:
    text = """
evaluation_interval: 1m
tests:
  - name: calm
    interval: 1m
    input_series: [{series: 'temperature_celsius{node="a",gpu="2"}', values: "70x10"}]
    alert_rule_test:
      - {eval_time: 6m, alertname: GpuHot, exp_alerts: [{exp_labels: {node: a, gpu: "2"}}]}
"""
    (failure,) = run_tests(text, RULES, SCHEMA)
    assert str(failure) == "calm: GpuHot at 6m: expected node=a gpu=2; got no alert"


HOT = "tests: [{alert_rule_test: [{eval_time: 0s, alertname: GpuHot, exp_alerts: %s}]}]"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tests: [{input_series: [{series: 'temprature_celsius', values: '1'}]}]", "Did you mean"),
        ("tests: [{alert_rule_test: [{alertname: GpuHto}]}]", "Did you mean GpuHot?"),
        ("tests: [{interval: soon}]", "'soon' is no duration"),
        ("[]", "A test file is a mapping"),
        ("{", "not YAML"),
        ("tests: [{input_series: [{series: 'health', values: '8z'}]}]", "'8z' is no value"),
        ("tests: []", "The file has no tests"),
        ("test: [{}]", "'test' is not known here. Did you mean tests?"),
        ("tests: [{alert_rules_test: []}]", "Did you mean alert_rule_test?"),
        ("tests: [{name: calm}]", "calm expects nothing"),
        ("tests: [GpuHot]", "tests: 'GpuHot' is no mapping"),
        ("tests: [{input_series: [health]}]", "input_series: 'health' is no mapping"),
        ("tests: [{alert_rule_test: [GpuHot]}]", "alert_rule_test: 'GpuHot' is no mapping"),
        ("tests: [{input_series: [{series: 'health{gpu=1}', values: '1'}]}]", "are not NAME="),
        (HOT % "[GpuHot]", "exp_alerts: 'GpuHot' is no mapping"),
        (HOT % "[{exp_labels: hot}]", "exp_labels of GpuHot is no mapping"),
        (HOT % "[{exp_labels: {severity: critical}}]", "has 'warning': exp_labels says severity="),
        (HOT % "[{exp_labels: {cluster: a}}]", "has no such label"),
        (HOT % "[{exp_annotations: {summary: x}}]", "'exp_annotations' is not known here"),
    ],
)
def test_a_test_file_with_a_mistake_is_told_in_a_sentence(text: str, told: str) -> None:
    with pytest.raises(TestFileError, match=told.replace("?", r"\?")):
        run_tests(text, RULES, SCHEMA)


def test_series_are_written_as_promtool_has_them() -> None:
    assert values_of("80x2 _ 1+2x3 _x2 stale") == [
        *(80.0, 80.0, 80.0, None, 1.0, 3.0, 5.0, 7.0, None, None, None)
    ]
    with pytest.raises(SeriesError, match="at most"):
        values_of("1x100000000")
