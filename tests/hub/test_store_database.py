"""Opening a database: what is made, what is refused, and in which words."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, inspect, select, text

from gpufleet.hub.store import tables
from gpufleet.hub.store.database import Database, migrate, open_database
from gpufleet.hub.store.errors import (
    SchemaNewer,
    SchemaOutdated,
    StoreFailed,
    StoreLocked,
    StoreUnusable,
)
from gpufleet.hub.store.schema import REVISION
from support.stored import temporary_database

pytestmark = pytest.mark.own_database


def test_migrations_make_exactly_the_tables_of_the_program(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database, database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
        indexes = {
            index["name"]: index["column_names"]
            for table in tables.metadata.tables
            for index in inspect(connection).get_indexes(table)
        }
    assert indexes["samples_to_merge"] == ["start", "subject_id"]


def test_the_newest_migration_is_the_programs_revision() -> None:
    config = Config()
    config.set_main_option("script_location", "gpufleet:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_history_tables_can_be_partitioned() -> None:
    for table in (tables.samples, tables.minutes, tables.hours, tables.events):
        time = "time_ms" if table is tables.events else "start"
        assert [column.name for column in table.primary_key][:2] == ["subject_id", time]
        assert not table.foreign_keys
        assert not any(index.unique for index in table.indexes)


def test_a_new_file_is_durable_and_gives_room_back(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database, database.reading() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "auto_vacuum")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "auto_vacuum": 2}


def test_opening_again_finds_the_same_database(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database:
        first = database.instance()
    with temporary_database(tmp_path) as database:
        assert database.instance() == first


def test_a_second_hub_is_refused_until_the_first_has_gone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'gpufleet.db'}"
    with (
        temporary_database(tmp_path),
        pytest.raises(StoreLocked, match=r"Another hub uses .*gpufleet\.db"),
    ):
        open_database(url)
    open_database(url).close()


def test_a_hub_in_another_process_is_refused_even_by_another_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    code = f"""
from gpufleet.hub.store.database import open_database
from gpufleet.hub.store.errors import StoreLocked
try:
    open_database("sqlite:///{tmp_path}/link/gpufleet.db")
except StoreLocked as error:
    print("refused")
"""
    with temporary_database(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "refused\n"


def test_a_reader_may_look_while_the_hub_runs(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as hub:
        reader = open_database(f"sqlite:///{tmp_path / 'gpufleet.db'}", exclusive=False)
        assert reader.instance() == hub.instance()
        reader.close()


def test_a_reader_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="There is no database at"):
        open_database(f"sqlite:///{tmp_path / 'gpufleet.db'}", exclusive=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("no url", "The database URL cannot be read; write sqlite:"),
        ("sqlite://", "The database URL names no file; write sqlite:"),
        ("sqlite:///:memory:", "The database URL names no file"),
        ("mysql://host/name", "Databases of kind mysql are not supported; use sqlite:"),
        ("postgresql://host/name", "Databases of kind postgresql are not supported"),
    ],
)
def test_a_url_that_is_none_of_ours_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(StoreUnusable) as refusal:
        open_database(url)
    assert str(refusal.value).startswith(sentence)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match=r"/absent does not exist; create it first\.$"):
        open_database(f"sqlite:///{tmp_path}/absent/gpufleet.db")


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="is a folder; name a file in it"):
        open_database(f"sqlite:///{tmp_path}")


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(StoreUnusable, match=r"^/proc/gpufleet\.db.* choose another place"):
        open_database("sqlite:////proc/gpufleet.db")


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "gpufleet.db"
    file.write_text("This is a letter, and no database at all. " * 100)
    before = file.read_bytes()
    with pytest.raises(StoreUnusable, match=r"is not a sound SQLite database \(.*move it away"):
        open_database(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_a_database_that_breaks_while_it_is_open_is_a_failure(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database:
        write_big(database, 1_000_000)
    file = tmp_path / "gpufleet.db"
    with temporary_database(tmp_path) as database:
        content = bytearray(file.read_bytes())
        content[8192:] = b"\xff" * (len(content) - 8192)
        file.write_bytes(content)
        with pytest.raises(StoreFailed, match=r"cannot read .*malformed\.$"):
            database.instance()


def test_someone_elses_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "gpufleet.db"
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    with pytest.raises(StoreUnusable, match="tables that are not gpufleet's"):
        open_database(f"sqlite:///{file}")


def test_a_database_of_a_newer_gpufleet_is_refused_and_can_be_opened_by_it(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database, database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    with pytest.raises(SchemaNewer, match=r"newer gpufleet \(schema 0999"):
        open_database(f"sqlite:///{tmp_path / 'gpufleet.db'}")
    with sqlite3.connect(tmp_path / "gpufleet.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = ?", (REVISION,))
    raw.close()
    with temporary_database(tmp_path) as database:  # the refusal left no lock behind
        assert database.instance()


def test_a_reader_does_not_migrate_but_names_the_command(tmp_path: Path) -> None:
    file = tmp_path / "gpufleet.db"
    file.touch()
    with pytest.raises(SchemaOutdated, match=r"has schema none.*run: gpufleet hub migrate$"):
        open_database(f"sqlite:///{file}", exclusive=False)
    migrate(f"sqlite:///{file}")
    migrate(f"sqlite:///{file}")
    open_database(f"sqlite:///{file}", exclusive=False).close()


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(StoreUnusable, match="cannot be opened") as refusal:
        open_database("postgresql+psycopg://hub:secret@127.0.0.1:1/gpufleet?connect_timeout=2")
    assert "secret" not in str(refusal.value)


def test_what_fails_in_a_transaction_is_rolled_back(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database:
        with pytest.raises(KeyError), database.writing() as connection:  # noqa: PT012
            connection.execute(insert(tables.meta).values(name="a", value="b"))
            raise KeyError
        with database.reading() as connection:
            names = connection.execute(select(tables.meta.c.name)).scalars().all()
    assert names == ["instance"]


def write_big(database: Database, max_pages: int) -> None:
    with database.writing() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {max_pages}")
        connection.execute(insert(tables.meta).values(name="big", value="x" * 10**6))


def test_a_full_disk_is_a_failure_that_may_pass(tmp_path: Path) -> None:
    with temporary_database(tmp_path) as database:
        with pytest.raises(StoreFailed, match=r"cannot write to .*full\.$"):
            write_big(database, 1)
        write_big(database, 1_000_000)


def test_writers_of_many_threads_take_turns(tmp_path: Path) -> None:
    def add_one() -> None:
        for _ in range(10):
            with database.writing() as connection:
                count = connection.execute(text("SELECT value FROM meta WHERE name = 'n'"))
                value = int(count.scalar_one())
                connection.execute(
                    text("UPDATE meta SET value = :v WHERE name = 'n'"), {"v": value + 1}
                )

    with temporary_database(tmp_path) as database:
        with database.writing() as connection:
            connection.execute(insert(tables.meta).values(name="n", value="0"))
        threads = [threading.Thread(target=add_one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        with database.reading() as connection:
            result = connection.execute(text("SELECT value FROM meta WHERE name = 'n'")).scalar()
    assert result == "40"
