"""Forgets what is old, and the oldest samples where bytes are bounded, in steps of milliseconds."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, select, text

from gpufleet.hub.store.database import Database
from gpufleet.hub.store.dialect import batches, upsert
from gpufleet.hub.store.grid import hour_of
from gpufleet.hub.store.sources import Kept
from gpufleet.hub.store.tables import (
    HOUR_MS,
    events,
    hours,
    meta,
    minutes,
    process_usage,
    samples,
    subjects,
)
from gpufleet.proto.logline import said

log = logging.getLogger(__name__)

DAY_MS = 24 * HOUR_MS
PERIOD_MS = 10 * 60_000
"""From the end of one pass over everything to the beginning of the next."""
MAX_CHUNKS = 100
MAX_ROWS = 1000
"""Rows that one step deletes at most, of ``samples`` and of the other tables."""
SUBJECTS = 50
"""Subjects that one step looks at."""
SPARE_PAGES = 1000
"""Free pages that a SQLite file keeps for what comes next."""
VACUUM_PAGES = 500
ROW_BYTES = 64
"""What a row takes beside its chunk, about."""

SAMPLES_FROM = "samples_from"
"""In ``meta``: samples before this time were forgotten, and are not taken again."""
MINUTES_FROM = "minutes_from"
"""In ``meta``: the same of minutes."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept. ``max_bytes`` bounds the whole database, ``None``: nothing does."""

    samples_ms: int = 15 * DAY_MS
    minutes_ms: int = 30 * DAY_MS
    hours_ms: int = 730 * DAY_MS
    events_ms: int = 730 * DAY_MS
    max_bytes: int | None = None


class Sweeper:
    """Does a pass over everything step by step; each step is one short transaction."""

    def __init__(self, database: Database, retention: Retention) -> None:
        self._database = database
        self._retention = retention
        self._pass: Iterator[None] | None = None
        self._next_ms = 0
        self._told_full = False

    def step(self, now_ms: int) -> bool:
        """Do a little; True: more waits. StoreError: the pass begins anew next time."""
        if self._pass is None:
            if now_ms < self._next_ms:
                return False
            self._pass = self._sweep(now_ms)
        work, self._pass = self._pass, None  # what fails is not gone on with
        try:
            next(work)
        except StopIteration:
            self._next_ms = now_ms + PERIOD_MS
            return False
        self._pass = work
        return True

    def _sweep(self, now_ms: int) -> Iterator[None]:
        keep = self._retention
        with self._database.reading() as connection:
            ids = connection.execute(select(subjects.c.id).order_by(subjects.c.id)).scalars().all()
        yield from self._forget_samples(ids, hour_of(now_ms - keep.samples_ms))
        minutes_from = hour_of(now_ms - keep.minutes_ms)
        with self._database.writing() as connection:
            _raise_from(connection, MINUTES_FROM, minutes_from)
        yield from self._forget(minutes, ids, minutes_from)
        yield from self._forget(hours, ids, now_ms - keep.hours_ms)
        yield from self._forget(process_usage, ids, now_ms - keep.hours_ms)
        yield from self._forget_events(now_ms - keep.events_ms)
        if keep.max_bytes is not None:
            yield from self._bound(ids, keep.max_bytes, hour_of(now_ms))
        if not self._database.is_postgresql:
            yield from self._give_back()

    def _forget_samples(self, ids: Sequence[int], before_ms: int) -> Iterator[None]:
        with self._database.writing() as connection:
            _raise_from(connection, SAMPLES_FROM, before_ms)
        yield from self._forget(samples, ids, before_ms, MAX_CHUNKS)

    def _forget(
        self, table: Table, ids: Sequence[int], before_ms: int, limit: int = MAX_ROWS
    ) -> Iterator[None]:
        """Rows of these subjects with a start before ``before_ms``."""
        remove = delete(table).where(
            table.c.subject_id == bindparam("subject"), table.c.start <= bindparam("last")
        )
        for some in batches(ids, SUBJECTS):
            found = limit
            while found == limit:
                with self._database.reading() as connection:
                    rows = connection.execute(
                        select(table.c.subject_id, table.c.start)
                        .where(table.c.subject_id.in_(some), table.c.start < before_ms)
                        .order_by(table.c.subject_id, table.c.start)
                        .limit(limit)
                    ).all()
                found = len(rows)
                if rows:
                    last = {row.subject_id: row.start for row in rows}
                    with self._database.writing() as connection:
                        connection.execute(
                            remove, [{"subject": key, "last": start} for key, start in last.items()]
                        )
                yield

    def _forget_events(self, before_ms: int) -> Iterator[None]:
        while True:
            with self._database.writing() as connection:
                last = connection.execute(
                    select(events.c.time_ms)
                    .where(events.c.time_ms < before_ms)
                    .order_by(events.c.time_ms)
                    .limit(1)
                    .offset(MAX_ROWS - 1)
                ).scalar()
                connection.execute(
                    delete(events).where(
                        events.c.time_ms < before_ms if last is None else events.c.time_ms <= last
                    )
                )
            if last is None:
                return
            yield

    def _bound(self, ids: Sequence[int], max_bytes: int, now_hour_ms: int) -> Iterator[None]:
        """Forget the oldest hours of samples until the database fits; never the running hour."""
        with self._database.reading() as connection:
            over = stored_bytes(connection) - max_bytes
        while over > 0:
            with self._database.reading() as connection:
                oldest = _oldest_hour(connection)
            if oldest is None or oldest >= now_hour_ms:
                if not self._told_full:
                    log.warning(
                        "database is over its bound without any old samples: raise "
                        "retention_bytes or keep minutes, hours and events for less time %s",
                        said(bytes_over=over),
                    )
                self._told_full = True
                return
            with self._database.reading() as connection:
                over -= _bytes_before(connection, ids, oldest + HOUR_MS)
            yield from self._forget_samples(ids, oldest + HOUR_MS)
        self._told_full = False

    def _give_back(self) -> Iterator[None]:
        """Cut free pages off the file, but for some that will be used again soon."""
        while True:
            with self._database.writing() as connection:
                free = _pragma(connection, "freelist_count") - SPARE_PAGES
                if free > 0:
                    file: Any = connection.connection.driver_connection
                    # Each page is a row of the answer: what is not fetched is not done.
                    pages = min(free, VACUUM_PAGES)
                    file.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
            if free <= 0:
                return
            yield


