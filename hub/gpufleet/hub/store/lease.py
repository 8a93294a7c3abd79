"""The lease: which of several hubs on one database is the one that writes.

One row, whose ``epoch`` counts the holders and whose ``renewals`` the holder raises each second.
A hub that stands by takes the lease once the row has not changed for ``HELD_SECONDS`` of its own
clock: no two clocks are ever compared. Taking it is a compare-and-set on (epoch, renewals), and
every writing transaction of a holder locks the row of its epoch against being taken, so that what
a former holder still writes is either committed before the lease passes or not at all, however
long that hub was frozen.

The epoch is part of the primary key: so PostgreSQL lets the renewal pass beside FOR KEY SHARE, and
makes only the next holder wait for transactions that are under way.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sqlalchemy import Connection, select, text, update

from gpufleet.hub.store.errors import StoreLeaseLost
from gpufleet.hub.store.tables import lease as table

RENEW_SECONDS = 1.0
HELD_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Lease:
    """One hub's turn with the database."""

    epoch: int
    holder: str


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """The lease as it stands in the database; ``holder`` "": it was given back."""

    epoch: int
    holder: str
    renewals: int


@dataclass(slots=True)
class Watch:
    """What a hub that stands by has seen of the row. Pure: the clock is passed."""

    seen: LeaseRow | None = field(default=None, init=False)
    since: float = field(default=0.0, init=False)
    _anew: bool = field(default=False, init=False)

    def missed(self) -> None:
        """The row could not be seen: the holder could not renew it either, so the wait begins anew.

        Otherwise a database that was away would change hands when it comes back.
        """
        self._anew = True

    def free(self, row: LeaseRow, now: float, *, alone: bool = False) -> bool:
        """Whether the lease may be taken; ``now`` is any clock that only goes forward.

        ``alone``: no other hub can have the database, there is nobody to wait for.
        """
        if row != self.seen or self._anew:
            self.seen, self.since, self._anew = row, now, False
        return alone or not row.holder or now - self.since >= HELD_SECONDS


def read(connection: Connection) -> LeaseRow:
    """The row as it stands."""
    row = connection.execute(select(table.c.epoch, table.c.holder, table.c.renewals)).one()
    return LeaseRow(row.epoch, row.holder, row.renewals)


def take(connection: Connection, row: LeaseRow, holder: str) -> Lease | None:
    """The next epoch's lease, or ``None``: it is not any more as ``row`` says."""
    _end_sessions(connection, row.holder)
    done = connection.execute(
        update(table)
        .where(table.c.epoch == row.epoch, table.c.renewals == row.renewals)
        .values(epoch=row.epoch + 1, holder=holder, renewals=0, renewed_ms=_now_ms())
    )
    return Lease(row.epoch + 1, holder) if done.rowcount == 1 else None


def renew(connection: Connection, lease: Lease) -> bool:
    """Show that the holder lives; False: another hub has the lease."""
    done = connection.execute(
        update(table)
        .where(table.c.epoch == lease.epoch)
        .values(renewals=table.c.renewals + 1, renewed_ms=_now_ms())
    )
    return done.rowcount == 1


def release(connection: Connection, lease: Lease) -> None:
    """Give the lease back: the next hub need not wait."""
    connection.execute(
        update(table)
        .where(table.c.epoch == lease.epoch)
        .values(holder="", renewals=table.c.renewals + 1)
    )


def check(connection: Connection, lease: Lease) -> None:
    """Hold the lease until this transaction ends; StoreLeaseLost if it has passed on."""
    found = connection.execute(
        select(table.c.epoch)
        .where(table.c.epoch == lease.epoch)
        .with_for_update(read=True, key_share=True)
    ).scalar()
    if found is None:
        raise StoreLeaseLost("Another hub has taken over the database; this one must stand by.")


def _end_sessions(connection: Connection, holder: str) -> None:
    """End what a frozen holder has open: its transaction would hold the row for ever."""
    if connection.dialect.name != "postgresql" or not holder:
        return
    connection.execute(
        text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = :name AND datname = current_database() "
            "AND pid <> pg_backend_pid()"
        ),
        {"name": f"gpufleet {holder}"},
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
