"""``gpufleet hub nodes``: what it prints of the hub's answers, and how a node is forgotten."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gpufleet.cli.main import main
from gpufleet.cli.nodes import table
from support.fleet_processes import FleetProcesses
from support.processes import wait_for

pytestmark = pytest.mark.own_database


def test_a_table_has_what_is_known_of_each_node() -> None:
    row = {
        "name": "n1",
        "up": True,
        "gpus": 8,
        "receipt_time": "2026-11-26T09:30:00.000Z",
        "method": "nvml",
        "agent_version": "0.1.0",
    }
    bare = {"name": "n10", "up": False, "gpus": 0} | dict.fromkeys(
        ("receipt_time", "method", "agent_version")
    )
    assert table([row, bare]) == [
        "NODE  STATE  GPUS  LAST HEARD                METHOD  AGENT",
        "n1    up     8     2026-11-26T09:30:00.000Z  nvml    0.1.0",
        "n10   down   0     -                         -       -",
    ]
    assert table([]) == [
        "This hub knows no node: point agents at it with gpufleet agent run --hub."
    ]


def test_a_node_that_is_gone_is_forgotten_by_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FleetProcesses(tmp_path) as fleet:
        fleet.start_hub()
        hub = ["--hub", f"http://127.0.0.1:{fleet.http_port}"]
        nodes = ["hub", "nodes"]
        agent = fleet.start_agent("old", "--method", "sim", "--gpus", "2")
        wait_for(lambda: len(fleet.gpus("old")) == 2, 60, "the agent is there")
        assert main([*nodes, "forget", "old", *hub]) == 1
        assert "Node old is up: stop its agent" in capsys.readouterr().err
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30) == 0
        wait_for(lambda: not fleet.get("/api/v1/nodes/old")["up"], 30, "the node is down")
        assert main([*nodes, "list", *hub]) == 0
        assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["old", "down", "2"]
        assert main([*nodes, "forget", "old", *hub]) == 0
        assert capsys.readouterr().out == (
            "Node old and its 2 GPUs are forgotten; their history stays.\n"
        )
        wait_for(lambda: fleet.get("/api/v1/nodes")["total"] == 0, what="it is shown no more")
        assert main([*nodes, "forget", "old", *hub]) == 1
        assert "There is no node 'old'" in capsys.readouterr().err


def test_without_a_hub_it_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hub", "nodes", "list", "--hub", "http://127.0.0.1:1"]) == 1
    assert capsys.readouterr().err.startswith("gpufleet hub nodes: ")