def samples_from(connection: Connection) -> int:
    """Samples before this time are not taken: they were forgotten, or would be at once."""
    return _from(connection, SAMPLES_FROM)


def kept_since(connection: Connection) -> Kept:
    """What is still there to be asked for."""
    return Kept(samples_from(connection), _from(connection, MINUTES_FROM))


def stored_bytes(connection: Connection) -> int:
    """What the database holds, without the room that is free for reuse."""
    if connection.dialect.name == "sqlite":
        used = _pragma(connection, "page_count") - _pragma(connection, "freelist_count")
        return used * _pragma(connection, "page_size")
    # Deleted rows leave room that is used again but never given back: so samples are counted.
    chunks = connection.execute(
        text(f"SELECT coalesce(sum(pg_column_size(data) + {ROW_BYTES}), 0) FROM samples")
    ).scalar_one()
    others = connection.execute(
        text(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class "
            "WHERE relkind = 'r' AND relname <> 'samples' "
            "AND relnamespace = current_schema()::regnamespace"
        )
    ).scalar_one()
    return int(chunks) + int(others)


def _from(connection: Connection, name: str) -> int:
    value = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar()
    return int(value) if value is not None else 0


def _raise_from(connection: Connection, name: str, before_ms: int) -> None:
    if before_ms > _from(connection, name):
        connection.execute(
            upsert(connection, meta, ("name",), ("value",)),
            {"name": name, "value": str(before_ms)},
        )


def _oldest_hour(connection: Connection) -> int | None:
    """The hour of the oldest chunk: a seek for each subject."""
    first = (
        select(func.min(samples.c.start))
        .where(samples.c.subject_id == subjects.c.id)
        .scalar_subquery()
    )
    oldest: int | None = connection.execute(select(func.min(first)).select_from(subjects)).scalar()
    return None if oldest is None else hour_of(oldest)


def _bytes_before(connection: Connection, ids: Sequence[int], before_ms: int) -> int:
    """Bytes of the chunks that begin before."""
    total = 0
    for some in batches(ids):
        found = connection.execute(
            select(func.coalesce(func.sum(func.length(samples.c.data) + ROW_BYTES), 0)).where(
                samples.c.subject_id.in_(some), samples.c.start < before_ms
            )
        ).scalar_one()
        total += int(found)
    return total


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
