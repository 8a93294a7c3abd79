"""A node whose disk is full when its agent starts: what the disk holds is sent once it is free."""

from __future__ import annotations

import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.agent_bench import journal_of
from support.everything import everything_in
from support.processes import command, environment, free_port, get, running, wait_for

pytestmark = pytest.mark.own_database


def _agent(folder: Path, port: int, *more: str) -> tuple[str, ...]:
    run = ("agent", "run", "--method", "sim", "--node", "n1", "--gpus", "1")
    return (*run, "--hub", f"127.0.0.1:{port}", "--state-dir", str(folder / "state"), *more)


def test_what_was_spooled_is_stored_though_the_disk_was_full_at_the_restart(
    tmp_path: Path,
) -> None:
    http_port, grpc_port = free_port(), free_port()
    journal = ("--journal", str(tmp_path / "journal"))
    with running(*_agent(tmp_path, grpc_port, *journal), log=tmp_path / "log") as first:
        wait_for(
            lambda: (tmp_path / "journal").exists() and len(journal_of(tmp_path)) > 5,
            what="ticks are taken",
        )
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0
    owed = {line["tick"] for line in journal_of(tmp_path) if "tick" in line}

    ports = ("--http-port", str(http_port), "--grpc-port", str(grpc_port))
    hub = ("hub", "serve", "--data-dir", str(tmp_path / "hub"), *ports)
    # No file can grow past this limit, which needs no root and can be lifted from outside.
    full = ["sh", "-c", 'ulimit -S -f 0; exec "$@"', "sh"]
    with running(*hub, log=tmp_path / "hub.log") as serving:
        second = subprocess.Popen(
            [*full, *command(*_agent(tmp_path, grpc_port))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        try:
            wait_for(lambda: _up(http_port), 60, "the node is up, live, with a full disk")
            time.sleep(3)
            assert second.poll() is None
            _, hard = resource.prlimit(second.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(second.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
            wait_for(lambda: _records(http_port) > len(owed) + 5, 90, "records are stored")
            second.send_signal(signal.SIGTERM)
            assert second.wait(20) == 0
        finally:
            if second.poll() is None:
                second.kill()
            second.wait(10)
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(60) == 0
    stored = {tick for _, tick in everything_in(tmp_path / "hub" / "gpufleet.db")}
    assert owed <= stored, f"{len(owed - stored)} of {len(owed)} spooled ticks were lost"


def _up(port: int) -> bool:
    status, body = get(port, "/api/v1/fleet")
    return bool(status == 200 and body["nodes"]["up"] == 1)


def _records(port: int) -> float:
    """How many durable records the hub took: those of the live view do not count."""
    _, text = get(port, "/metrics")
    line = next(line for line in text.splitlines() if line.startswith("gpufleet_hub_records_total"))
    return float(line.split()[1])
