"""Mail in SQL: the outbox with its claims, group episodes, flapping alerts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, select, update

from gpufleet.alerting.notify.absorb import Told
from gpufleet.alerting.notify.content import Content, content_from
from gpufleet.alerting.notify.episode import FLAP_WINDOW_MS, Episode, Flap, GroupKey, episode_from
from gpufleet.alerting.notify.limits import HOUR_MS, Recent
from gpufleet.alerting.state import Severity
from gpufleet.hub.store.dialect import batches, insert_or_ignore, upsert
from gpufleet.hub.store.tables import email_flaps, email_groups, email_outbox


class MailState(Enum):
    """Where a row of the outbox stands."""

    QUEUED = "queued"
    HELD = "held"
    """It waits for the recipient's next digest."""
    SENDING = "sending"
    """Claimed: a sender is at it, or died at it."""
    SENT = "sent"
    """The server took it."""
    DEAD = "dead"
    """The server refused it for good, or for three days."""
    SUPERSEDED = "superseded"
    """A later mail tells what it would have told."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail for one recipient. ``episode_id`` "": a digest. Times in Unix ms UTC."""

    id: str
    """Made of what it tells to whom: the same mail is never in the outbox twice."""
    episode_id: str
    recipient: str
    severity: Severity
    content: Content
    subject: str
    message_id: str
    message: bytes | None
    """As it goes over the wire; ``None``: not rendered (held), or sent long since."""
    state: MailState
    created_ms: int
    first_ms: int
    """When the first mail was made whose place it took."""
    next_ms: int
    """Not sent before."""
    attempts: int = 0
    claim: str = ""
    deferred_ms: int | None = None
    """Since when the server puts it off (4xx)."""
    settled_ms: int | None = None
    error: str = ""
    """What went wrong last, in a sentence."""


@dataclass(frozen=True, slots=True)
class OutboxView:
    """How the outbox is, for /metrics and people."""

    waiting: int
    oldest_ms: int | None
    """When the oldest mail that waits was made."""
    held: int
    dead: int
    sent: int


def load_told(connection: Connection, now_ms: int) -> Told:
    """Open episodes, and the moves of the last half hour."""
    told = Told()
    for row in connection.execute(select(email_groups).where(email_groups.c.closed_ms.is_(None))):
        key = GroupKey(row.model, Severity(row.severity), tuple(row.recipients))
        told.episodes[row.id] = episode_from(row.id, key, row.opened_ms, None, row.document)
    query = select(email_flaps).where(email_flaps.c.last_ms > now_ms - FLAP_WINDOW_MS)
    for row in connection.execute(query):
        alert = (row.alertname, row.subject_key)
        flap = Flap(alert, tuple(row.document["times_ms"]), row.document["told_ms"])
        told.flaps[alert] = flap
    return told


def write_told(
    connection: Connection, episodes: Iterable[Episode], flaps: Iterable[Flap], now_ms: int
) -> None:
    """Keep these as they are now; moves that nobody counts any more are forgotten."""
    rows = [
        {
            "id": one.id,
            "model": one.key.model,
            "severity": one.key.severity.value,
            "recipients": list(one.key.recipients),
            "opened_ms": one.opened_ms,
            "closed_ms": one.closed_ms,
            "document": one.document(),
        }
        for one in episodes
    ]
    if rows:
        statement = upsert(connection, email_groups, ("id",), ("closed_ms", "document"))
        connection.execute(statement, rows)
    moves = [
        {
            "alertname": one.alert[0],
            "subject_key": one.alert[1],
            "last_ms": max(one.times_ms, default=0),
            "document": {"times_ms": list(one.times_ms), "told_ms": one.told_ms},
        }
        for one in flaps
    ]
    if moves:
        statement = upsert(
            connection, email_flaps, ("alertname", "subject_key"), ("last_ms", "document")
        )
        connection.execute(statement, moves)
        old = email_flaps.c.last_ms <= now_ms - FLAP_WINDOW_MS
        connection.execute(delete(email_flaps).where(old))


def put_mails(connection: Connection, mails: Sequence[Mail]) -> None:
    """Add mails; one that is there already stays as it is."""
    if mails:
        connection.execute(insert_or_ignore(connection, email_outbox), [_values(m) for m in mails])


