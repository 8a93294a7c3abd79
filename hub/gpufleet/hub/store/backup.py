"""Copies a SQLite database while a hub writes to it, checked before it counts, and puts it back.

PostgreSQL has pg_dump and pg_basebackup (docs/sql.md).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import StoreFailed, StoreUnusable
from gpufleet.hub.store.sqlite_file import check_place, lock_file

PAGES = 2000
"""Pages that are copied between two looks at whether the hub waits."""


def backup(
    database: Database, path: Path, progress: Callable[[int, int], None] | None = None
) -> int:
    """Write a whole, checked copy of the database to ``path``; its size in bytes.

    The copy is of one moment and nobody waits for it: it is read as a long transaction would be.
    ``progress`` is told pages copied and pages in all.
    """
    if database.is_postgresql:
        raise StoreUnusable(
            "A PostgreSQL database is not copied by gpufleet: use pg_dump -Fc or pg_basebackup."
        )
    if path.exists():
        raise StoreUnusable(f"{path} is there already; name a new file.")
    if not path.parent.is_dir():
        raise StoreUnusable(f"The folder {path.parent} does not exist; create it first.")
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        _copy(Path(str(database.engine.url.database)), part, progress)
        check_backup(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(path)
    except (sqlite3.Error, DBAPIError, OSError) as error:
        part.unlink(missing_ok=True)
        raise StoreFailed(f"The copy {path} cannot be written: {error}.") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path.stat().st_size


def check_backup(path: Path) -> None:
    """StoreUnusable unless the file is a sound gpufleet database."""
    try:
        copy = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            verdict = copy.execute("PRAGMA quick_check").fetchone()[0]
            copy.execute("SELECT value FROM meta WHERE name = 'instance'").fetchone()[0]
        finally:
            copy.close()
    except (sqlite3.Error, TypeError) as error:
        raise StoreUnusable(f"{path} is not a sound gpufleet database ({error}).") from error
    if verdict != "ok":
        raise StoreUnusable(f"{path} is damaged ({verdict}).")


def restore(copy: Path, path: Path) -> Path | None:
    """Put a copy in the place of the database at ``path``; where the former one lies now.

    No hub can have it open meanwhile. The former one stays beside it, whole: nothing is deleted.
    """
    check_backup(copy)
    check_place(path)
    lock_fd = lock_file(path)
    part = path.with_name(f"{path.name}.part")
    try:
        shutil.copyfile(copy, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        former = _put_aside(path)
        part.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreFailed(f"{copy} cannot be put at {path}: {error.strerror}.") from error
    finally:
        os.close(lock_fd)
    return former


def _put_aside(path: Path) -> Path | None:
    """Rename a database with its write-ahead log, which belongs to no other file."""
    number = 1
    while (former := path.with_name(f"{path.name}.before-{number}")).exists():
        number += 1
    had_one = path.exists()
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{former}{suffix}")
    return former if had_one else None


def _copy(source: Path, target: Path, progress: Callable[[int, int], None] | None) -> None:
    original = sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)
    copy = sqlite3.connect(target)
    try:
        # Inside a read transaction the copy is of one moment: without it every commit of the hub
        # would make it begin anew.
        original.execute("BEGIN")
        original.execute("SELECT count(*) FROM sqlite_master").fetchone()
        original.backup(
            copy,
            pages=PAGES,
            sleep=0.0,
            progress=lambda status, left, total: (
                progress(total - left, total) if progress else None
            ),
        )
        original.rollback()
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, no -wal beside it
    finally:
        copy.close()
        original.close()
