"""``gpufleet alerts`` as somebody types it: at a running hub, and on files."""

from __future__ import annotations

import json
import re
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from support.alert_settings import RECIPIENT, alerting_hub
from support.fleet_processes import FleetProcesses
from support.mail_server import Behaviour, mail_server
from support.processes import command, environment, free_port, wait_for
from support.raw_agent import raw_agent

pytestmark = pytest.mark.timeout(300)

HOT = (
    "alert: Hot, expr: temperature_celsius > 80, for: 3s, severity: critical,"
    ' annotations: {summary: "GPU {gpu} is at {value}"}'
)


def alerts(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of ``gpufleet alerts ARGUMENTS``."""
    run = subprocess.run(
        command("alerts", *arguments), env=environment(), capture_output=True, text=True, timeout=60
    )
    return run.returncode, run.stdout, run.stderr


def said(*arguments: str) -> str:
    status, out, error = alerts(*arguments)
    assert (status, error) == (0, ""), (out, error)
    return out


def test_an_incident_from_its_list_to_its_end_by_hand_and_its_mail(tmp_path: Path) -> None:
    port = free_port()
    start_ms = time.time_ns() // 1_000_000_000 * 1000 - 100_000
    with FleetProcesses(tmp_path) as fleet:
        fleet.config = alerting_hub(tmp_path, HOT, smtp_port=port)
        fleet.start_hub()
        hub = ("--hub", f"http://127.0.0.1:{fleet.http_port}")
        assert said("list", *hub) == "All is well.\n"
        assert said("silences", *hub) == "Nothing is silenced.\n"
        assert said("mails", *hub) == "No mails.\n"
        refusing = Behaviour(refuse={RECIPIENT: "550 no such user"})
        with mail_server(refusing, port=port) as server, raw_agent(fleet.grpc_port, "n") as agent:
            agent.begin("GPU-a")
            agent.ticks(10, [(start_ms + 1000 * i, (85, 1)) for i in range(10)])
            line = wait_for(
                lambda: "Hot" in said("list", *hub) and said("list", *hub), 30, "it fires"
            )
            incident = line.split()[0]
            assert re.fullmatch(r"[0-9a-f]{16}", incident)
            assert line.split()[1:3] == ["critical", "firing"]
            assert "Hot: GPU 0 is at 85 °C" in line
            assert json.loads(said("list", "--json", *hub))["total"] == 1
            other = said("list", "--node", "elsewhere", *hub)
            assert other == "No such alert; 1 of other kinds.\n"

            # Its mail is refused, and sent after all once the server has thought better of it.
            def dead() -> str:
                found = said("mails", "--state", "dead", *hub)
                return "" if found == "No mails.\n" else found

            mail = wait_for(dead, 60, "its mail is given up")
            assert "550" in mail
            assert server.taken == []
            refusing.refuse.clear()
            assert said("resend", mail.split()[0], *hub).endswith("is sent again\n")
            wait_for(lambda: len(server.taken) == 1, 60, "it is sent")
            assert server.taken[0].recipient == RECIPIENT
            wait_for(lambda: not dead(), 30, "it is dead no more")
            status, _, error = alerts("resend", mail.split()[0], *hub)
            assert status == 1
            assert "was given up" in error

            assert said("ack", incident, "--by", "bob", "--comment", "On my way.", *hub).startswith(
                "acknowledged: Hot"
            )
            assert "acknowledged" in said("list", *hub)
            why = ("--by", "bob", "--comment", "new fans")
            muted = said("silence", "node=n", "--for", "1h", *why, *hub)
            silence = muted.partition(":")[0]
            assert "node=n  bob: new fans" in said("silences", *hub)
            assert "silenced" in said("list", *hub)
            tonight = ("node=n", "--starts", "+1h", "--for", "2h", *why)
            later = said("silence", *tonight, *hub).split()
            begins, ends = (datetime.fromisoformat(later[i]) for i in (3, 5))
            assert ends - begins == timedelta(hours=2)
            said("silence", "node=n", "--starts", "2099-01-31T22:00:00Z", "--for", "1h", *why, *hub)
            for wrong in (("--starts", "soon"), ("--for", "long")):
                status, _, error = alerts("silence", "node=n", *wrong, *why, *hub)
                assert status == 1
                assert f"{wrong[0]} '{wrong[1]}' is no" in error
            assert said("unsilence", silence, *hub) == f"{silence}: ended\n"
            assert said("close", incident, "--by", "bob", *hub).startswith("closed: Hot")
            assert said("list", *hub) == "All is well.\n"
            for gone in (("close", incident), ("ack", incident), ("unsilence", "none")):
                status, out, error = alerts(*gone, *hub)
                assert (status, out) == (1, "")
                assert error.startswith(f"gpufleet alerts {gone[0]}: ")
            status, _, error = alerts("silence", "nothing", *hub)
            assert status == 1
            assert error.startswith("gpufleet alerts silence: ")
    status, _, error = alerts("list", *hub)
    assert status == 1
    assert "does not answer" in error


def test_a_backtest_says_what_would_have_fired_on_the_stored_history(tmp_path: Path) -> None:
    start_ms = time.time_ns() // 1_000_000_000 * 1000 - 1_000_000
    rules = tmp_path / "mine.yml"
    rules.write_text(
        "groups: [{name: g, rules: ["
        "{alert: Hot, expr: temperature_celsius > 80, for: 5m},"
        "{alert: Held, expr: process_count > 0}, {alert: Ill, expr: health > 1},"
        "{alert: Fit, expr: temperature_celsius > 40 and not xid(1h)},"
        "{alert: Here, expr: temperature_celsius > 40, clear: missing()}]}]"
    )
    with FleetProcesses(tmp_path) as fleet:
        fleet.start_hub()
        with raw_agent(fleet.grpc_port, "n") as agent:
            agent.begin("GPU-a")
            temperatures = [70] * 10 + [85] * 310 + [70] * 20 + [90] * 100 + [60] * 5
            for at in range(0, len(temperatures), 60):
                some = temperatures[at : at + 60]
                rows = [(start_ms + 1000 * (at + i), (hot, 1)) for i, hot in enumerate(some)]
                agent.ticks(at + len(some), rows)

            def newest() -> object:
                return fleet.gpus("n").get(0, {}).get("temperature_celsius")

            wait_for(lambda: newest() == 60, 30, "all samples are there")
        fleet.stop_hub()
        found = said("backtest", str(rules), "--last", "1h", "--database", fleet.database)
    first, total, count, left_out = found.splitlines()
    assert first.split()[1:] == ["Hot", "n", "/", "GPU", "0", "9", "s"]
    assert re.fullmatch(r"1 firings of 1 rules in 1\d min.*: there is no older history\.", total)
    assert count.split() == ["1", "Hot"]
    assert left_out == "Not in history, so not tested: Held, Ill, Fit, Here."


def test_rules_files_are_checked_and_tested_and_the_shipped_ones_printed(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(said("rules"))
    assert said("check", str(rules)).endswith("in 5 groups, all well.\n")
    tests = tmp_path / "tests.yml"
    lost = "alertname: GpuLost, exp_alerts: [{exp_labels: {gpu: '3'}}]"
    tests.write_text(
        "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n"
        "  - name: lost\n    interval: 1m\n"
        "    input_series: [{series: 'missing{gpu=\"3\"}', values: '1x5'}]\n"
        f"    alert_rule_test: [{{eval_time: 1m, {lost}}}]\n"
    )
    assert said("test", str(tests)) == f"{tests}: passed\n"
    tests.write_text(tests.read_text().replace("1x5", "0x5"))
    status, out, _ = alerts("test", str(tests))
    assert status == 1
    assert "FAILED lost: GpuLost at 1m: expected node=node gpu=3; got no alert" in out
    rules.write_text(
        rules.read_text().replace("temperature_celsius > 80", "temprature_celsius > 80")
    )
    status, out, error = alerts("check", str(rules))
    assert (status, out) == (1, "")
    assert "line 7, column 15: expr: There is no metric 'temprature_celsius'" in error
    assert "Did you mean temperature_celsius?" in error
    status, _, error = alerts("check", str(tmp_path / "none.yml"))
    assert status == 1
    assert error.endswith("none.yml cannot be read: No such file or directory.\n")
