"""A PostgreSQL server that fails: frozen, killed, turned into a standby, away from the start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from gpufleet.hub.store.bulk import Row, upsert_rows
from gpufleet.hub.store.database import Database, open_database
from gpufleet.hub.store.errors import SchemaOutdated, StoreFailed
from gpufleet.hub.store.tables import samples
from gpufleet.hub.store.write import NodeFlush, write_flushes
from support.databases import DATABASE
from support.postgres_cluster import Cluster
from support.stored import HOUR, flush, minutes, stored

pytestmark = pytest.mark.own_database


@contextmanager
def opened(url: str, seconds: float = 15.0) -> Iterator[Database]:
    database = open_database(url, call_seconds=seconds)
    try:
        yield database
    finally:
        database.close()


class Lazy(list[Row]):
    """Rows that are made one by one while they are written."""

    def __init__(self, rows: Iterator[Row]) -> None:
        super().__init__([()])
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        return self._rows


@pytest.fixture
def frozen_later(postgres: Cluster) -> Iterator[Cluster]:
    """The server, awake again at the end."""
    yield postgres
    postgres.wake()


def test_a_database_that_nobody_migrated_is_refused_with_the_command(postgres: Cluster) -> None:
    with pytest.raises(SchemaOutdated, match="run: gpufleet hub migrate"):
        open_database(postgres.url("postgres"))


def test_a_frozen_server_fails_a_commit_and_a_new_connection_in_time(
    postgres_url: str, frozen_later: Cluster
) -> None:
    with opened(postgres_url, 0.5) as database:
        began = time.monotonic()
        no_answer = r"cannot write to .* did not answer within 0\.5 s"
        with pytest.raises(StoreFailed, match=no_answer), database.writing() as connection:  # noqa: PT012
            connection.execute(text("INSERT INTO meta VALUES ('frozen', '1')"))
            frozen_later.freeze()
        with pytest.raises(StoreFailed, match="cannot read"):
            database.instance()
        assert time.monotonic() - began < 60  # for ever without deadlines
        frozen_later.wake()
        flush(database, minutes(7, [HOUR]))
        assert len(stored(database, 7).ticks) == 1


def test_a_server_frozen_in_the_middle_of_many_rows_fails_in_time(
    postgres_url: str, frozen_later: Cluster
) -> None:
    with opened(postgres_url, 0.5) as database:
        rows = [chunk for subject in range(1, 3000) for chunk in minutes(subject, [HOUR])]
        with pytest.raises(StoreFailed), database.writing() as connection:  # noqa: PT012
            frozen_later.freeze()
            write_flushes(connection, [NodeFlush(1, 1, 1, HOUR, rows)])
        frozen_later.wake()
        flush(database, rows)
        assert len(stored(database, 2999).ticks) == 1


def test_a_copy_whose_server_freezes_fails_in_time(
    postgres_url: str, frozen_later: Cluster
) -> None:
    with opened(postgres_url, 0.5) as database:

        def rows() -> Iterator[tuple[int, int, int, int, bytes]]:
            for subject_id in range(1000):
                if subject_id == 500:
                    frozen_later.freeze()
                yield subject_id, HOUR, 60_000, 60, b"x" * 20_000

        with (
            pytest.raises(StoreFailed, match="did not answer"),
            database.writing() as connection,
        ):
            upsert_rows(connection, samples, Lazy(rows()))
        frozen_later.wake()
        flush(database, minutes(7, [HOUR]))
        assert len(stored(database, 7).ticks) == 1


def test_a_restarted_server_is_found_again(postgres_url: str, postgres: Cluster) -> None:
    with opened(postgres_url) as database:
        flush(database, minutes(7, [HOUR]))
        with pytest.raises(StoreFailed), database.writing() as connection:  # noqa: PT012
            connection.execute(text("INSERT INTO meta VALUES ('killed', '1')"))
            postgres.stop()
            connection.execute(text("SELECT 1"))
        with pytest.raises(StoreFailed, match="cannot read"):
            database.instance()
        postgres.start()
        flush(database, minutes(7, [HOUR, HOUR + 1000]))
        assert len(stored(database, 7).ticks) == 2


def test_a_primary_that_became_a_standby_is_left(postgres_url: str, postgres: Cluster) -> None:
    with opened(postgres_url) as database:
        flush(database, minutes(7, [HOUR]))
        postgres.execute(f"ALTER DATABASE {DATABASE} SET default_transaction_read_only = on")
        try:
            with database.writing() as connection:
                connection.execute(text("SET SESSION default_transaction_read_only = on"))
            with pytest.raises(StoreFailed, match=r"read-only transaction\.$"):
                flush(database, minutes(7, [HOUR + 1000]))
            with pytest.raises(StoreFailed, match="session is read-only"):
                flush(database, minutes(7, [HOUR + 1000]))
        finally:
            postgres.execute(f"ALTER DATABASE {DATABASE} RESET default_transaction_read_only")
        flush(database, minutes(7, [HOUR + 1000]))
        assert len(stored(database, 7).ticks) == 2


def test_of_several_hosts_the_first_that_is_a_primary_is_used(
    postgres_url: str, postgres: Cluster
) -> None:
    url = postgres_url.replace(
        f"127.0.0.1:{postgres.port}/{DATABASE}",
        f"/{DATABASE}?host=127.0.0.1:1&host=127.0.0.1:{postgres.port}",
    )
    with opened(url) as database:
        flush(database, minutes(7, [HOUR]))
        assert len(stored(database, 7).ticks) == 1
