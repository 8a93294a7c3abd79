"""Unit tests of rules in promtool's format: series go in, alerts are expected at times.

A test file has ``rule_files``, ``evaluation_interval`` and ``tests``; a test has ``interval``,
``input_series`` (unit_world.py says what they may be) and ``alert_rule_test``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from gpufleet.alerting.engine.engine import Engine
from gpufleet.alerting.engine.running import Subject
from gpufleet.alerting.rules.rule import Rule, RuleSet
from gpufleet.alerting.rules.schema import Schema, nearest
from gpufleet.alerting.rules.tokens import duration_ms
from gpufleet.alerting.rules.unit_world import TestFileError, World
from gpufleet.alerting.state import OPEN, Scope

START_MS = 1_700_000_000_000 // 60_000 * 60_000
MAX_STEPS = 100_000
_FILE = ("rule_files", "evaluation_interval", "tests")
_TEST = ("name", "interval", "input_series", "alert_rule_test")
_SERIES = ("series", "values")
_ALERT = ("eval_time", "alertname", "exp_alerts")
_EXPECTED = ("exp_labels",)


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that did not come true."""

    test: str
    at: str
    alertname: str
    expected: tuple[str, ...]
    got: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.test}: {self.alertname} at {self.at}: expected"
            f" {', '.join(self.expected) or 'no alert'}; got {', '.join(self.got) or 'no alert'}"
        )


def rule_files(text: str) -> list[str]:
    """The rules files that a test file names."""
    return [str(name) for name in _list(_document(text).get("rule_files"), "rule_files")]


def run_tests(text: str, rules: RuleSet, schema: Schema) -> list[Failure]:
    """Run every test of the file; TestFileError for what cannot be understood."""
    document = _document(text)
    every = _duration(document.get("evaluation_interval", "1m"), "evaluation_interval")
    failures: list[Failure] = []
    tests = _mappings(document.get("tests"), "tests", _TEST)
    if not tests:
        raise TestFileError("The file has no tests.")
    for number, test in enumerate(tests, 1):
        name = str(test.get("name") or f"test {number}")
        failures += _Run(name, test, rules, schema, every).failures()
    return failures


def _document(text: str) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TestFileError(f"The test file is not YAML: {error}.") from None
    if not isinstance(document, Mapping):
        raise TestFileError("A test file is a mapping with rule_files and tests.")
    _check_keys(document, "The file", _FILE)
    return document


def _list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise TestFileError(f"{what} must be a list.")
    return value


def _mappings(value: Any, what: str, keys: Sequence[str]) -> list[Mapping[str, Any]]:
    """A list of mappings with these keys and no others."""
    found = _list(value, what)
    for one in found:
        if not isinstance(one, Mapping):
            raise TestFileError(f"{what}: {str(one)[:80]!r} is no mapping of {', '.join(keys)}.")
        _check_keys(one, what, keys)
    return found


def _check_keys(mapping: Mapping[str, Any], what: str, keys: Sequence[str]) -> None:
    for key in mapping:
        if key not in keys:
            raise TestFileError(f"{what}: {key!r} is not known here.{nearest(str(key), keys)}")


def _duration(value: Any, what: str) -> int:
    found = 0 if str(value) in ("0", "0s") else duration_ms(str(value))
    if found is None:
        raise TestFileError(f"{what}: {value!r} is no duration such as 30s or 5m.")
    return found


