"""Records on disk that the hub has not acknowledged: one SQLite file, bounded by bytes and age.

Blocks hold runs of contiguous records exactly as they are sent. Every method raises SpoolError
with a sentence when the disk does not take part; nothing here decides what to do about it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gpufleet.agent.records import Layout, Position, wrapped
from gpufleet.agent.wire.messages import layout_from, layout_message
from gpufleet.proto import telemetry_pb2 as pb

_BLOCK_OVERHEAD = 128
"""Bytes a block takes beside its data: the row, its index entry, its share of free pages."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS layouts (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS blocks (
  epoch INTEGER NOT NULL, last_seq INTEGER NOT NULL, count INTEGER NOT NULL,
  layout INTEGER, newest_ms INTEGER NOT NULL, data BLOB NOT NULL,
  UNIQUE (epoch, last_seq));
"""


class SpoolError(Exception):
    """The spool cannot be used now. The text is one sentence for people.

    ``corrupt`` is True where the file itself is damaged; ``holds`` where it could not be opened
    and may hold records of an earlier run.
    """

    def __init__(self, sentence: str, *, corrupt: bool = False, holds: bool = False) -> None:
        super().__init__(sentence)
        self.corrupt = corrupt
        self.holds = holds


@dataclass(frozen=True, slots=True)
class Block:
    """Contiguous records of one epoch. ``layout`` is ``None`` for events.

    ``data`` is a packed Samples (samples.pack) or a serialised Events; ``newest_ms`` the time of
    its last record.
    """

    last: Position
    count: int
    layout: Layout | None
    newest_ms: int
    data: bytes

    @property
    def first(self) -> Position:
        """Its first record."""
        return Position(self.last.epoch, self.last.seq - self.count + 1)

    @property
    def ticks(self) -> int:
        """How many of its records are ticks."""
        return self.count if self.layout is not None else 0


class Spool:
    """The file, used by one process; safe to call from several threads."""

    def __init__(self, path: Path, max_bytes: int, max_age_ms: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._max_age_ms = max_age_ms
        self._lock = threading.Lock()
        self._layouts: dict[int, Layout] = {}
        self.bytes = 0
        """What the blocks take on disk, nearly."""
        self.ticks = 0
        """Ticks held, forgotten ones that could not be deleted yet included."""
        with self._told():
            self._db = sqlite3.connect(
                path, timeout=5.0, isolation_level=None, check_same_thread=False
            )
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def _open(self) -> None:
        db = self._db
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA cache_size=-256")
        db.execute("PRAGMA journal_size_limit=1048576")
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise SpoolError(f"The spool {self.path} is damaged: {verdict}.", corrupt=True)
        db.executescript(_SCHEMA)
        self._count()

    def _count(self) -> None:
        size, ticks, rows = self._db.execute(
            "SELECT coalesce(sum(length(data)), 0),"
            " coalesce(sum(CASE WHEN layout IS NULL THEN 0 ELSE count END), 0), count(*)"
            " FROM blocks"
        ).fetchone()
        self.bytes, self.ticks = size + rows * _BLOCK_OVERHEAD, ticks

    def add(self, blocks: Iterable[Block], now_ms: int) -> int:
        """Store blocks, all or none, then drop the oldest past the bounds: ticks dropped."""
        with self._lock, self._told():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                for block in blocks:
                    self._insert(block)
                dropped = self._trim(now_ms)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._count()
                raise
            self._db.execute("PRAGMA incremental_vacuum").fetchall()
            return dropped

    def after(self, position: Position) -> Block | None:
        """The first block that ends after this position."""
        with self._lock, self._told():
            row = self._db.execute(
                "SELECT epoch, last_seq, count, layout, newest_ms, data FROM blocks"
                " WHERE (epoch, last_seq) > (?, ?) ORDER BY epoch, last_seq LIMIT 1",
                (position.epoch, position.seq),
            ).fetchone()
            if row is None:
                return None
            epoch, last_seq, count, layout, newest_ms, data = row
            return Block(
                Position(epoch, last_seq),
                count,
                None if layout is None else self._layout(layout),
                newest_ms,
                data,
            )

    def oldest(self) -> Position | None:
        """The first record held."""
        block = self.after(Position(-1, 0))
        return None if block is None else block.first

    def newest(self) -> Position | None:
        """The last record held."""
        with self._lock, self._told():
            row = self._db.execute(
                "SELECT epoch, last_seq FROM blocks ORDER BY epoch DESC, last_seq DESC LIMIT 1"
            ).fetchone()
        return None if row is None else Position(*row)

    def forget(self, position: Position) -> None:
        """Delete blocks that end at or before this position."""
        with self._lock, self._told():
            try:
                self._db.execute(
                    "DELETE FROM blocks WHERE (epoch, last_seq) <= (?, ?)",
                    (position.epoch, position.seq),
                )
                self._db.execute(
                    "DELETE FROM layouts WHERE id NOT IN"
                    " (SELECT layout FROM blocks WHERE layout IS NOT NULL)"
                )
                self._layouts.clear()
                self._db.execute("PRAGMA incremental_vacuum").fetchall()
            finally:
                self._count()

    def remember(self, key: str, value: str) -> None:
        """Keep a small fact over restarts."""
        with self._lock, self._told():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def recall(self, key: str) -> str | None:
        """A fact kept by ``remember``."""
        with self._lock, self._told():
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Close the file; what was added stays."""
        with self._lock, self._told():
            self._db.close()

    def set_aside(self) -> Path:
        """Close a damaged file and move it out of the way; where it is now."""
        with self._lock, suppress(sqlite3.Error):
            self._db.close()
        return _set_aside(self.path)

    def _insert(self, block: Block) -> None:
        layout_id = None
        if block.layout is not None:
            layout_id = wrapped(block.layout.id)
            self._db.execute(
                "INSERT OR IGNORE INTO layouts VALUES (?, ?)",
                (layout_id, layout_message(block.layout).SerializeToString()),
            )
        self._db.execute(
            "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?)",
            (
                block.last.epoch,
                block.last.seq,
                block.count,
                layout_id,
                block.newest_ms,
                block.data,
            ),
        )
        self.bytes += len(block.data) + _BLOCK_OVERHEAD
        self.ticks += block.ticks

    def _trim(self, now_ms: int) -> int:
        dropped = 0
        oldest_allowed = now_ms - self._max_age_ms
        rows = self._db.execute(
            "SELECT rowid, count, layout, newest_ms, length(data) FROM blocks"
            " ORDER BY epoch, last_seq"
        )
        gone = []
        for rowid, count, layout, newest_ms, size in rows:
            if self.bytes <= self._max_bytes and newest_ms >= oldest_allowed:
                break
            gone.append((rowid,))
            ticks = 0 if layout is None else count
            dropped += ticks
            self.bytes -= size + _BLOCK_OVERHEAD
            self.ticks -= ticks
        rows.close()
        self._db.executemany("DELETE FROM blocks WHERE rowid = ?", gone)
        return dropped

    def _layout(self, layout_id: int) -> Layout:
        known = self._layouts.get(layout_id)
        if known is None:
            row = self._db.execute("SELECT data FROM layouts WHERE id = ?", (layout_id,)).fetchone()
            if row is None:
                raise SpoolError(f"The spool {self.path} lacks a layout.", corrupt=True)
            known = self._layouts[layout_id] = layout_from(pb.Layout.FromString(row[0]))
        return known

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors as sentences."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            corrupt = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
            raise SpoolError(
                f"The spool {self.path} cannot be used: {error}.", corrupt=corrupt
            ) from error


def _set_aside(path: Path) -> Path:
    aside = path.with_name(path.name + ".damaged")
    try:
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise SpoolError(
            f"The damaged spool {path} cannot be moved aside: {error.strerror}."
        ) from error
    return aside


def open_spool(path: Path, max_bytes: int, max_age_ms: int, say: Callable[[str], None]) -> Spool:
    """Open a spool; a damaged file is moved aside, which is said, and a new one begun."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        return Spool(path, max_bytes, max_age_ms)
    except OSError as error:
        raise SpoolError(
            f"The spool's folder {path.parent} cannot be used: {error.strerror}."
        ) from error
    except SpoolError as error:
        if not error.corrupt:
            error.holds = os.path.exists(path)
            raise
        aside = _set_aside(path)
        say(f"{error} It was moved to {aside} and a new one begun; what it held is not sent.")
        return Spool(path, max_bytes, max_age_ms)