def unsent_of(connection: Connection, episode_ids: Collection[str]) -> list[Mail]:
    """Mails of these episodes that were not sent and may be yet, the oldest first."""
    wanted = [MailState.QUEUED.value, MailState.HELD.value, MailState.SENDING.value]
    found = []
    for some in batches(sorted(episode_ids)):
        query = select(email_outbox).where(
            email_outbox.c.episode_id.in_(some), email_outbox.c.state.in_(wanted)
        )
        found += [_mail(row) for row in connection.execute(query)]
    return sorted(found, key=lambda mail: mail.created_ms)


def held_mails(connection: Connection) -> list[Mail]:
    """What waits for digests, the oldest first."""
    query = select(email_outbox).where(email_outbox.c.state == MailState.HELD.value)
    return [_mail(row) for row in connection.execute(query.order_by(email_outbox.c.created_ms))]


def supersede(connection: Connection, mails: Iterable[Mail], now_ms: int) -> bool:
    """Take these back, that none was sent or claimed; False: one was, and nothing may be said."""
    for mail in mails:
        done = connection.execute(
            update(email_outbox)
            .where(email_outbox.c.id == mail.id, email_outbox.c.state == mail.state.value)
            .values(state=MailState.SUPERSEDED.value, settled_ms=now_ms, message=None)
        )
        if done.rowcount != 1:
            return False
    return True


def recent_mails(
    connection: Connection, recipients: Collection[str], now_ms: int
) -> dict[str, Recent]:
    """What each recipient was given in the last hour."""
    found: dict[str, list[tuple[int, str]]] = {}
    counted = [MailState.QUEUED.value, MailState.SENDING.value, MailState.SENT.value]
    for some in batches(sorted(recipients)):
        query = select(
            email_outbox.c.recipient, email_outbox.c.created_ms, email_outbox.c.episode_id
        ).where(
            email_outbox.c.recipient.in_(some),
            email_outbox.c.created_ms > now_ms - HOUR_MS,
            email_outbox.c.state.in_(counted),
        )
        for row in connection.execute(query):
            found.setdefault(row.recipient, []).append((row.created_ms, row.episode_id))
    return {
        recipient: Recent(
            tuple(sorted(at for at, _ in given)),
            max((at for at, episode in given if not episode), default=None),
        )
        for recipient, given in found.items()
    }


