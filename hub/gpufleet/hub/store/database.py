"""Opens the database, and gives transactions that fail with one sentence."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator

from sqlalchemy import URL, Connection, Engine, make_url, select
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gpufleet.hub.store import lease as leases
from gpufleet.hub.store import tables
from gpufleet.hub.store.errors import StoreFailed, StoreLeaseLost, StoreUnusable, reason
from gpufleet.hub.store.lease import Lease
from gpufleet.hub.store.postgres import CALL_SECONDS, postgres_engine
from gpufleet.hub.store.schema import check_schema
from gpufleet.hub.store.sqlite_file import check_place, lock_file, sqlite_engine, sqlite_path

LEASE_CALL_SECONDS = 2.0
"""The keeper of the lease waits this long for one answer: the lease itself lasts 3 s."""


class Database:
    """An open database. Its methods are for any thread; writers take turns.

    One hub at a time writes to a database, so one lock in this process orders all its writes:
    between what a writer reads and what it writes nothing comes. A hub that shares a PostgreSQL
    with others holds a lease (tenure.py): from ``stand_by`` on every ``writing`` without it, or
    with one that has passed to another hub, is refused.
    """

    def __init__(
        self,
        engine: Engine,
        lock_fd: int | None = None,
        *,
        lease_engine: Engine | None = None,
        holder: str = "",
    ) -> None:
        self.engine = engine
        self.holder = holder
        """What this hub calls itself in the lease."""
        self._lease_engine = lease_engine or engine
        self._lease: Lease | None = None
        self._guarded = False
        self._lock_fd = lock_fd
        self._writer = threading.Lock()
        self._reading = engine
        if self.is_postgresql:  # a SQLite transaction is a snapshot by itself
            self._reading = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        self._writing = engine.execution_options(gpufleet_writing=True)
        self._leasing = self._lease_engine.execution_options(gpufleet_writing=True)

    @property
    def is_postgresql(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    @property
    def alone(self) -> bool:
        """No other hub can have it: a SQLite file that this process has locked."""
        return self._lock_fd is not None

    @property
    def lease(self) -> Lease | None:
        """The lease under which this hub writes."""
        return self._lease

    def stand_by(self) -> None:
        """From now on nothing is written but under a lease."""
        self._lease = None
        self._guarded = True

    def write_under(self, lease: Lease) -> None:
        """Every transaction of ``writing`` holds only while ``lease`` does."""
        self._lease = lease
        self._guarded = True

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database; StoreFailed if it cannot."""
        with _failing("read", self.engine.url), self._reading.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back on any exception; or StoreFailed.

        StoreLeaseLost when another hub has the database now.
        """
        with (
            self._writer,
            _failing("write to", self.engine.url),
            self._writing.begin() as connection,
        ):
            if self._guarded:
                if self._lease is None:
                    raise StoreLeaseLost("This hub stands by: it does not hold the database.")
                leases.check(connection, self._lease)
            yield connection

    @contextlib.contextmanager
    def leasing(self) -> Iterator[Connection]:
        """A transaction for the lease alone: it waits for no writer, and for no server long."""
        with _failing("reach", self.engine.url), self._leasing.begin() as connection:
            yield connection

    def instance(self) -> str:
        """The UUID that was made with this database."""
        with self.reading() as connection:
            value = select(tables.meta.c.value).where(tables.meta.c.name == "instance")
            return str(connection.execute(value).scalar_one())

    def close(self) -> None:
        """Let the database and its lock go."""
        self.engine.dispose()
        self._lease_engine.dispose()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def open_database(
    url: str, *, exclusive: bool = True, call_seconds: float = CALL_SECONDS
) -> Database:
    """Open ``sqlite:///PATH`` or ``postgresql+psycopg://…``, or say why not (StoreError).

    A SQLite file is made and migrated here; a PostgreSQL database must have been migrated.
    With ``exclusive`` no other hub can open the same SQLite file until ``close``; without it the
    file must be there and up to date: it may be a running hub's. Of PostgreSQL a primary is
    wanted with ``exclusive``, otherwise any server will do, and each call ends in
    ``call_seconds``.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, exclusive)
    holder = _holder()
    name = f"gpufleet {holder}"
    database = Database(
        postgres_engine(parsed, name, call_seconds=call_seconds, writable=exclusive),
        lease_engine=postgres_engine(
            parsed,
            name,
            call_seconds=min(call_seconds, LEASE_CALL_SECONDS),
            connections=1,
        ),
        holder=holder,
    )
    try:
        check_schema(database.engine)
    except BaseException:
        database.close()
        raise
    return database


def migrate(url: str) -> None:
    """Bring a database to this program's schema (``gpufleet hub migrate``); idempotent."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        _open_sqlite(parsed, exclusive=True).close()
        return
    database = Database(postgres_engine(parsed, "gpufleet migrate", call_seconds=None))
    try:
        check_schema(database.engine, database.writing)
    finally:
        database.close()


def _holder() -> str:
    """Names this opening of a database and no other."""
    return f"{socket.gethostname()[:30]}/{os.getpid()}/{secrets.token_hex(4)}"


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreUnusable(
            "The database URL cannot be read; write sqlite:////path/to/file or "
            "postgresql+psycopg://user@host/name."
        ) from error
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StoreUnusable("The database URL names no file; write sqlite:////path/to/file.")
    elif parsed.drivername != "postgresql+psycopg":
        raise StoreUnusable(
            f"Databases of kind {parsed.drivername} are not supported; use sqlite:///… or "
            "postgresql+psycopg://…."
        )
    return parsed


def _open_sqlite(url: URL, exclusive: bool) -> Database:
    path = sqlite_path(url)
    check_place(path)
    if not exclusive and not path.exists():
        raise StoreUnusable(f"There is no database at {path}; name the one that the hub uses.")
    lock_fd = lock_file(path) if exclusive else None
    database = Database(sqlite_engine(url, path), lock_fd, holder=_holder())
    try:
        check_schema(database.engine, database.writing if exclusive else None)
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def _failing(verb: str, url: URL) -> Iterator[None]:
    try:
        yield
    except (IntegrityError, DataError, ProgrammingError, NotSupportedError):
        raise  # our statement is wrong: no retry helps
    except (DBAPIError, PoolTimeout) as error:
        raise StoreFailed(
            f"The hub cannot {verb} {url.render_as_string(hide_password=True)}: {reason(error)}."
        ) from error
