"""What the hub says of alerts, incidents, silences and rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Signature:
    """Who did something, when, and what they said."""

    by: str
    at: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule's trouble with one subject; ``incident`` is ``None`` while it is pending."""

    incident: str | None
    alertname: str
    group: str
    severity: str
    state: str
    """pending, firing, recovering or no_data."""
    scope: str
    """gpu, mig or node."""
    node: str | None
    gpu_uuid: str | None
    gpu_index: int | None
    gpu_name: str | None
    since: str | None
    fired_at: str | None
    last_sample_time: str | None
    value: float | None
    peak: float | None
    threshold: float | None
    metric: str | None
    unit: str | None
    acknowledged: Signature | None
    first_seen: str | None
    last_seen: str | None
    resolved_at: str | None
    closed: Signature | None
    labels: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    description: str = ""
    advice: str = ""
    reasons: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    silenced: tuple[str, ...] = ()
    """Ids of the silences that mute it now."""
    count: int = 0


@dataclass(frozen=True, slots=True)
class AlertPage:
    """Alerts that are not well now, the most severe first."""

    time: str
    total: int
    alerts: tuple[Alert, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """Incidents, newest first."""

    incidents: tuple[Alert, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to an incident."""

    time: str
    kind: str
    text: str
    by: str | None
    value: float | None


@dataclass(frozen=True, slots=True)
class IncidentHistory:
    """What happened to an incident, in order."""

    incident: str | None
    history: tuple[Happening, ...]


@dataclass(frozen=True, slots=True)
class Matcher:
    """``name`` is alertname, severity, node, gpu, model or label.NAME; ``op`` =, != or ~=."""

    name: str
    op: str
    value: str


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence or maintenance window: it mutes mail, never states."""

    id: str
    kind: str
    matchers: tuple[Matcher, ...]
    starts: str
    ends: str
    repeat: str | None
    author: str
    comment: str
    active: bool


@dataclass(frozen=True, slots=True)
class SilenceList:
    """Silences and maintenance windows."""

    silences: tuple[Silence, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with how many subjects are pending and firing."""

    alertname: str
    group: str
    expr: str
    for_seconds: float
    severity: str
    scope: str
    enabled: bool
    pending: int
    firing: int


@dataclass(frozen=True, slots=True)
class RuleProblem:
    """What is wrong with a rules file that could not replace the rules in force."""

    line: int | None
    column: int | None
    field: str | None
    sentence: str


@dataclass(frozen=True, slots=True)
class RuleList:
    """The rules in force."""

    file: str | None
    loaded_at: str | None
    rules: tuple[Rule, ...]
    problems: tuple[RuleProblem, ...] = ()
