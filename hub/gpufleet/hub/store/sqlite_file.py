"""Opens a SQLite file: where it may lie, the lock against a second hub, pragmas, transactions."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from gpufleet.hub.store.errors import StoreLocked, StoreUnusable

BUSY_TIMEOUT_MS = 10_000
MAX_CONNECTIONS = 50
"""More than a hub has worker threads: a connection to a file costs little."""
WAL_BYTES = 64 * 1024 * 1024
"""What the write-ahead log is cut to after it was larger."""


def sqlite_path(url: URL) -> Path:
    """The file itself, behind any links."""
    return Path(os.path.realpath(str(url.database)))


def check_place(path: Path) -> None:
    """StoreUnusable says why no database can be written there."""
    if not path.parent.is_dir():
        raise StoreUnusable(f"The folder {path.parent} does not exist; create it first.")
    if path.is_dir():
        raise StoreUnusable(f"{path} is a folder; name a file in it for the database.")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise StoreUnusable(
            f"{path} cannot be written by this user; change its owner or choose another place."
        )


def lock_file(path: Path) -> int:
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


def sqlite_engine(url: URL, path: Path) -> Engine:
    """An engine whose transactions begin as ``gpufleet_writing`` says: IMMEDIATE, or as readers."""
    engine = create_engine(url.set(database=str(path)), max_overflow=MAX_CONNECTIONS)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions begin in _begin, not in the driver
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded by an empty database only
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -4096")


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("gpufleet_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
