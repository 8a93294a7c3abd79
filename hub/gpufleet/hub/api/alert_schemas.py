"""Documents of alerting as models: what /openapi.json says of them, and what may be posted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gpufleet.hub.api import alert_examples as examples
from gpufleet.hub.api.schemas import Document, Time, example

Severity = Literal["info", "warning", "critical"]
AlertStateName = Literal["ok", "pending", "firing", "recovering", "no_data"]
Scope = Literal["gpu", "mig", "node"]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Comment = Annotated[str, Field(max_length=2000)]


class Signature(Document):
    """Who did something, and when."""

    by: str
    at: Time
    comment: str


class Alert(Document):
    """One rule's trouble with one subject."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.ALERT))
    incident: Annotated[str | None, Field(description="Null while it is pending.")]
    alertname: str
    group: str
    severity: Severity
    state: AlertStateName
    scope: Scope
    node: str
    gpu_uuid: str | None
    gpu_index: int | None
    gpu_name: str | None
    labels: dict[str, str]
    since: Annotated[Time | None, Field(description="The first bad sample.")]
    fired_at: Time | None
    last_sample_time: Time | None
    value: float | None
    peak: float | None
    threshold: float | None
    comparison: str | None
    metric: str | None
    unit: str | None
    for_seconds: float
    summary: str
    description: str
    advice: str
    reasons: list[str]
    processes: list[str]
    users: list[str]
    acknowledged: Signature | None
    silenced: Annotated[list[str], Field(description="Ids of silences that mute it now.")]
    count: int
    first_seen: Time | None
    last_seen: Time | None


class AlertPage(Document):
    """Alerts that are not well now, the most severe first."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.ALERTS))
    time: Time
    total: int
    alerts: list[Alert]
    next_cursor: str | None


class Incident(Alert):
    """An incident, ended or not."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.INCIDENT))
    resolved_at: Time | None
    closed: Signature | None


class IncidentPage(Document):
    """Incidents, newest first."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.INCIDENTS))
    incidents: list[Incident]
    next_cursor: str | None


class Happening(Document):
    """Something that happened to an incident."""

    time: Time
    noted: Time
    kind: str
    text: str
    by: str | None
    value: float | None


class Email(Document):
    """One mail to one recipient."""

    id: str
    recipient: str
    subject: str
    reason: str
    severity: Severity
    state: str
    message_id: str
    created: Time
    next_try: Time | None
    settled: Time | None
    attempts: int
    error: str | None


class IncidentDetail(Incident):
    """An incident with what happened to it and what was mailed of it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.INCIDENT_DETAIL))
    history: list[Happening]
    mails: list[Email]


class EmailPage(Document):
    """The outbox: counts, and the newest mails."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.EMAILS))
    waiting: int
    oldest_waiting: Time | None
    held: int
    dead: int
    sent: int
    emails: list[Email]


class MatcherDocument(Document):
    """``name`` is alertname, severity, node, gpu (index or UUID), model or label.NAME."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    op: Literal["=", "!=", "~="]
    value: Annotated[str, Field(max_length=256)]


class SilenceDocument(Document):
    """A silence or maintenance window: it mutes mail, never states."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.SILENCE))
    id: str
    kind: Literal["silence", "maintenance"]
    matchers: list[MatcherDocument]
    starts: Time
    ends: Time
    repeat: Literal["day", "week"] | None
    author: str
    comment: str
    created: Time
    active: bool


class SilenceList(Document):
    """Silences and maintenance windows that have not ended."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.SILENCES))
    silences: list[SilenceDocument]


class RuleProblem(Document):
    """A mistake in the rules file as it is now; the rules in force are older."""

    line: int
    column: int
    field: str | None
    sentence: str


class RuleRow(Document):
    """A rule in force, and how many alerts of it there are."""

    alertname: str
    group: str
    expr: str
    for_seconds: float
    keep_firing_for_seconds: float
    clear: str | None
    severity: Severity
    scope: Scope
    match: list[str]
    enabled: bool
    pending: int
    firing: int


class RuleList(Document):
    """The rules in force."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.RULES))
    file: str
    loaded_at: Time
    problems: list[RuleProblem]
    rules: list[RuleRow]


class Signed(BaseModel):
    """Who acknowledges or closes an incident."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.SIGNED))
    by: Name
    comment: Comment = ""


class NewSilence(BaseModel):
    """A silence to keep. Without matchers it mutes everything. Times as everywhere."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=example(examples.NEW_SILENCE))
    kind: Literal["silence", "maintenance"] = "silence"
    matchers: Annotated[list[MatcherDocument], Field(max_length=32)]
    starts: Annotated[str, Field(max_length=60)] = "now"
    ends: Annotated[str, Field(max_length=60, description="RFC 3339, Unix seconds or `+2h`.")]
    repeat: Literal["day", "week"] | None = None
    author: Name
    comment: Comment = ""