def claim_one(connection: Connection, claim: str, now_ms: int) -> Mail | None:
    """Claim the mail that is due for longest, by compare-and-set; ``None``: none is due."""
    query = (
        select(email_outbox)
        .where(email_outbox.c.state == MailState.QUEUED.value, email_outbox.c.next_ms <= now_ms)
        .order_by(email_outbox.c.next_ms, email_outbox.c.created_ms, email_outbox.c.id)
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    done = connection.execute(
        update(email_outbox)
        .where(email_outbox.c.id == row.id, email_outbox.c.state == MailState.QUEUED.value)
        .values(state=MailState.SENDING.value, claim=claim, attempts=email_outbox.c.attempts + 1)
    )
    if done.rowcount != 1:
        return None
    return _mail(connection.execute(select(email_outbox).where(email_outbox.c.id == row.id)).one())


def settle(
    connection: Connection,
    mail: Mail,
    state: MailState,
    now_ms: int,
    *,
    next_ms: int | None = None,
    deferred_ms: int | None = None,
    error: str = "",
) -> bool:
    """Say how the sending of a claimed mail ended; False: it was not claimed like that any more."""
    over = state in (MailState.SENT, MailState.DEAD)
    values: dict[str, Any] = {"state": state.value, "claim": "", "error": error[:2000]}
    if over:
        values["settled_ms"] = now_ms
    if state is MailState.SENT:
        values["message"] = None
    if next_ms is not None:
        values["next_ms"] = next_ms
    if deferred_ms is not None:
        values["deferred_ms"] = deferred_ms
    done = connection.execute(
        update(email_outbox)
        .where(email_outbox.c.id == mail.id, email_outbox.c.claim == mail.claim)
        .values(**values)
    )
    return done.rowcount == 1


def release_claims(connection: Connection, claim: str) -> int:
    """Queue again what senders before this one left claimed: it may have been sent, or not."""
    done = connection.execute(
        update(email_outbox)
        .where(email_outbox.c.state == MailState.SENDING.value, email_outbox.c.claim != claim)
        .values(state=MailState.QUEUED.value, claim="")
    )
    return done.rowcount


def queue_again(connection: Connection, mail_id: str, now_ms: int) -> bool:
    """Send a dead mail after all; False: there is none with this id."""
    done = connection.execute(
        update(email_outbox)
        .where(email_outbox.c.id == mail_id, email_outbox.c.state == MailState.DEAD.value)
        .values(state=MailState.QUEUED.value, next_ms=now_ms, deferred_ms=None, settled_ms=None)
    )
    return done.rowcount == 1


def forget_mails(connection: Connection, before_ms: int) -> int:
    """Delete what was settled, and episodes that closed, before this time."""
    gone = connection.execute(
        delete(email_outbox).where(
            email_outbox.c.settled_ms.is_not(None), email_outbox.c.settled_ms < before_ms
        )
    )
    old = email_groups.c.closed_ms.is_not(None) & (email_groups.c.closed_ms < before_ms)
    connection.execute(delete(email_groups).where(old))
    return gone.rowcount


def outbox_view(connection: Connection) -> OutboxView:
    """Counts by state, and the oldest mail that waits."""
    query = select(email_outbox.c.state, func.count(), func.min(email_outbox.c.first_ms)).group_by(
        email_outbox.c.state
    )
    counts: dict[str, tuple[int, int]] = {
        state: (count, oldest) for state, count, oldest in connection.execute(query)
    }
    waiting = [
        counts[one.value] for one in (MailState.QUEUED, MailState.SENDING) if one.value in counts
    ]
    return OutboxView(
        waiting=sum(count for count, _ in waiting),
        oldest_ms=min((oldest for _, oldest in waiting), default=None),
        held=counts.get(MailState.HELD.value, (0, 0))[0],
        dead=counts.get(MailState.DEAD.value, (0, 0))[0],
        sent=counts.get(MailState.SENT.value, (0, 0))[0],
    )


def list_mails(
    connection: Connection, state: MailState | None = None, limit: int = 100
) -> list[Mail]:
    """The newest mails, without their messages."""
    columns = [column for column in email_outbox.c if column.name != "message"]
    query: Select[Any] = select(*columns).order_by(email_outbox.c.created_ms.desc())
    if state is not None:
        query = query.where(email_outbox.c.state == state.value)
    return [_mail(row) for row in connection.execute(query.limit(limit))]


def find_mail(connection: Connection, mail_id: str) -> Mail | None:
    """One mail, whole."""
    row = connection.execute(select(email_outbox).where(email_outbox.c.id == mail_id)).first()
    return _mail(row) if row is not None else None


def _values(mail: Mail) -> Mapping[str, Any]:
    return {
        "id": mail.id,
        "episode_id": mail.episode_id,
        "recipient": mail.recipient,
        "severity": mail.severity.value,
        "reason": mail.content.reason.value,
        "subject": mail.subject,
        "message_id": mail.message_id,
        "content": mail.content.document(),
        "message": mail.message,
        "state": mail.state.value,
        "created_ms": mail.created_ms,
        "first_ms": mail.first_ms,
        "next_ms": mail.next_ms,
        "attempts": mail.attempts,
        "claim": mail.claim,
        "deferred_ms": mail.deferred_ms,
        "settled_ms": mail.settled_ms,
        "error": mail.error,
    }


def _mail(row: Row[Any]) -> Mail:
    found = row._mapping
    return Mail(
        id=row.id,
        episode_id=row.episode_id,
        recipient=row.recipient,
        severity=Severity(row.severity),
        content=content_from(row.content),
        subject=row.subject,
        message_id=row.message_id,
        message=found.get("message"),
        state=MailState(row.state),
        created_ms=row.created_ms,
        first_ms=row.first_ms,
        next_ms=row.next_ms,
        attempts=row.attempts,
        claim=row.claim,
        deferred_ms=row.deferred_ms,
        settled_ms=row.settled_ms,
        error=row.error,
    )
