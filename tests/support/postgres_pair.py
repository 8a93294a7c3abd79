"""A PostgreSQL primary with a synchronous standby that can be promoted, both throwaway."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from support.postgres_cluster import Cluster, cluster, unprivileged
from support.processes import free_port, wait_for

_REPLICATED = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "wal_level": "replica",
    "hot_standby": "on",
    "log_min_messages": "warning",
}


@contextmanager
def primary_and_standby() -> Iterator[tuple[Cluster, Cluster]]:
    """A commit on the first is answered once the second has it on disk."""
    with cluster(_REPLICATED) as primary:
        folder = Path(tempfile.mkdtemp(prefix="gpufleet-pg-"))
        standby = Cluster(folder, primary.commands, free_port())
        try:
            who = unprivileged()
            if who:
                os.chown(folder, who["user"], who["group"])
            source = f"host=127.0.0.1 port={primary.port} user=gpufleet application_name=standby"
            arguments = ("--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream")
            primary.run("pg_basebackup", "-D", standby.data, "-d", source, "--no-sync", *arguments)
            with (standby.data / "postgresql.conf").open("a") as file:
                file.write(f"port = {standby.port}\nunix_socket_directories = '{folder}'\n")
            standby.start()
            primary.execute(
                "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (standby)'",
                "SELECT pg_reload_conf()",
            )
            wait_for(lambda: _synchronous(primary), 30, "the standby is synchronous")
            try:
                yield primary, standby
            finally:
                standby.end()
        finally:
            shutil.rmtree(folder)


def _synchronous(primary: Cluster) -> bool:
    name = f"host=127.0.0.1 port={primary.port} user=gpufleet dbname=postgres"
    with psycopg.connect(name, autocommit=True) as connection:
        found = connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
    return found == [("quorum",)]
