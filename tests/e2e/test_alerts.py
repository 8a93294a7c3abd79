"""Alerts and their mail with real hubs: killed, restarted, taken over, and without a mail server.

``GPUFLEET_KILLS=10`` kills the hub so often around one firing.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.alert_settings import alerting_hub, mails
from support.fleet_processes import FleetProcesses
from support.hub_pair import HubPair
from support.mail_server import Behaviour, mail_server
from support.processes import free_port, get, wait_for
from support.raw_agent import RawAgent, raw_agent

pytestmark = [pytest.mark.own_database, pytest.mark.timeout(400)]

KILLS = int(os.environ.get("GPUFLEET_KILLS", "3"))
FULL = "alert: Full, expr: memory_used_ratio > 90%, for: 10s, severity: critical"
HOT = "alert: Hot, expr: temperature_celsius > 80, for: 3s, severity: critical"
MEMFULL = "memfull:0,1,2,3,4,5,6,7"
DOWN = "alert: Down, expr: missing(), scope: node, severity: critical"


def incidents(port: int) -> list[dict[str, Any]]:
    status, body = get(port, "/api/v1/incidents?state=all")
    return body["incidents"] if status == 200 else []


def kinds(port: int, incident: str) -> list[str]:
    """What happened to it, oldest first."""
    status, body = get(port, f"/api/v1/incidents/{incident}")
    assert status == 200
    return [entry["kind"] for entry in body["history"]]


def test_a_hub_killed_again_and_again_around_a_firing_mails_it_once(tmp_path: Path) -> None:
    draw = random.Random(7)
    with FleetProcesses(tmp_path) as fleet:
        fleet.config = alerting_hub(tmp_path, FULL)
        fleet.start_hub()
        fleet.start_agent("n", "--method", "sim", "--gpus", "1", "--scenario", "memfull")
        begun: set[str] = set()
        for _ in range(KILLS):
            end = time.monotonic() + draw.uniform(0.5, 14 / KILLS + 2)
            while time.monotonic() < end:
                _, body = get(fleet.http_port, "/api/v1/alerts")
                begun |= {one["since"] for one in body["alerts"]}
                time.sleep(0.2)
            assert fleet.hub is not None
            fleet.hub.kill()
            fleet.hub.wait(10)
            fleet.start_hub()
        wait_for(lambda: mails(tmp_path), 90, "the mail lies in the folder")
        fleet.hub.kill()
        fleet.hub.wait(10)
        fleet.start_hub()
        wait_for(lambda: fleet.gpus("n")[0]["stale"] is False, 60, "samples come again")
        (incident,) = incidents(fleet.http_port)
        assert incident["state"] == "firing"
        assert begun <= {incident["since"]}
        assert kinds(fleet.http_port, incident["incident"]) == ["fired"]
        (mail,) = mails(tmp_path)
        assert mail["Subject"].startswith("[CRITICAL]")


def hot_then_cool(agent: RawAgent, first: int, start_ms: int, temperatures: list[int]) -> None:
    """Samples at 1 s from record ``first`` on, the first record being of ``start_ms``."""
    rows = [(start_ms + (first + i - 1) * 1000, (t, 1)) for i, t in enumerate(temperatures)]
    agent.ticks(first + len(rows) - 1, rows)


def test_what_fired_and_resolved_while_the_mail_server_was_away_is_told_in_one_mail(
    tmp_path: Path,
) -> None:
    port = free_port()
    start_ms = time.time_ns() // 1_000_000_000 * 1000 - 100_000
    with FleetProcesses(tmp_path) as fleet:
        fleet.config = alerting_hub(tmp_path, HOT, smtp_port=port)
        fleet.start_hub()

        def waiting() -> list[dict[str, Any]]:
            return [one for one in fleet.get("/api/v1/emails")["emails"] if one["attempts"]]

        with raw_agent(fleet.grpc_port, "n") as agent:
            agent.begin("GPU-a")
            hot_then_cool(agent, 1, start_ms, [85] * 10)
            wait_for(waiting, 60, "the mail server was tried")
            hot_then_cool(agent, 11, start_ms, [70] * 5)
            wait_for(lambda: incidents(fleet.http_port)[0]["resolved_at"], 60, "it resolved")
            wait_for(
                lambda: any("RESOLVED" in one["subject"] for one in waiting()),
                150,
                "the mail that waits tells the end too",
            )
        with mail_server(Behaviour(), port=port) as server:
            wait_for(lambda: fleet.get("/api/v1/emails")["sent"], 120, "the mail was sent")
            (mail,) = server.taken
        assert b"[RESOLVED]" in mail.data
        assert fleet.get("/api/v1/emails")["waiting"] == 0


def test_a_restart_with_a_hundred_nodes_connected_mails_nothing(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(100)]
    start_ms = time.time_ns() // 1_000_000_000 * 1000 - 60_000
    with FleetProcesses(tmp_path) as fleet:
        fleet.config = alerting_hub(tmp_path, HOT, DOWN, wait_seconds=0)
        for turn in range(2):
            fleet.start_hub()
            time.sleep(6 if turn else 0)  # longer than a node may be silent before it is down
            with ExitStack() as stack:
                for name in names:
                    agent = stack.enter_context(raw_agent(fleet.grpc_port, name))
                    agent.begin(f"GPU-{name}")
                    hot_then_cool(agent, 1 + 30 * turn, start_ms, [70] * 30)

                def all_up() -> bool:
                    return int(fleet.get("/api/v1/fleet")["nodes"]["up"]) == len(names)

                wait_for(all_up, 60, "all nodes are up")
                assert fleet.hub is not None
                fleet.hub.send_signal(signal.SIGTERM if turn else signal.SIGKILL)
                fleet.hub.wait(30)
        fleet.start_hub()
        assert incidents(fleet.http_port) == []
        assert fleet.get("/api/v1/alerts")["total"] == 0
        assert fleet.get("/api/v1/emails")["emails"] == []
        assert mails(tmp_path) == []


def test_an_agent_that_dies_while_its_gpus_fire_leaves_no_data_and_one_mail(
    tmp_path: Path,
) -> None:
    with FleetProcesses(tmp_path) as fleet:
        fleet.config = alerting_hub(tmp_path, FULL, DOWN)
        fleet.start_hub()
        agent = fleet.start_agent("n", "--method", "sim", "--gpus", "8", "--scenario", MEMFULL)

        def states() -> list[tuple[str, str]]:
            return sorted((one["alertname"], one["state"]) for one in incidents(fleet.http_port))

        wait_for(lambda: states() == [("Full", "firing")] * 8, 90, "eight GPUs fire")
        wait_for(lambda: len(mails(tmp_path)) == 4, 60, "a mail for each of the four models")
        agent.kill()
        agent.wait(10)
        gone = [("Down", "firing"), *[("Full", "no_data")] * 8]
        wait_for(lambda: states() == gone, 150, "the node is down, its GPUs have no data")
        wait_for(lambda: len(mails(tmp_path)) == 5, 60, "one mail tells of the node")
        time.sleep(10)  # longer than the wait of a group: nothing more comes
        *of_gpus, of_node = (str(mail["Subject"]) for mail in mails(tmp_path))
        assert all("2 GPUs on n" in subject for subject in of_gpus)
        assert of_node.startswith("[CRITICAL] node n")
        assert not any("RESOLVED" in subject for subject in of_gpus)
        assert fleet.get("/api/v1/emails")["sent"] == 5
        for one in incidents(fleet.http_port):
            told = kinds(fleet.http_port, one["incident"])
            assert told == (["fired"] if one["alertname"] == "Down" else ["fired", "no_data"])


def test_another_hub_that_takes_over_in_the_middle_of_a_firing_mails_it_once(
    tmp_path: Path, postgres_url: str
) -> None:
    pair = HubPair(tmp_path, postgres_url, seconds=2.0)
    pair.config = alerting_hub(tmp_path, FULL)
    first, second = pair.hubs
    try:
        pair.start_hub(first)
        wait_for(lambda: first.ready, 60, "the first hub is ready")
        pair.start_hub(second)
        pair.start_agent("n0", "--scenario", "memfull:0")

        def firing() -> bool:
            return any(one["state"] == "firing" for one in incidents(first.http_port))

        wait_for(firing, 90, "it fires")
        first.signal(signal.SIGKILL)
        wait_for(lambda: second.ready, 60, "the standby has taken over")
        wait_for(lambda: second.nodes_up == 1, 60, "the agent has followed")
        wait_for(lambda: mails(tmp_path), 90, "the mail lies in the folder")
        wait_for(lambda: get(second.http_port, "/api/v1/emails")[1]["sent"] == 1, 30, "sent")
        (incident,) = incidents(second.http_port)
        assert incident["state"] == "firing"
        assert kinds(second.http_port, incident["incident"]) == ["fired"]
        assert len(mails(tmp_path)) == 1
    finally:
        pair.close()


def test_a_rules_file_with_a_mistake_leaves_the_old_rules_in_force_and_says_where(
    tmp_path: Path,
) -> None:
    with FleetProcesses(tmp_path) as fleet:
        fleet.config = alerting_hub(tmp_path, HOT)
        fleet.start_hub()
        file = tmp_path / "rules.yml"
        good = file.read_text()
        file.write_text(good.replace("temperature_celsius", "temperatur_celsius"))

        def problems() -> Any:
            return fleet.get("/api/v1/rules")["problems"]

        (said,) = wait_for(problems, 30, "the mistake is told")
        assert "temperature_celsius" in said["sentence"]
        assert (said["line"], said["field"]) == (4, "expr")
        assert [one["alertname"] for one in fleet.get("/api/v1/rules")["rules"]] == ["Hot"]
        assert "rules.yml" in (tmp_path / "hub.log").read_text()

        def told(kind: str) -> list[dict[str, Any]]:
            return [event for event in fleet.events() if event["kind"] == kind]

        (refused,) = wait_for(lambda: told("rules_refused"), 30, "an event tells of it")
        assert (refused["node"], refused["subject"], refused["severity"]) == (None, None, "warning")
        assert "line 4" in refused["message"]
        assert refused["data"] == {"problems": 1, "line": 4, "field": "expr"}
        file.write_text(good.replace("Hot", "Hotter"))
        wait_for(lambda: not problems(), 30, "the mend is in force")
        assert [one["alertname"] for one in fleet.get("/api/v1/rules")["rules"]] == ["Hotter"]
        (loaded,) = wait_for(lambda: told("rules_loaded"), 30, "an event tells of it")
        assert loaded["message"].startswith("Rules in force: 1, of ")
