"""Silences and maintenance windows in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from gpufleet.alerting.notify.muting import Silence, silence_from
from gpufleet.hub.store.tables import silences


@dataclass(frozen=True, slots=True)
class StoredSilence:
    """A silence as it is kept; ``kind`` is ``silence`` or ``maintenance``."""

    silence: Silence
    kind: str
    created_ms: int


def list_silences(connection: Connection, now_ms: int, limit: int = 1000) -> list[StoredSilence]:
    """Those that have not ended, the newest first."""
    query = (
        select(silences)
        .where(or_(silences.c.ends_ms > now_ms, silences.c.repeat != ""))
        .order_by(silences.c.created_ms.desc(), silences.c.id)
        .limit(limit)
    )
    return [_stored(row) for row in connection.execute(query)]


def add_silence(connection: Connection, stored: StoredSilence) -> None:
    """Keep one."""
    silence = stored.silence
    connection.execute(
        insert(silences).values(
            id=silence.id,
            kind=stored.kind,
            matchers=[str(matcher) for matcher in silence.matchers],
            starts_ms=silence.starts_ms,
            ends_ms=silence.ends_ms,
            repeat=silence.repeat.value,
            author=silence.author,
            comment=silence.comment,
            created_ms=stored.created_ms,
        )
    )


def end_silence(connection: Connection, silence_id: str, now_ms: int) -> bool:
    """End one now; one that has not begun goes. False: there is none that has not ended."""
    mine = silences.c.id == silence_id
    gone = connection.execute(delete(silences).where(mine, silences.c.starts_ms > now_ms))
    if gone.rowcount:
        return True
    ended = connection.execute(
        update(silences)
        .where(mine, or_(silences.c.ends_ms > now_ms, silences.c.repeat != ""))
        .values(ends_ms=now_ms, repeat="")
    )
    return bool(ended.rowcount)


def _stored(row: Row[Any]) -> StoredSilence:
    return StoredSilence(silence_from(dict(row._mapping)), row.kind, row.created_ms)
