"""Rules as Prometheus has them, over the hub's /metrics, for those who run Alertmanager.

Only what the exposition tells can be translated: static facts, power steps and counts of GPUs are
the hub's own.
"""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from gpufleet.alerting.rules.rule import Rule, RuleSet
from gpufleet.alerting.rules.schema import Schema
from gpufleet.alerting.rules.template import filled
from gpufleet.alerting.rules.tree import (
    And,
    Arithmetic,
    Bit,
    Compare,
    Condition,
    Const,
    Flag,
    FlagName,
    Not,
    Number,
    Or,
    Reduction,
    Share,
    Value,
    Window,
    Xid,
)
from gpufleet.alerting.state import Scope
from gpufleet.alerting.wording import duration

_OVER_TIME = {
    Reduction.AVG: "avg_over_time",
    Reduction.MIN: "min_over_time",
    Reduction.MAX: "max_over_time",
    Reduction.STDDEV: "stddev_over_time",
}
_FLAGS = {
    (Scope.GPU, FlagName.MISSING): 'gpufleet_gpu_fault{state=~"lost|missing"} == 1',
    (Scope.NODE, FlagName.MISSING): "gpufleet_node_up == 0",
    (Scope.NODE, FlagName.HUNG): "gpufleet_node_collector_hung_since_timestamp_seconds > 0",
}
_FIELDS = {
    "node": "{{ $labels.node }}",
    "gpu": "{{ $labels.gpu }}",
    "uuid": "{{ $labels.gpu_uuid }}",
    "model": "{{ $labels.gpu_name }}",
    "value": "{{ $value }}",
    "users": "its users",
    "count": "several",
}
_HUB_DOWN = {
    "alert": "GpufleetHubDown",
    "expr": 'up{job="gpufleet"} == 0',
    "for": "2m",
    "labels": {"severity": "critical"},
    "annotations": {"summary": "The gpufleet hub does not answer: nobody watches the GPUs."},
}


class Untranslatable(Exception):
    """Prometheus does not have what this expression is about; the text says what."""


def prometheus_rules(rules: RuleSet, schema: Schema) -> str:
    """The text of a Prometheus rules file; its head names the rules that are left out."""
    groups: dict[str, list[dict[str, object]]] = {}
    left_out = []
    for rule in rules.rules:
        try:
            expr = _Writer(rule.scope, schema).condition(rule.condition)
        except Untranslatable as reason:
            left_out.append(f"{rule.name}: {reason}")
            continue
        groups.setdefault(rule.group, []).append(_document(rule, expr, schema))
    document = {
        "groups": [{"name": f"gpufleet-{name}", "rules": of_it} for name, of_it in groups.items()]
        + [{"name": "gpufleet-hub", "rules": [_HUB_DOWN]}]
    }
    body = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
    return _head(left_out) + body


def _head(left_out: Iterable[str]) -> str:
    lines = [
        "The default rules of gpufleet for Prometheus and Alertmanager. Made by",
        "scripts/prometheus-rules: edit alerting/gpufleet/alerting/rules/defaults.yml instead.",
        "Not loaded by default: the hub evaluates and mails these itself, and better (each sample,",
        "no false resolve at a restart or when samples stop). The job of the hub is `gpufleet`.",
        "",
        "Left out, since Prometheus does not have what they are about:",
        *(f"  {line}" for line in left_out),
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _document(rule: Rule, expr: str, schema: Schema) -> dict[str, object]:
    found: dict[str, object] = {"alert": rule.name, "expr": expr}
    if rule.for_ms:
        found["for"] = f"{rule.for_ms // 1000}s"
    if rule.keep_firing_ms:
        found["keep_firing_for"] = f"{rule.keep_firing_ms // 1000}s"
    found["labels"] = {"severity": rule.severity.value, **rule.labels}
    comparison = rule.compared()
    threshold = "?"
    if comparison is not None:
        threshold = _Writer(rule.scope, schema).number(comparison.right)
    fields = {**_FIELDS, "threshold": threshold, "for": duration(rule.for_ms)}
    texts = (("summary", rule.summary), ("description", rule.description), ("advice", rule.advice))
    found["annotations"] = {name: filled(text, fields) for name, text in texts if text}
    return found


class _Writer:
    def __init__(self, scope: Scope, schema: Schema) -> None:
        self._scope = scope
        self._schema = schema

    def condition(self, node: Condition) -> str:
        match node:
            case Compare(op, left, right):
                return f"{self.number(left)} {op} {self.number(right)}"
            case And(terms):
                return " and ".join(f"({self.condition(term)})" for term in terms)
            case Or(terms):
                return " or ".join(f"({self.condition(term)})" for term in terms)
            case Bit(metric, mask):
                names = [n for n, bit in self._schema.metrics[metric].bits.items() if bit & mask]
                series = f"gpufleet_{self._scope.value}_throttle_active"
                return f'max without (reason) ({series}{{reason=~"{"|".join(names)}"}}) == 1'
            case Flag(flag):
                found = _FLAGS.get((self._scope, flag))
                if found is None:
                    raise Untranslatable(f"{flag.value}() is the hub's own")
                return found
            case Xid(codes, window_ms):
                wanted = "|".join(map(str, codes))
                series = "gpufleet_gpu_xid_last_seen_timestamp_seconds"
                matcher = f'{{code=~"{wanted}"}}' if codes else ""
                return f"time() - max without (code) ({series}{matcher}) < {window_ms // 1000}"
            case Not(_):
                raise Untranslatable("'not' has no counterpart for absent series")
            case _:
                raise Untranslatable("was() is the hub's own")

    def number(self, node: Number) -> str:
        match node:
            case Const(value):
                return f"{value:g}"
            case Value(name):
                return self._series(name)
            case Arithmetic(op, left, right):
                return f"({self.number(left)} {op} {self.number(right)})"
            case Window(Reduction.DELTA, name, window_ms):
                function = "increase" if self._schema.metrics[name].counter else "delta"
                return f"{function}({self._series(name)}[{window_ms // 1000}s])"
            case Window(reduction, name, window_ms):
                return f"{_OVER_TIME[reduction]}({self._series(name)}[{window_ms // 1000}s])"
            case Share(Compare(op, left, right), window_ms):
                inner = f"{self.number(left)} {op} bool {self.number(right)}"
                return f"avg_over_time(({inner})[{window_ms // 1000}s:])"
            case Share(_, _):
                raise Untranslatable("a share of more than one comparison")
            case _:
                raise Untranslatable(f"{_what(node)} is no series of the hub's /metrics")

    def _series(self, name: str) -> str:
        return f"gpufleet_{self._scope.value}_{name}"


def _what(node: Number) -> str:
    return getattr(node, "name", None) or "a count of GPUs"