class _Run:
    def __init__(
        self,
        name: str,
        test: Mapping[str, Any],
        rules: RuleSet,
        schema: Schema,
        every_ms: int,
    ) -> None:
        self._name = name
        self._rules = rules
        self._schema = schema
        self._every_ms = every_ms
        self._interval_ms = _duration(test.get("interval", "1m"), "interval") or 60_000
        self._wanted: list[tuple[int, str, str, list[Mapping[str, Any]]]] = []
        for one in _mappings(test.get("alert_rule_test"), "alert_rule_test", _ALERT):
            at = str(one.get("eval_time", "0s"))
            expected = _mappings(one.get("exp_alerts"), "exp_alerts", _EXPECTED)
            alertname = str(one.get("alertname", ""))
            if alertname not in rules.by_name():
                hint = nearest(alertname, rules.by_name())
                raise TestFileError(f"{name}: there is no rule {alertname!r}.{hint}")
            for wanted in expected:
                self._check_labels(wanted.get("exp_labels"), rules.by_name()[alertname])
            self._wanted.append((_duration(at, "eval_time"), at, alertname, expected))
        self._wanted.sort(key=lambda one: one[0])
        self._world = World(schema)
        for series in _mappings(test.get("input_series"), "input_series", _SERIES):
            self._world.add(series, name)
        if not self._wanted:
            raise TestFileError(f"{name} expects nothing: it wants alert_rule_test.")

    def _check_labels(self, labels: Any, rule: Rule) -> None:
        """Labels that say which alert are compared later; those of the rule itself here."""
        if labels is not None and not isinstance(labels, Mapping):
            raise TestFileError(f"{self._name}: exp_labels of {rule.name} is no mapping.")
        own = {"alertname": rule.name, "severity": rule.severity.value, **rule.labels}
        for label, value in (labels or {}).items():
            if label in ("node", "gpu"):
                continue
            if own.get(label) != str(value):
                has = f"has {own[label]!r}" if label in own else "has no such label"
                raise TestFileError(
                    f"{self._name}: {rule.name} {has}: exp_labels says {label}={value!r}."
                )

    def failures(self) -> list[Failure]:
        """What was expected and is not so."""
        engine = self._engine()
        last_ms = self._wanted[-1][0]
        if last_ms // self._interval_ms > MAX_STEPS:
            raise TestFileError(f"{self._name}: more than {MAX_STEPS} steps.")
        found: list[Failure] = []
        waiting = list(self._wanted)
        values = np.full((len(self._schema.metrics), engine.world.capacity), np.nan)
        heard: dict[int, int] = dict.fromkeys(self._world.values, 0)
        for step in range(last_ms // self._interval_ms + 1):
            at = step * self._interval_ms
            self._sample(engine, values, step, at, heard)
            while waiting and waiting[0][0] < at + self._interval_ms:
                found += self._compare(engine, *waiting.pop(0)[1:])
        return found

    def _engine(self) -> Engine:
        engine = Engine(self._rules, self._schema, max(1, len(self._world.subjects)))
        slots = self._world.subjects
        for (scope, key), slot in slots.items():
            labels = self._world.labels[slot]
            node_slot = slots.get((Scope.NODE, labels["node"]))
            engine.set_subject(
                slot,
                Subject(
                    scope,
                    key,
                    labels["node"],
                    labels.get("model", ""),
                    {k.removeprefix("label_"): v for k, v in labels.items() if k[:6] == "label_"},
                    {},
                    self._interval_ms,
                    node_slot,
                ),
            )
        return engine

    def _sample(
        self,
        engine: Engine,
        values: np.ndarray[Any, np.dtype[np.float64]],
        step: int,
        at_ms: int,
        heard: dict[int, int],
    ) -> None:
        now = START_MS + at_ms
        for fact, numbers in self._world.facts(step, engine.world.capacity):
            engine.set_facts(fact, numbers)
        for name, flag in self._world.flags(step, engine.world.capacity):
            engine.set_flag(name, flag)
        for slot, code in self._world.xids(step):
            engine.note_xid(slot, code, now)
        here = self._world.sample(step, values)
        heard.update(dict.fromkeys(here, at_ms))
        slots = np.array(here, np.int64)
        if here:
            ticks = np.full(len(here), now, np.int64)
            engine.step_samples(slots, np.ones(len(here), np.int64), ticks, values)
        engine.step_hub(now, values)
        silent_ms = np.zeros(engine.world.capacity, np.int64)
        for slot, last in heard.items():
            silent_ms[slot] = at_ms - last
        engine.silence(silent_ms, now)

    def _compare(
        self, engine: Engine, at: str, alertname: str, expected: list[Mapping[str, Any]]
    ) -> list[Failure]:
        firing = sorted(
            self._shown(slot)
            for rule, slot, standing in engine.standings()
            if rule.name == alertname and standing.alert.state in OPEN
        )
        wanted = []
        for one in expected:
            labels = one.get("exp_labels") or {}
            shown = {k: str(v) for k, v in labels.items() if k in ("node", "gpu")}
            wanted.append(_text({"node": "node", "gpu": "0", **shown}))
        if self._rules.by_name()[alertname].scope is Scope.NODE:
            wanted = [text.partition(" ")[0] for text in wanted]
        if firing == sorted(wanted):
            return []
        return [Failure(self._name, at, alertname, tuple(sorted(wanted)), tuple(firing))]

    def _shown(self, slot: int) -> str:
        (scope,) = [scope for (scope, _), s in self._world.subjects.items() if s == slot]
        text = _text(self._world.labels[slot])
        return text.partition(" ")[0] if scope is Scope.NODE else text


def _text(labels: Mapping[str, str]) -> str:
    return f"node={labels['node']} gpu={labels['gpu']}"
