"""Incidents and notices as alerting makes them, straight into a database: for tests of mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.notify.routing import Route
from gpufleet.alerting.state import Kind, Scope, Severity, State
from gpufleet.hub.mail.config import MailConfig
from gpufleet.hub.mail.notifier import Notifier
from gpufleet.hub.store.alerts import AlertWrite, write_alerts
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.email import Mail, MailState, list_mails

T0 = 1_790_000_000_000
MINUTE = 60_000
OPS = "ops@example.org"


def incident(name: str, **changes: Any) -> Incident:
    """A GPU that is too hot; ``name`` is the incident's id and in the GPU's key."""
    base = Incident(
        id=name,
        alertname="GpuHot",
        group="heat",
        severity=Severity.WARNING,
        scope=Scope.GPU,
        state=State.FIRING,
        node="n1",
        subject_key=f"GPU-{name}",
        gpu_index=0,
        gpu_name="NVIDIA H100 80GB HBM3",
        since_ms=T0 - 5 * MINUTE,
        fired_ms=T0,
        last_sample_ms=T0,
        value=91.0,
        peak=93.0,
        threshold=80.0,
        comparison=">",
        metric="temperature_celsius",
        unit="celsius",
        summary="It is hot",
        advice="Cool it.",
        subject_id=1,
    )
    return replace(base, **changes)


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
        state = {
            Kind.FIRED: State.FIRING,
            Kind.RETURNED: State.FIRING,
            Kind.NO_DATA: State.NO_DATA,
            Kind.RESOLVED: State.OK,
            Kind.CLOSED: State.OK,
        }.get(kind, one.state)
        if kind is Kind.RESOLVED:
            changes.setdefault("resolved_ms", self.now_ms)
        if kind is Kind.CLOSED:
            changes.setdefault("closed_ms", self.now_ms)
        moved = replace(one, state=state, **changes)
        self.incidents[one.id] = moved
        notice = Notice(0, one.id, kind, self.now_ms, self.now_ms)
        with self.database.writing() as connection:
            write_alerts(connection, AlertWrite(incidents=[moved], notices=[notice]))
        return moved

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

    def sent(self) -> None:
        """Every queued mail goes out."""
        from sqlalchemy import update

        from gpufleet.hub.store.tables import email_outbox

        with self.database.writing() as connection:
            connection.execute(
                update(email_outbox)
                .where(email_outbox.c.state == MailState.QUEUED.value)
                .values(state=MailState.SENT.value, settled_ms=self.now_ms)
            )
