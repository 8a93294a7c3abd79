"""Alerts in SQL: where each stands, incidents and what happened to them; the same twice as once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, or_, select, tuple_, update

from gpufleet.alerting.engine.machine import Alert
from gpufleet.alerting.engine.running import Standing
from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.state import OPEN, Kind, Scope, Severity, State
from gpufleet.hub.store.dialect import batches, insert_or_ignore, upsert
from gpufleet.hub.store.tables import alert_memories, alert_states, incidents, notices

_OPEN = [state.value for state in OPEN]
_PLAIN = tuple(
    one.name
    for one in fields(Incident)
    if one.name
    not in ("group", "severity", "scope", "state", "labels", "reasons", "processes", "users")
)
_STATE_KEY = ("rule", "subject_id")


@dataclass(frozen=True, slots=True)
class StateRow:
    """Where a rule stands with a subject; ``standing`` None: all is well, forget it."""

    rule: str
    subject_id: int
    standing: Standing | None


@dataclass(frozen=True, slots=True)
class AlertWrite:
    """What of alerts goes into a transaction."""

    states: Sequence[StateRow] = ()
    incidents: Sequence[Incident] = ()
    notices: Sequence[Notice] = ()
    memories: Mapping[int, Mapping[str, float] | None] = field(default_factory=dict)
    """Subject id → what the detector of power steps remembers; None: nothing any more."""

    def __bool__(self) -> bool:
        return bool(self.states or self.incidents or self.notices or self.memories)


def write_alerts(connection: Connection, write: AlertWrite) -> None:
    """Write states and incidents as they are now; a notice that is there stays."""
    gone = [(row.rule, row.subject_id) for row in write.states if row.standing is None]
    for some in batches(gone):
        connection.execute(
            delete(alert_states).where(
                tuple_(alert_states.c.rule, alert_states.c.subject_id).in_(some)
            )
        )
    rows = [_state_values(row) for row in write.states if row.standing is not None]
    if rows:
        changed = [c.name for c in alert_states.c if c.name not in _STATE_KEY]
        connection.execute(upsert(connection, alert_states, _STATE_KEY, changed), rows)
    if write.incidents:
        changed = [column.name for column in incidents.c if column.name != "id"]
        statement = upsert(connection, incidents, ("id",), changed)
        connection.execute(statement, [_incident_values(one) for one in write.incidents])
    _write_memories(connection, write.memories)
    if write.notices:
        connection.execute(
            insert_or_ignore(connection, notices),
            [
                {
                    "incident_id": notice.incident_id,
                    "kind": notice.kind.value,
                    "time_ms": notice.time_ms,
                    "noted_ms": notice.noted_ms,
                    "text": notice.text,
                    "by": notice.by,
                    "value": notice.value,
                    "handled_ms": None,
                }
                for notice in write.notices
            ],
        )


def _write_memories(
    connection: Connection, memories: Mapping[int, Mapping[str, float] | None]
) -> None:
    gone = [subject_id for subject_id, document in memories.items() if document is None]
    for some in batches(gone):
        connection.execute(delete(alert_memories).where(alert_memories.c.subject_id.in_(some)))
    rows = [
        {"subject_id": subject_id, "document": dict(document)}
        for subject_id, document in memories.items()
        if document is not None
    ]
    if rows:
        statement = upsert(connection, alert_memories, ("subject_id",), ("document",))
        connection.execute(statement, rows)


def load_memories(connection: Connection) -> dict[int, Mapping[str, float]]:
    """What the detector of power steps remembered, by subject id."""
    return {row.subject_id: row.document for row in connection.execute(select(alert_memories))}


def load_states(connection: Connection) -> list[tuple[int, Standing]]:
    """Every stored standing with its subject's id; the key in it is ""."""
    found = []
    for row in connection.execute(select(alert_states)):
        alert = Alert(
            State(row.state),
            row.since_ms,
            row.fired_ms,
            row.good_since_ms,
            row.last_ms,
            row.epoch,
        )
        standing = Standing(
            row.rule,
            "",
            alert,
            row.value,
            row.peak,
            row.threshold,
            row._mapping["count"],
            row.digest,
        )
        found.append((row.subject_id, standing))
    return found


