"""A running hub's database is copied, and put back, by the command."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from support.everything import everything_in
from support.processes import command, environment, free_port, get, running, wait_for

pytestmark = pytest.mark.own_database


def _hub(folder: Path, action: str, file: Path) -> tuple[int, str]:
    """What ``gpufleet hub ACTION FILE`` returns and says."""
    done = subprocess.run(
        command("hub", action, str(file), "--data-dir", str(folder)),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def test_a_running_hub_is_copied_and_the_copy_is_put_back(tmp_path: Path) -> None:
    folder, copy, log = tmp_path / "hub", tmp_path / "copy.db", tmp_path / "hub.log"
    http, grpc = free_port(), free_port()
    ports = ("--http-port", str(http), "--grpc-port", str(grpc))
    serve = ("hub", "serve", "--data-dir", str(folder), *ports)
    address = ("--hub", f"127.0.0.1:{grpc}", "--state-dir", str(tmp_path / "agent"))
    past = ("--backfill", "1", "--backfill-interval", "10")
    with running(*serve, log=log) as hub:
        wait_for(lambda: get(http, "/readyz")[0] == 200, 60, "the hub is ready")
        agent = ("agent", "run", "--method", "sim", "--node", "n0", *address, *past)
        with running(*agent, log=tmp_path / "agent.log"):
            chunks = "gpufleet_hub_chunks_total 0.0\n"
            wait_for(lambda: chunks not in str(get(http, "/metrics")[1]), 60, "a first commit")
            status, said = _hub(folder, "backup", copy)
            assert (status, "is a whole copy" in said) == (0, True)
            status, said = _hub(folder, "restore", copy)
            assert (status, "Another hub uses" in said) == (1, True)
            status, said = _hub(folder, "backup", copy)
            assert (status, "is there already; name a new file" in said) == (1, True)
            assert get(http, "/readyz")[0] == 200
        hub.send_signal(signal.SIGTERM)
        assert hub.wait(60) == 0
    newest = everything_in(folder / "gpufleet.db")
    status, said = _hub(folder, "restore", log)
    assert (status, "is not a sound gpufleet database" in said) == (1, True)
    status, said = _hub(folder, "restore", copy)
    assert status == 0
    former = folder / "gpufleet.db.before-1"
    assert f"What was there is {former} now." in said
    assert everything_in(former) == newest
    restored = everything_in(folder / "gpufleet.db")
    assert restored
    assert restored.items() <= newest.items()
    with running(*serve, log=log):
        wait_for(lambda: get(http, "/api/v1/nodes/n0")[0] == 200, 60, "the node is known again")
