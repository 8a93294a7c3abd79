"""A throwaway PostgreSQL cluster: its own folder, a free loopback port, gone at the end."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

from support.processes import free_port

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "log_min_messages": "warning",
}


def binaries() -> Path | None:
    """The folder with initdb, pg_ctl and postgres; ``None``: there is none."""
    found = shutil.which("pg_ctl")
    if found and shutil.which("initdb"):
        return Path(os.path.realpath(found)).parent
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda name: name.split("/")[4])
    return Path(folders[-1]) if folders else None


def unprivileged() -> dict[str, Any]:
    """Arguments of subprocess with which PostgreSQL, which refuses root, runs."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise OSError("root cannot run PostgreSQL, and there is neither a user postgres nor nobody")


@dataclass
class Cluster:
    """A server that can be stopped, killed, frozen and started again."""

    folder: Path
    commands: Path
    port: int

    @cached_property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://gpufleet@127.0.0.1:{self.port}/{database}"

    def run(self, command: str, *args: str | Path) -> None:
        done = subprocess.run(
            [self.commands / command, *args],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **unprivileged(),
        )
        if done.returncode:
            raise RuntimeError(f"{command} failed: {done.stdout}")

    def start(self) -> None:
        log = self.folder / "log"
        self.run("pg_ctl", "start", "-w", "-t", "60", "-s", "-D", self.data, "-l", log)

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "stop", "-w", "-t", "60", "-s", "-m", mode, "-D", self.data)

    def kill(self) -> None:
        """As if the machine had gone."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        (self.data / "postmaster.pid").unlink()

    def end(self) -> None:
        """Stop it if it runs."""
        if (self.data / "postmaster.pid").exists():
            self.stop()

    def processes(self) -> list[int]:
        """The server's process and its children."""
        parent = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]

    def freeze(self) -> None:
        """No process of it runs until ``wake``; its kernel goes on answering."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):  # a session that ended meanwhile
                os.kill(pid, number)

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Statements in no transaction."""
        name = f"host=127.0.0.1 port={self.port} user=gpufleet dbname={database}"
        with psycopg.connect(name, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def cluster(settings: Mapping[str, str] = SETTINGS) -> Iterator[Cluster]:
    """A running cluster. RuntimeError or OSError say why there is none."""
    commands = binaries()
    if commands is None:
        raise OSError("PostgreSQL is not installed (apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="gpufleet-pg-"))
    try:
        who = unprivileged()
        if who:
            os.chown(folder, who["user"], who["group"])
        made = Cluster(folder, commands, free_port())
        made.run("initdb", "-D", made.data, "-U", "gpufleet", "-A", "trust", "-N", "-E", "UTF8")
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        lines += [f"port = {made.port}", f"unix_socket_directories = '{folder}'"]
        with (made.data / "postgresql.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")
        made.start()
        try:
            yield made
        finally:
            made.end()
    finally:
        shutil.rmtree(folder)