def load_open_incidents(connection: Connection) -> list[Incident]:
    """Every open incident, the oldest first."""
    query = select(incidents).where(incidents.c.state.in_(_OPEN)).order_by(incidents.c.fired_ms)
    return [_incident(row) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class IncidentQuery:
    """Which incidents; ``before`` is (fired_ms, id) of the last one of the page before."""

    state: str = "open"
    """``open``, ``resolved``, ``closed`` or ``all``."""
    node: str | None = None
    alertname: str | None = None
    severity: str | None = None
    before: tuple[int, str] | None = None
    limit: int = 100


def query_incidents(connection: Connection, wanted: IncidentQuery) -> list[Incident]:
    """A page of incidents, the newest first."""
    query = select(incidents).order_by(incidents.c.fired_ms.desc(), incidents.c.id.desc())
    if wanted.state == "open":
        query = query.where(incidents.c.state.in_(_OPEN))
    elif wanted.state == "resolved":
        query = query.where(incidents.c.resolved_ms.is_not(None))
    elif wanted.state == "closed":
        query = query.where(incidents.c.closed_ms.is_not(None))
    for column, value in (
        (incidents.c.node, wanted.node),
        (incidents.c.alertname, wanted.alertname),
        (incidents.c.severity, wanted.severity),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.before is not None:
        at, key = wanted.before
        query = query.where(
            or_(
                incidents.c.fired_ms < at,
                and_(incidents.c.fired_ms == at, incidents.c.id < key),
            )
        )
    return [_incident(row) for row in connection.execute(query.limit(wanted.limit))]


def find_incidents(connection: Connection, ids: Collection[str]) -> dict[str, Incident]:
    """Incidents by id, those that there are."""
    found: dict[str, Incident] = {}
    for some in batches(sorted(ids)):
        for row in connection.execute(select(incidents).where(incidents.c.id.in_(some))):
            found[row.id] = _incident(row)
    return found


def incident_history(connection: Connection, incident_id: str) -> list[Notice]:
    """What happened to an incident, in order."""
    query = select(notices).where(notices.c.incident_id == incident_id).order_by(notices.c.id)
    return [_notice(row) for row in connection.execute(query)]


def unhandled_notices(connection: Connection, limit: int = 5000) -> list[Notice]:
    """Notices that mail has not dealt with, in order."""
    query = select(notices).where(notices.c.handled_ms.is_(None)).order_by(notices.c.id)
    return [_notice(row) for row in connection.execute(query.limit(limit))]


def mark_handled(connection: Connection, ids: Collection[int], now_ms: int) -> None:
    """Mail has dealt with these."""
    for some in batches(sorted(ids)):
        connection.execute(update(notices).where(notices.c.id.in_(some)).values(handled_ms=now_ms))


def _state_values(row: StateRow) -> dict[str, Any]:
    standing = row.standing
    assert standing is not None
    alert = standing.alert
    return {
        "rule": row.rule,
        "subject_id": row.subject_id,
        "state": alert.state.value,
        "since_ms": alert.since_ms,
        "fired_ms": alert.fired_ms,
        "good_since_ms": alert.good_since_ms,
        "last_ms": alert.last_ms,
        "epoch": alert.epoch,
        "value": standing.value,
        "peak": standing.peak,
        "threshold": standing.threshold,
        "count": standing.count,
        "digest": standing.digest,
    }


def _incident_values(incident: Incident) -> dict[str, Any]:
    values = {name: getattr(incident, name) for name in _PLAIN}
    values["rule_group"] = incident.group
    values["severity"] = incident.severity.value
    values["scope"] = incident.scope.value
    values["state"] = incident.state.value
    values["labels"] = dict(incident.labels)
    for name in ("reasons", "processes", "users"):
        values[name] = list(getattr(incident, name))
    return values


def _incident(row: Row[Any]) -> Incident:
    found = row._mapping
    return Incident(
        **{name: found[name] for name in _PLAIN},
        group=row.rule_group,
        severity=Severity(row.severity),
        scope=Scope(row.scope),
        state=State(row.state),
        labels=row.labels,
        reasons=tuple(row.reasons),
        processes=tuple(row.processes),
        users=tuple(row.users),
    )


def _notice(row: Row[Any]) -> Notice:
    return Notice(
        row.id,
        row.incident_id,
        Kind(row.kind),
        row.time_ms,
        row.noted_ms,
        row.text,
        row.by,
        row.value,
    )
