"""What HTTP asks of alerting: live alerts from the engine, the rest from the database."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from datetime import tzinfo
from typing import TypeVar

from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.notify.muting import Silence
from gpufleet.alerting.state import State
from gpufleet.hub.alerts.rules_watch import RulesWatch
from gpufleet.hub.api.alert_state import RulesView, RuleView
from gpufleet.hub.core import Core
from gpufleet.hub.store.alerts import (
    IncidentQuery,
    find_incidents,
    incident_history,
    query_incidents,
)
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.email import (
    Mail,
    MailState,
    OutboxView,
    list_mails,
    outbox_view,
    queue_again,
)
from gpufleet.hub.store.errors import StoreFailed
from gpufleet.hub.store.silences import StoredSilence, add_silence, end_silence, list_silences

T = TypeVar("T")

MAILS_LOOKED_AT = 1000
"""Newest mails among which those of an incident are looked for."""


class AlertDesk:
    """Implements gpufleet.hub.api.alert_state.AlertState. Queries run in reader threads."""

    def __init__(
        self,
        core: Core,
        database: Database,
        threads: Executor,
        rules: RulesWatch,
        commit: Callable[[], Awaitable[bool]],
        zone: tzinfo,
    ) -> None:
        self._core = core
        self._database = database
        self._threads = threads
        self._rules = rules
        self._commit = commit
        self._zone = zone

    def alerts(self) -> Sequence[Incident]:
        """Every alert that is not well now."""
        return self._core.alerts.alerts()

    async def incidents(self, wanted: IncidentQuery) -> Sequence[Incident]:
        """A page of incidents, newest first."""

        def read() -> Sequence[Incident]:
            with self._database.reading() as connection:
                return query_incidents(connection, wanted)

        return [self._newest(one) for one in await self._run(read)]

    async def incident(
        self, incident_id: str
    ) -> tuple[Incident, Sequence[Notice], Sequence[Mail]] | None:
        """One incident with its history."""

        def read() -> tuple[Incident, Sequence[Notice], Sequence[Mail]] | None:
            with self._database.reading() as connection:
                found = find_incidents(connection, [incident_id]).get(incident_id)
                if found is None:
                    return None
                history = incident_history(connection, incident_id)
                mails = list_mails(connection, limit=MAILS_LOOKED_AT)
                of_it = [mail for mail in mails if incident_id in mail.content.ids()]
                return found, history, of_it

        found = await self._run(read)
        return None if found is None else (self._newest(found[0]), found[1], found[2])

    def _newest(self, stored: Incident) -> Incident:
        """An open incident's value moves on in memory."""
        live = self._core.alerts.book.open.get((stored.alertname, stored.subject_id))
        return live if live is not None and live.id == stored.id else stored

    async def acknowledge(self, incident_id: str, by: str, comment: str) -> Incident | None:
        """Take note of an open incident."""
        return await self._durable(self._core.alerts.acknowledge(incident_id, by, comment))

    async def close(self, incident_id: str, by: str, comment: str) -> Incident | None:
        """End an open incident."""
        return await self._durable(self._core.alerts.close(incident_id, by, comment))

    async def _durable(self, changed: Incident | None) -> Incident | None:
        if changed is not None and not await self._commit():
            raise StoreFailed(
                "It is noted, and written as soon as the database takes it, which it does not now."
            )
        return changed

    async def silences(self) -> Sequence[StoredSilence]:
        """Those that have not ended."""

        def read() -> Sequence[StoredSilence]:
            with self._database.reading() as connection:
                return list_silences(connection, self._core.now())

        return await self._run(read)

    async def add_silence(self, silence: Silence, kind: str) -> StoredSilence:
        """Keep a silence."""
        stored = StoredSilence(silence, kind, self._core.now())

        def write() -> None:
            with self._database.writing() as connection:
                add_silence(connection, stored)

        await self._run(write)
        return stored

    async def end_silence(self, silence_id: str) -> bool:
        """End a silence now."""

        def write() -> bool:
            with self._database.writing() as connection:
                return end_silence(connection, silence_id, self._core.now())

        return await self._run(write)

    def active(self, silence: Silence) -> bool:
        """Whether it mutes now."""
        return silence.active(self._core.now(), self._zone)

    def muted_by(self, incident: Incident, silences: Sequence[StoredSilence]) -> list[str]:
        """Ids of those that mute this incident now."""
        now = self._core.now()
        return [one.silence.id for one in silences if one.silence.mutes(incident, now, self._zone)]

    def rules(self) -> RulesView:
        """The rules in force."""
        engine = self._core.alerts.engine
        pending: Counter[str] = Counter()
        firing: Counter[str] = Counter()
        for rule, _, standing in engine.standings():
            counts = pending if standing.alert.state is State.PENDING else firing
            counts[rule.name] += 1
        watch = self._rules
        return RulesView(
            watch.source,
            watch.loaded_ms,
            watch.problems,
            [RuleView(r, pending[r.name], firing[r.name]) for r in engine.rules.rules],
        )

    async def emails(
        self, state: MailState | None, limit: int
    ) -> tuple[OutboxView, Sequence[Mail]]:
        """The newest mails, and counts of all."""

        def read() -> tuple[OutboxView, Sequence[Mail]]:
            with self._database.reading() as connection:
                return outbox_view(connection), list_mails(connection, state, limit)

        return await self._run(read)

    async def send_again(self, mail_id: str) -> bool:
        """Queue a mail that was given up; it is sent within seconds."""

        def write() -> bool:
            with self._database.writing() as connection:
                return queue_again(connection, mail_id, self._core.now())

        return await self._run(write)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
