"""Against promtool: the same states where Prometheus is right, ours with a reason where not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gpufleet.alerting.engine.engine import Engine
from gpufleet.alerting.engine.running import Subject
from gpufleet.alerting.rules.file import read_rules
from gpufleet.alerting.state import Scope
from gpufleet.hub.alert_names import alert_schema

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "promtool_golden.json"
MINUTE = 60_000
START = 1_000 * MINUTE
SCHEMA = alert_schema()
ROW = SCHEMA.metrics["temperature_celsius"].row
OURS = ("Hot", "HotKeep", "HotNow")
RULES = """
groups:
  - name: conformance
    rules:
      - {alert: Hot, expr: temperature_celsius > 80, for: 5m, for_inclusive: true}
      - alert: HotKeep
        expr: temperature_celsius > 80
        for: 5m
        for_inclusive: true
        keep_firing_for: 3m
      - {alert: HotNow, expr: temperature_celsius > 80}
"""

pytestmark = pytest.mark.skipif(
    not GOLDEN.exists(), reason="the recorded answers of promtool lie beside the project"
)


def _cases() -> list[dict[str, Any]]:
    if not GOLDEN.exists():
        return []
    cases: list[dict[str, Any]] = json.loads(GOLDEN.read_text())["cases"]
    return cases


def _case(number: str) -> dict[str, Any]:
    return next(case for case in _cases() if case["name"].startswith(number))


def _values(text: str) -> list[float | None]:
    """promtool's notation, as far as the cases use it: ``85x12``, ``_``, ``_x6``, ``stale``."""
    found: list[float | None] = []
    for word in text.split():
        match = re.fullmatch(r"(-?[\d.]+|_|stale|NaN)(?:x(\d+))?", word)
        assert match is not None, word
        value = None if match[1] in ("_", "stale", "NaN") else float(match[1])
        repeat = int(match[2]) if match[2] else 0
        found += [value] * (repeat if value is None and match[2] else repeat + 1)
    return found


def _samples(case: dict[str, Any]) -> dict[int, float]:
    """Minute → value. Series of one GPU with other labels are one GPU to us."""
    found = {}
    for series in case["input_series"]:
        for minute, value in enumerate(_values(series["values"])):
            if value is not None:
                found[minute] = value
    return found


def _states(case: dict[str, Any]) -> dict[int, dict[str, str]]:
    """What our engine says after each minute; open incidents count as firing."""
    engine = Engine(read_rules(RULES, SCHEMA, "conformance"), SCHEMA, 1)
    engine.set_subject(0, Subject(Scope.GPU, "GPU-0", "n", interval_ms=MINUTE))
    values = np.full((len(SCHEMA.metrics), 1), np.nan)
    slots, epochs = np.array([0]), np.array([1])
    samples, last = _samples(case), 0
    minutes = [int(re.fullmatch(r"(\d+)[ms]", at)[1]) for at in case["alerts_at"]]  # type: ignore[index]
    found = {}
    for minute in minutes:
        now = START + minute * MINUTE
        if minute in samples:
            values[ROW, 0] = samples[minute]
            engine.step_samples(slots, epochs, np.array([now]), values)
            last = minute
        engine.silence(np.array([(minute - last) * MINUTE]), now)
        found[minute] = {
            rule.name: "pending" if standing.alert.state.value == "pending" else "firing"
            for rule, _, standing in engine.standings()
        }
    return found


def _golden(case: dict[str, Any]) -> dict[int, dict[str, str]]:
    return {
        int(re.fullmatch(r"(\d+)[ms]", at)[1]): {  # type: ignore[index]
            alert["alertname"]: alert["alertstate"]
            for alert in alerts
            if alert["alertname"] in OURS
        }
        for at, alerts in case["alerts_at"].items()
    }


@pytest.mark.parametrize("number", ["01", "02", "03", "04", "09", "10", "14"])
def test_the_same_states_as_promtool(number: str) -> None:
    case = _case(number)
    assert _states(case) == _golden(case), case["name"]


def _since(states: dict[int, dict[str, str]], rule: str) -> list[tuple[int, str]]:
    """(minute, state) where the state of a rule changed."""
    found: list[tuple[int, str]] = []
    for minute, by_rule in states.items():
        state = by_rule.get(rule, "ok")
        if not found or found[-1][1] != state:
            found.append((minute, state))
    return found


@pytest.mark.parametrize(
    ("number", "hot", "reason"),
    [
        ("05", [(0, "pending"), (5, "firing")], "a stale marker is a gap, here a short one"),
        ("06", [(0, "pending"), (4, "ok")], "one sample and then silence is no evidence"),
        ("07", [(0, "pending"), (5, "ok")], "neither are two"),
        ("08", [(0, "pending"), (6, "ok"), (9, "pending"), (14, "firing")], "a gap starts anew"),
        ("11", [(0, "pending"), (5, "firing")], "an absent value neither satisfies nor resets"),
        ("12", [(0, "pending"), (5, "firing")], "every sample counts, not every second"),
        ("13", [(0, "pending"), (5, "firing")], "the UUID is the identity, not its labels"),
    ],
)
def test_other_states_than_promtool_with_our_reason(
    number: str, hot: list[tuple[int, str]], reason: str
) -> None:
    case = _case(number)
    states = _states(case)
    assert _since(states, "Hot") == hot, reason
    assert states != _golden(case), "promtool says the same now: tell why this differs no more"


def test_a_gpu_that_falls_silent_while_firing_is_not_resolved() -> None:
    states = _states(_case("06"))
    assert _since(states, "HotNow") == [(0, "firing")], "no data counts as firing"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (package prometheus)")
def test_the_recorded_answers_are_those_of_promtool(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": golden["rules"]}]}))
    for case in golden["cases"]:
        tests = [
            {
                "expr": "ALERTS",
                "eval_time": at,
                "exp_samples": [
                    {
                        "labels": "ALERTS"
                        + json.dumps(alert)
                        .replace('": ', "=")
                        .replace('{"', "{")
                        .replace(', "', ", "),
                        "value": 1,
                    }
                    for alert in alerts
                ],
            }
            for at, alerts in case["alerts_at"].items()
        ]
        document = {
            "rule_files": [rules.name],
            "evaluation_interval": case["evaluation_interval"],
            "tests": [
                {
                    "interval": case["interval"],
                    "input_series": case["input_series"],
                    "promql_expr_test": tests,
                }
            ],
        }
        file = tmp_path / f"{case['name']}.yml"
        file.write_text(yaml.safe_dump(document))
        run = subprocess.run(
            ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr
