"""Incidents and notices as alerting makes them, straight into a database: for tests of mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import update

from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.notify.routing import Route
from gpufleet.alerting.state import Kind
from gpufleet.hub.mail.config import MailConfig
from gpufleet.hub.mail.notifier import Notifier
from gpufleet.hub.store.alerts import AlertWrite, write_alerts
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.email import Mail, MailState, find_mail, list_mails
from gpufleet.hub.store.tables import email_outbox
from support.mail_incidents import T0, incident, moved

OPS = "ops@example.org"


@dataclass(slots=True)
class World:
    """A clock, a database, and a notifier over them."""

    database: Database
    config: MailConfig = field(
        default_factory=lambda: MailConfig(sender="gpufleet@example.org", routes=(Route((OPS,)),))
    )
    now_ms: int = T0
    notifier: Notifier = field(init=False)
    incidents: dict[str, Incident] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """As after a restart of the hub: nothing but the database is remembered."""
        self.notifier = Notifier(
            self.database, self.config, lambda: self.now_ms, lambda incidents, start, end: []
        )

    def move(self, one: Incident, kind: Kind, **changes: Any) -> Incident:
        """Something happens to an incident now: written as a flush writes it."""
        found = moved(one, kind, self.now_ms, **changes)
        self.incidents[one.id] = found
        notice = Notice(0, one.id, kind, self.now_ms, self.now_ms)
        with self.database.writing() as connection:
            write_alerts(connection, AlertWrite(incidents=[found], notices=[notice]))
        return found

    def fire(self, name: str, **changes: Any) -> Incident:
        return self.move(incident(name, fired_ms=self.now_ms, **changes), Kind.FIRED)

    def after(self, seconds: float) -> list[Mail]:
        """Let time pass, a second at least between looks; the mails that came of it."""
        before = {mail.id for mail in self.mails()}
        self.now_ms += round(seconds * 1000)
        self.step()
        return [mail for mail in self.mails() if mail.id not in before]

    def step(self) -> None:
        self.notifier._look_ms = 0
        while self.notifier.process_one():
            pass

    def mails(self, state: MailState | None = None) -> Sequence[Mail]:
        """All mails, the oldest first."""
        with self.database.reading() as connection:
            return list_mails(connection, state, 10_000)[::-1]

    def message(self, mail: Mail) -> bytes:
        """A mail as it will go over the wire."""
        with self.database.reading() as connection:
            whole = find_mail(connection, mail.id)
        assert whole is not None
        assert whole.message is not None
        return whole.message

    def sent(self) -> None:
        """Every queued mail goes out."""
        with self.database.writing() as connection:
            connection.execute(
                update(email_outbox)
                .where(email_outbox.c.state == MailState.QUEUED.value)
                .values(state=MailState.SENT.value, settled_ms=self.now_ms)
            )
