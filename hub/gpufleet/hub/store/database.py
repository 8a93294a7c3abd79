"""Opens the database: transactions, pragmas, the lock against a second hub."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gpufleet.hub.store import tables
from gpufleet.hub.store.errors import StoreFailed, StoreLocked, StoreUnusable, reason
from gpufleet.hub.store.schema import check_schema

BUSY_TIMEOUT_MS = 10_000
MAX_CONNECTIONS = 50
"""More than a hub has worker threads: a connection to a file costs little."""


class Database:
    """An open database. Its methods are for any thread; writers take turns.

    One hub at a time has a database, so one lock in this process orders all its writes: between
    what a writer reads and what it writes nothing comes.
    """

    def __init__(self, engine: Engine, lock_fd: int | None = None) -> None:
        self.engine = engine
        self._lock_fd = lock_fd
        self._writer = threading.Lock()
        self._reading = engine
        if engine.dialect.name == "postgresql":  # a SQLite transaction is a snapshot by itself
            self._reading = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        self._writing = engine.execution_options(gpufleet_writing=True)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database; StoreFailed if it cannot."""
        with _failing("read", self.engine.url), self._reading.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back on any exception; or StoreFailed."""
        with (
            self._writer,
            _failing("write to", self.engine.url),
            self._writing.begin() as connection,
        ):
            yield connection

    def instance(self) -> str:
        """The UUID that was made with this database."""
        with self.reading() as connection:
            value = select(tables.meta.c.value).where(tables.meta.c.name == "instance")
            return str(connection.execute(value).scalar_one())

    def close(self) -> None:
        """Let the database and its lock go."""
        self.engine.dispose()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def open_database(url: str, *, exclusive: bool = True) -> Database:
    """Open ``sqlite:///PATH`` or ``postgresql+psycopg://…``, or say why not (StoreError).

    A SQLite file is made and migrated here; a PostgreSQL database must have been migrated.
    With ``exclusive`` no other hub can open the same SQLite file until ``close``; without it the
    file must be there and up to date: it may be a running hub's.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, exclusive)
    database = Database(create_engine(parsed, pool_pre_ping=True))
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
    database = Database(create_engine(parsed))
    try:
        check_schema(database.engine, database.writing)
    finally:
        database.close()


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
    path = Path(os.path.realpath(str(url.database)))
    if not path.parent.is_dir():
        raise StoreUnusable(f"The folder {path.parent} does not exist; create it first.")
    if path.is_dir():
        raise StoreUnusable(f"{path} is a folder; name a file in it for the database.")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise StoreUnusable(
            f"{path} cannot be written by this user; change its owner or choose another place."
        )
    if not exclusive and not path.exists():
        raise StoreUnusable(f"There is no database at {path}; name the one that the hub uses.")
    lock_fd = _lock(path) if exclusive else None
    engine = create_engine(url.set(database=str(path)), max_overflow=MAX_CONNECTIONS)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    database = Database(engine, lock_fd)
    try:
        check_schema(database.engine, database.writing if exclusive else None)
    except BaseException:
        database.close()
        raise
    return database


def _lock(path: Path) -> int:
    """An exclusive flock on the file beside the database; it ends with this process."""
    try:
        lock_fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnusable(
            f"{path}.lock cannot be made ({error.strerror}); choose another place for the database."
        ) from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock_fd)
        raise StoreLocked(
            f"Another hub uses {path}; stop it first or give this one another --database."
        ) from error
    return lock_fd


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions begin in _begin_sqlite, not in the driver
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded by an empty database only
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -4096")


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("gpufleet_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


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
