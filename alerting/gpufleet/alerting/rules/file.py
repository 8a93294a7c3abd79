"""Reads a rules file, YAML as Prometheus has it; every mistake is told with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gpufleet.alerting.rules.evaluate import Kept, kept_of
from gpufleet.alerting.rules.parse import parse
from gpufleet.alerting.rules.rule import Match, Rule, RuleSet
from gpufleet.alerting.rules.schema import Schema, nearest
from gpufleet.alerting.rules.template import FIELDS, unknown_fields
from gpufleet.alerting.rules.tokens import ExpressionError, duration_ms
from gpufleet.alerting.rules.tree import Condition, Share, Window, parts
from gpufleet.alerting.state import Scope, Severity

MAX_BYTES = 512 * 1024
MAX_RULES = 300
MAX_TEXT = 2000
MIN_GAP_MS = 1000
MAX_WINDOWS = 24
"""Different windows (of a metric or a condition) in one file: each takes 4 kB a GPU."""

E = TypeVar("E", bound=Enum)

_GROUP_FIELDS = ("name", "rules")
_RULE_FIELDS = (
    *("alert", "expr", "for", "for_inclusive", "keep_firing_for", "clear", "max_gap", "severity"),
    *("scope", "match", "labels", "annotations", "repeat", "enabled"),
)
_ANNOTATIONS = ("summary", "description", "advice")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MATCH = re.compile(r"\s*(node|model|label\.[^\s=!~]+)\s*(!=|~=|==|=)\s*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. Lines and columns count from 1."""

    line: int
    column: int
    field: str
    sentence: str

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"line {self.line}, column {self.column}: {where}{self.sentence}"


