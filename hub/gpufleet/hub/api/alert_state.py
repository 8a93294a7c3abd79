"""What the HTTP side asks of alerting: one protocol, so that it knows nothing else of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.notify.muting import Silence
from gpufleet.alerting.rules.file import Problem
from gpufleet.alerting.rules.rule import Rule
from gpufleet.hub.store.alerts import IncidentQuery
from gpufleet.hub.store.email import Mail, MailState, OutboxView
from gpufleet.hub.store.silences import StoredSilence


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule in force, and how many alerts of it there are."""

    rule: Rule
    pending: int
    firing: int


@dataclass(frozen=True, slots=True)
class RulesView:
    """All rules in force; ``problems`` are those of a file that could not replace them."""

    source: str
    loaded_ms: int
    problems: Sequence[Problem]
    rules: Sequence[RuleView]


class AlertState(Protocol):
    """Alerts, incidents, silences and mail. StoreError: the database does not answer."""

    def alerts(self) -> Sequence[Incident]:
        """Every alert that is not well now; pending ones have no id."""

    async def incidents(self, wanted: IncidentQuery) -> Sequence[Incident]:
        """A page of incidents, newest first, as they are committed."""

    async def incident(
        self, incident_id: str
    ) -> tuple[Incident, Sequence[Notice], Sequence[Mail]] | None:
        """One incident with what happened to it and what was mailed of it."""

    async def acknowledge(self, incident_id: str, by: str, comment: str) -> Incident | None:
        """Take note of an open incident; stored when this returns. None: it is not open."""

    async def close(self, incident_id: str, by: str, comment: str) -> Incident | None:
        """End an open incident; stored when this returns. None: it is not open."""

    async def silences(self) -> Sequence[StoredSilence]:
        """Every silence and maintenance window that has not ended, the newest first."""

    async def add_silence(self, silence: Silence, kind: str) -> StoredSilence:
        """Keep a silence."""

    async def end_silence(self, silence_id: str) -> bool:
        """End a silence now; False: there is none that has not ended."""

    def active(self, silence: Silence) -> bool:
        """Whether it mutes now, in the hub's timezone."""

    def muted_by(self, incident: Incident, silences: Sequence[StoredSilence]) -> list[str]:
        """Ids of those that mute this incident now."""

    def rules(self) -> RulesView:
        """The rules in force."""

    async def emails(
        self, state: MailState | None, limit: int
    ) -> tuple[OutboxView, Sequence[Mail]]:
        """The newest mails, and counts of all."""

    async def send_again(self, mail_id: str) -> bool:
        """Queue a mail that was given up; False: there is no such one."""
