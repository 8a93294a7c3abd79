"""Silences and maintenance windows: which incidents nobody is mailed of just now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from enum import Enum

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.rules.pattern import compare

NAMES = ("alertname", "severity", "node", "gpu", "model")
"""What a matcher may name, besides ``label.NAME``."""

_MATCHER = re.compile(r"\s*([\w.\-/]+)\s*(!=|~=|==|=)\s*(.*?)\s*", re.DOTALL)


class MatcherError(ValueError):
    """A matcher that cannot be used; the text says what is wrong and how one looks."""


class Repeat(Enum):
    """How often a maintenance window comes again."""

    ONCE = ""
    DAY = "day"
    WEEK = "week"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on an incident. ``op`` is ``=``, ``!=`` or ``~=`` (contains, ``*``)."""

    name: str
    op: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}{self.op}{self.value}"

    def matches(self, incident: Incident) -> bool:
        """``gpu`` is the GPU's index or its UUID."""
        if self.name != "gpu":
            return compare(self.op, self._found(incident), self.value)
        index = "" if incident.gpu_index is None else str(incident.gpu_index)
        if self.op == "!=":
            return self.value not in (index, incident.subject_key)
        return compare(self.op, index, self.value) or compare(
            self.op, incident.subject_key, self.value
        )

    def _found(self, incident: Incident) -> str:
        if self.name.startswith("label."):
            return incident.labels.get(self.name.removeprefix("label."), "")
        return {
            "alertname": incident.alertname,
            "severity": incident.severity.value,
            "node": incident.node,
            "model": incident.gpu_name,
        }[self.name]


@dataclass(frozen=True, slots=True)
class Silence:
    """From–to, for the incidents that every matcher fits. Times are Unix ms UTC.

    With ``repeat`` (a maintenance window) the same hours of the wall clock come again each day or
    week, in the hub's timezone, for good.
    """

    id: str
    matchers: tuple[Matcher, ...]
    starts_ms: int
    ends_ms: int
    repeat: Repeat = Repeat.ONCE
    author: str = ""
    comment: str = ""

    def active(self, at_ms: int, zone: tzinfo) -> bool:
        """Whether it holds at this time (its start included, its end not)."""
        if at_ms < self.starts_ms:
            return False
        if self.repeat is Repeat.ONCE:
            return at_ms < self.ends_ms
        days = 1 if self.repeat is Repeat.DAY else 7
        length_ms = self.ends_ms - self.starts_ms
        first = _local(self.starts_ms, zone)
        passed = (_local(at_ms, zone).date() - first.date()).days
        turn = passed // days
        back = length_ms // (days * 86_400_000) + 1  # a window may reach over the next one's start
        for number in range(max(0, turn - back), turn + 1):
            wall = first.replace(tzinfo=None) + timedelta(days=number * days)
            start_ms = round(wall.replace(tzinfo=zone).timestamp() * 1000)
            if start_ms <= at_ms < start_ms + length_ms:
                return True
        return False

    def mutes(self, incident: Incident, at_ms: int, zone: tzinfo) -> bool:
        """Whether mail about this incident waits at this time. One without matchers mutes all."""
        return self.active(at_ms, zone) and all(one.matches(incident) for one in self.matchers)


def muted(
    incident: Incident, silences: Iterable[Silence], at_ms: int, zone: tzinfo = UTC
) -> Silence | None:
    """The silence or window that mutes this incident at this time, if any."""
    return next((one for one in silences if one.mutes(incident, at_ms, zone)), None)


def parse_matcher(text: str) -> Matcher:
    """``node=n1``, ``model ~= H100``, ``label.rack != r3``; MatcherError with a sentence."""
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise MatcherError(
            f"{text[:80]!r} is no matcher: write NAME=VALUE, NAME!=VALUE or NAME~=PART, "
            "such as node=n1 or label.rack~=r*."
        )
    name, op, value = found.groups()
    label = name.removeprefix("label.")
    if name not in NAMES and (label == name or not label):
        near = get_close_matches(name, (*NAMES, f"label.{name}"), 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise MatcherError(
            f"There is nothing called {name[:64]!r} to match.{hint}"
            f" Known: {', '.join(NAMES)}, label.NAME."
        )
    return Matcher(name, "=" if op == "==" else op, value.strip("\"'"))


def matchers_from(texts: Iterable[str]) -> tuple[Matcher, ...]:
    """Several of them, such as a silence's; MatcherError for the first that is none."""
    return tuple(parse_matcher(text) for text in texts)


def silence_from(row: Mapping[str, object]) -> Silence:
    """A silence as its row of the database has it; MatcherError where its matchers are none."""
    matchers = row["matchers"]
    assert isinstance(matchers, list)
    return Silence(
        str(row["id"]),
        matchers_from(str(text) for text in matchers),
        int(str(row["starts_ms"])),
        int(str(row["ends_ms"])),
        Repeat(row.get("repeat") or ""),
        str(row.get("author") or ""),
        str(row.get("comment") or ""),
    )


def _local(at_ms: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
