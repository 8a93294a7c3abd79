"""Where tests keep their databases: SQLite, or with GPUFLEET_TEST_DATABASE=postgresql PostgreSQL.

A folder stands for a database either way: the same folder is the same database, so that a hub
which is started again in it goes on. PostgreSQL's are of one throwaway cluster a process.
"""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from functools import cache, lru_cache
from pathlib import Path

from gpufleet.hub.store.database import migrate
from support.postgres_cluster import Cluster, cluster

TEMPLATE = "gpufleet_template"


def on_postgresql() -> bool:
    """Whether this run of the tests is the one on PostgreSQL. ValueError: a kind nobody knows."""
    kind = os.environ.get("GPUFLEET_TEST_DATABASE", "sqlite")
    if kind not in ("sqlite", "postgresql"):
        raise ValueError(f"GPUFLEET_TEST_DATABASE is {kind!r}: use sqlite or postgresql.")
    return kind == "postgresql"


@lru_cache(maxsize=1)
def shared_cluster() -> Cluster:
    """This process's server, with a migrated template; it ends with the process."""
    stack = ExitStack()
    made = stack.enter_context(cluster())
    atexit.register(stack.close)
    made.execute(f"CREATE DATABASE {TEMPLATE}")
    migrate(made.url(TEMPLATE))
    return made


def url_in(folder: Path, name: str = "gpufleet.db") -> str:
    """The URL of the database that ``folder`` stands for."""
    if not on_postgresql():
        return f"sqlite:///{folder / name}"
    return _database_of(str(folder.absolute()))


@cache
def _database_of(folder: str) -> str:
    made = shared_cluster()
    name = f"t{os.getpid()}_{_database_of.cache_info().currsize}"
    made.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return made.url(name)