class RulesError(ValueError):
    """A rules file that cannot be used; ``problems`` are all of its mistakes."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.source = source
        self.problems = problems


def read_rules(text: str, schema: Schema, source: str) -> RuleSet:
    """The rules that ``text`` holds; RulesError with every mistake."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        sentence = f"A rules file has at most {MAX_BYTES // 1024} KiB."
        raise RulesError(source, [Problem(1, 1, "", sentence)])
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise RulesError(source, [_yaml_problem(error)]) from None
    except RecursionError:
        raise RulesError(source, [Problem(1, 1, "", "Not YAML: nested too deeply.")]) from None
    reader = _Reader(schema)
    rules = reader.rules(root)
    if reader.problems:
        reader.problems.sort(key=lambda problem: (problem.line, problem.column))
        raise RulesError(source, reader.problems)
    return RuleSet(tuple(rules), source)


def _yaml_problem(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or "this is no YAML"
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problem(line, column, "", f"Not YAML: {what}.")


class _Reader:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._names: dict[str, int] = {}
        self._windows: set[Kept] = set()
        self.problems: list[Problem] = []

    def rules(self, root: Node | None) -> list[Rule]:
        if root is None:
            sentence = "The file is empty: a file without rules says so (groups: [])."
            self.problems.append(Problem(1, 1, "groups", sentence))
            return []
        found: list[Rule] = []
        fields = dict(self._mapping(root, ("groups",), "the file"))
        if isinstance(root, MappingNode) and "groups" not in fields:
            self._say(root, "groups", "The file wants groups; without rules: groups: [].")
        for group in self._sequence(fields.get("groups"), "groups"):
            found += self._group(group)
        return found

    def _group(self, node: Node) -> list[Rule]:
        fields = dict(self._mapping(node, _GROUP_FIELDS, "a group"))
        name = self._text(fields["name"], "name") if "name" in fields else None
        if name is None and isinstance(node, MappingNode):
            self._say(node, "name", "A group wants a name.")
        found = []
        for one in self._sequence(fields.get("rules"), "rules"):
            rule = self._rule(one, name or "")
            if rule is not None:
                found.append(rule)
        if len(self._names) > MAX_RULES:
            self._say(node, "rules", f"At most {MAX_RULES} rules.")
        return found

    def _rule(self, node: Node, group: str) -> Rule | None:
        before = len(self.problems)
        fields = dict(self._mapping(node, _RULE_FIELDS, "a rule"))
        if not isinstance(node, MappingNode):
            return None
        for wanted in ("alert", "expr"):
            if wanted not in fields:
                self._say(node, wanted, f"A rule wants {wanted!r}.")
        name = self._name(fields.get("alert"))
        scope = self._word(fields, "scope", Scope, Scope.GPU)
        severity = self._word(fields, "severity", Severity, Severity.WARNING)
        text, condition = self._expression(fields.get("expr"), "expr", scope)
        clear_text, clear = self._expression(fields.get("clear"), "clear", scope)
        texts = self._annotations(fields.get("annotations"))
        rule = None
        durations = {
            field: self._duration(fields.get(field), field)
            for field in ("for", "keep_firing_for", "max_gap")
        }
        flags = {
            field: self._flag(fields.get(field), field, default)
            for field, default in (("for_inclusive", False), ("repeat", True), ("enabled", True))
        }
        match, labels = self._match(fields.get("match")), self._labels(fields.get("labels"))
        if durations["max_gap"] is not None and durations["max_gap"] < MIN_GAP_MS:
            self._say(fields["max_gap"], "max_gap", "A max_gap is 1s at least.")
        if len(self.problems) == before and condition is not None and name is not None:
            rule = Rule(
                name=name,
                group=group,
                text=text,
                condition=condition,
                severity=severity,
                scope=scope,
                for_ms=durations["for"] or 0,
                for_inclusive=flags["for_inclusive"],
                keep_firing_ms=durations["keep_firing_for"] or 0,
                clear_text=clear_text,
                clear=clear,
                max_gap_ms=durations["max_gap"],
                match=match,
                labels=labels,
                summary=texts.get("summary", ""),
                description=texts.get("description", ""),
                advice=texts.get("advice", ""),
                repeat=flags["repeat"],
                enabled=flags["enabled"],
            )
        return rule

    # Fields

    def _name(self, node: Node | None) -> str | None:
        if node is None:
            return None
        name = self._text(node, "alert")
        if name is None:
            return None
        if not _NAME.fullmatch(name):
            self._say(node, "alert", f"{name[:64]!r} is no name: use letters, digits and _ (64).")
        elif name in self._names:
            where = self._names[name]
            self._say(node, "alert", f"{name!r} is in line {where} already: names are unique.")
        else:
            self._names[name] = node.start_mark.line + 1
        return name

    def _word(self, fields: Mapping[str, Node], field: str, kind: type[E], default: E) -> E:
        node = fields.get(field)
        if node is None:
            return default
        text = self._text(node, field)
        words = [str(member.value) for member in kind]
        if text is None or text not in words:
            near = nearest(text or "", words)
            self._say(node, field, f"{text!r} is none of {', '.join(words)}.{near}")
            return default
        return kind(text)

    def _expression(
        self, node: Node | None, field: str, scope: Scope
    ) -> tuple[str, Condition | None]:
        if node is None:
            return "", None
        text = self._text(node, field)
        if text is None:
            return "", None
        try:
            condition = parse(text, self._schema, scope)
        except ExpressionError as error:
            line, column = _place(node, text, error.position)
            self.problems.append(Problem(line, column, field, str(error)))
            return text, None
        windows = [part for part in parts(condition) if isinstance(part, Window | Share)]
        self._windows |= {kept_of(part, self._schema) for part in windows}
        if windows and len(self._windows) > MAX_WINDOWS:
            sentence = f"A file has at most {MAX_WINDOWS} different windows: share some."
            self._say(node, field, sentence)
        return text, condition

    def _duration(self, node: Node | None, field: str) -> int | None:
        if node is None:
            return None
        text = self._text(node, field)
        if text in ("0", None):
            return 0
        found = duration_ms(text or "")
        if found is None or found > 30 * 86_400_000:
            self._say(node, field, f"{text!r} is no duration such as 30s, 5m, 1h30m (30d at most).")
        return found

    def _flag(self, node: Node | None, field: str, default: bool) -> bool:
        if node is None:
            return default
        text = (self._text(node, field) or "").lower()
        if text not in ("true", "false"):
            self._say(node, field, f"{text!r} is neither true nor false.")
        return text == "true"

    def _match(self, node: Node | None) -> tuple[Match, ...]:
        found = []
        for one in self._sequence(node, "match"):
            text = self._text(one, "match") or ""
            parsed = _MATCH.fullmatch(text)
            if parsed is None:
                self._say(
                    one,
                    "match",
                    f"{text[:64]!r} is no matcher: node, model or label.NAME, then =, != or ~=,"
                    " then a text, such as 'label.rack != r1'.",
                )
                continue
            name, op, value = parsed.groups()
            found.append(Match(name, "=" if op == "==" else op, value.strip("\"'")))
        return tuple(found)

    def _labels(self, node: Node | None) -> dict[str, str]:
        if node is None:
            return {}
        found = {}
        for key, value in self._pairs(node, "labels"):
            text = self._text(value, f"labels.{key}")
            if not _NAME.fullmatch(key):
                self._say(value, "labels", f"{key[:64]!r} is no label: use letters, digits and _.")
            elif text is not None:
                found[key] = text
        return found

    def _annotations(self, node: Node | None) -> dict[str, str]:
        if node is None:
            return {}
        found = {}
        for key, value in self._mapping(node, _ANNOTATIONS, "annotations"):
            text = self._text(value, key)
            if text is None:
                continue
            for field in unknown_fields(text):
                near = nearest(field, FIELDS)
                self._say(value, key, f"There is no field {{{field[:40]}}}.{near}")
            found[key] = text
        return found

    # YAML

    def _say(self, node: Node, field: str, sentence: str) -> None:
        mark = node.start_mark
        self.problems.append(Problem(mark.line + 1, mark.column + 1, field, sentence))

    def _pairs(self, node: Node, what: str) -> Iterator[tuple[str, Node]]:
        if not isinstance(node, MappingNode):
            self._say(node, "", f"{what} must be a mapping of names to values.")
            return
        seen = set()
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, ScalarNode) else ""
            if key in seen:
                self._say(key_node, key, f"{key!r} is here twice.")
                continue
            seen.add(key)
            yield key, value

    def _mapping(self, node: Node, known: tuple[str, ...], what: str) -> Iterator[tuple[str, Node]]:
        for key, value in self._pairs(node, what):
            if key in known:
                yield key, value
            else:
                near = nearest(key, known) or f" Known: {', '.join(known)}."
                self._say(value, key, f"There is no field {key[:64]!r} in {what}.{near}")

    def _sequence(self, node: Node | None, field: str) -> list[Node]:
        if node is None:
            return []
        if not isinstance(node, SequenceNode):
            self._say(node, field, f"{field} must be a list.")
            return []
        return list(node.value)

    def _text(self, node: Node, field: str) -> str | None:
        if not isinstance(node, ScalarNode):
            self._say(node, field, f"{field} must be a text.")
            return None
        if len(node.value) > MAX_TEXT:
            self._say(node, field, f"{field} has at most {MAX_TEXT} characters.")
            return None
        return str(node.value)


def _place(node: Node, text: str, position: int) -> tuple[int, int]:
    """Line and column of a character of a text; of folded texts only where they begin."""
    mark = node.start_mark
    if mark.line != node.end_mark.line:
        if isinstance(node, ScalarNode) and node.style == "|":
            before = text[:position]
            line = mark.line + 2 + before.count("\n")
            return line, position - (before.rfind("\n") + 1) + 1
        return mark.line + 1, mark.column + 1
    quoted = 1 if isinstance(node, ScalarNode) and node.style in ("'", '"') else 0
    return mark.line + 1, mark.column + 1 + quoted + position
