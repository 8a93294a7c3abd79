"""A copy of a running hub's database is whole, and opens as a database."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from gpufleet.hub.store.backup import PAGES, backup, check_backup, restore
from gpufleet.hub.store.chunk import Chunk, Column
from gpufleet.hub.store.codec import encode_chunk
from gpufleet.hub.store.database import open_database
from gpufleet.hub.store.errors import StoreFailed, StoreLocked, StoreUnusable
from gpufleet.hub.store.grid import SubjectSamples
from support.stored import HOUR, flush, minutes, said, stored, temporary_database

pytestmark = pytest.mark.own_database


def big(subject_id: int) -> SubjectSamples:
    """A chunk of about 4 MB."""
    values = np.random.default_rng(subject_id).integers(-(1 << 62), 1 << 62, 500_000)
    chunk = Chunk(HOUR + np.arange(500_000), {1000: Column(values)})
    return SubjectSamples(subject_id, HOUR, encode_chunk(chunk))


def test_a_copy_made_while_the_hub_writes_is_of_one_moment(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database:
        flush(database, [*minutes(7, [HOUR]), *(big(n) for n in range(20, 25))])
        instance = database.instance()
        told: list[tuple[int, int]] = []

        def meanwhile(copied: int, pages: int) -> None:
            told.append((copied, pages))
            flush(database, minutes(7, [HOUR + 1000 * len(told)]))

        size = backup(database, tmp_path / "copy.db", meanwhile)
        assert len(told) > 1
        assert told[-1][0] == told[-1][1] <= len(told) * PAGES  # it never began anew
        assert len(stored(database, 7).ticks) == 1 + len(told)
    assert size == (tmp_path / "copy.db").stat().st_size
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("copy.db?*"))
    (tmp_path / "restored").mkdir()
    os.rename(tmp_path / "copy.db", tmp_path / "restored" / "gpufleet.db")
    with temporary_database(tmp_path / "restored") as restored:
        assert restored.instance() == instance
        assert list(said(stored(restored, 7))) == [HOUR]
        assert len(stored(restored, 24).ticks) == 500_000
        flush(restored, minutes(7, [HOUR + 1000]))


def test_a_copy_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("a letter")
    with (
        temporary_database(tmp_path) as database,
        pytest.raises(StoreUnusable, match=r"copy\.db is there already; name a new file"),
    ):
        backup(database, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "a letter"


def test_a_copy_into_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with (
        temporary_database(tmp_path) as database,
        pytest.raises(StoreUnusable, match="does not exist; create it first"),
    ):
        backup(database, tmp_path / "absent" / "copy.db")


def test_a_copy_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database:
        flush(database, [big(20)])

        def full(copied: int, pages: int) -> None:
            raise OSError(28, "No space left on device")

        with pytest.raises(StoreFailed, match=r"cannot be written: .*No space left"):
            backup(database, tmp_path / "copy.db", full)
        assert not list(tmp_path.glob("copy.db*"))


def test_a_damaged_or_foreign_file_is_no_backup(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database:
        flush(database, [big(20)])
        backup(database, tmp_path / "copy.db")
    check_backup(tmp_path / "copy.db")
    content = bytearray((tmp_path / "copy.db").read_bytes())
    content[4096 * 3 : 4096 * 40] = b"\xff" * 4096 * 37
    (tmp_path / "copy.db").write_bytes(content)
    with pytest.raises(StoreUnusable, match=r"damaged|not a sound"):
        check_backup(tmp_path / "copy.db")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(StoreUnusable, match="not a sound gpufleet database"):
        check_backup(tmp_path / "other.db")
    with pytest.raises(StoreUnusable, match="not a sound gpufleet database"):
        check_backup(tmp_path / "absent.db")


def test_postgresql_has_tools_of_its_own(postgres_url: str, tmp_path: Path) -> None:
    database = open_database(postgres_url)
    with pytest.raises(StoreUnusable, match="use pg_dump"):
        backup(database, tmp_path / "copy.db")
    database.close()


def test_what_a_copy_replaces_is_kept_whole_with_its_log(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database:
        path = Path(str(database.engine.url.database))
        flush(database, minutes(7, [HOUR]))
        backup(database, tmp_path / "copy.db")
        flush(database, minutes(7, [HOUR + 1000]))
        with pytest.raises(StoreLocked, match="Another hub uses"):
            restore(tmp_path / "copy.db", path)
        kept = {name: Path(f"{path}{name}").read_bytes() for name in ("", "-wal")}
    for name, data in kept.items():  # as a killed hub leaves them
        Path(f"{path}{name}").write_bytes(data)
    former = restore(tmp_path / "copy.db", path)
    assert former == path.with_name(f"{path.name}.before-1")
    for file, ticks in ((path, [HOUR]), (former, [HOUR, HOUR + 1000])):
        database = open_database(f"sqlite:///{file}")
        try:
            assert stored(database, 7).ticks.tolist() == ticks
        finally:
            database.close()
    assert restore(tmp_path / "copy.db", path) == path.with_name(f"{path.name}.before-2")


def test_a_copy_is_put_where_nothing_was_and_nothing_else_is(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database:
        backup(database, tmp_path / "copy.db")
    (tmp_path / "letter").write_text("a letter")
    with pytest.raises(StoreUnusable, match="not a sound gpufleet database"):
        restore(tmp_path / "letter", tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()
    assert restore(tmp_path / "copy.db", tmp_path / "new.db") is None
    check_backup(tmp_path / "new.db")
