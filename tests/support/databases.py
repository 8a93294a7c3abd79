"""Fixtures that run a test on SQLite and on PostgreSQL: ``database_url`` and ``database``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gpufleet.hub.store.database import Database, open_database
from gpufleet.hub.store.tables import metadata
from support.places import TEMPLATE, on_postgresql, shared_cluster
from support.postgres_cluster import Cluster, binaries

DATABASE = "gpufleet"


@cache
def _with_database() -> Cluster:
    """Once a process: each conftest has a session's fixture of its own."""
    made = shared_cluster()
    made.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}")
    return made


@pytest.fixture(scope="session")
def postgres() -> Cluster:
    """One server for all tests, with a migrated database."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return _with_database()


@pytest.fixture
def postgres_url(postgres: Cluster) -> str:
    """The migrated PostgreSQL database, emptied: a third of the time of a new one."""
    tables = [name for name in metadata.tables if name not in ("meta", "lease")]
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        *(f"DELETE FROM {name}" for name in tables),
        "DELETE FROM meta WHERE name <> 'instance'",
        "UPDATE lease SET epoch = 0, holder = '', renewals = 0",
        database=DATABASE,
    )
    return postgres.url(DATABASE)


@pytest.fixture(params=["postgresql"] if on_postgresql() else ["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of the test's own, on each kind in turn (in the run on PostgreSQL on that
    alone: SQLite had its turn)."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gpufleet.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The same, open."""
    opened = open_database(database_url)
    try:
        yield opened
    finally:
        opened.close()
