"""Alerts in a hub: evaluated in sequence, stored with what they rest on, alive over restarts."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.rules.file import read_rules
from gpufleet.alerting.rules.rule import RuleSet
from gpufleet.alerting.state import Kind, State
from gpufleet.hub.alert_names import alert_schema
from gpufleet.hub.store.alerts import IncidentQuery, query_incidents, unhandled_notices
from gpufleet.proto import telemetry_pb2 as pb
from support.processes import wait_for
from support.raw_agent import RawAgent, raw_agent
from support.small_hub import SmallHub, small_hub

SECOND = 1000
START = time.time_ns() // 1_000_000_000 * 1000 - 3_600_000
"""An hour ago: samples of it are a backlog, as after an outage."""


def rules(*lines: str) -> RuleSet:
    head = ["groups:", "  - name: g", "    rules:"]
    text = "\n".join([*head, *(f"      - {{{one}}}" for one in lines)])
    return read_rules(text, alert_schema(), "rules.yml")


HOT = rules("alert: Hot, expr: temperature_celsius > 80, for: 5m, severity: critical")


def received(hub: SmallHub, seq: int, epoch: int = 1) -> None:
    def there() -> bool:
        node = hub.core.fleet.nodes.get("n")
        return node is not None and hub.core.logs[node.node_id].received == (epoch, seq)

    wait_for(there, what=f"record {seq}")


def stored(hub: SmallHub) -> tuple[list[Incident], list[Notice]]:
    hub.flush()
    with hub.database.reading() as connection:
        found = query_incidents(connection, IncidentQuery("all"))
        return found, unhandled_notices(connection)


def kinds(notices: Sequence[Notice]) -> list[Kind]:
    return [notice.kind for notice in notices]


def send(agent: RawAgent, first: int, temperatures: Sequence[int], epoch: int = 1) -> None:
    """Samples at 1 s from record ``first`` on; the record's number is its second too."""
    for at in range(0, len(temperatures), 60):
        some = temperatures[at : at + 60]
        rows = [(START + (first + at + i) * SECOND, (t, 1)) for i, t in enumerate(some)]
        agent.ticks(first + at + len(some) - 1, rows)


def fire(hub: SmallHub, agent: RawAgent) -> None:
    """One GPU, five hot samples, committed."""
    agent.begin("GPU-a")
    send(agent, 1, [85] * 5)
    received(hub, 5)
    hub.flush()


def test_five_minutes_of_heat_make_one_incident_and_a_good_sample_resolves_it(
    tmp_path: Path,
) -> None:
    with small_hub(tmp_path, HOT) as hub, raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        send(agent, 1, [70] * 10 + [85] * 302)
        received(hub, 312)
        (incident,), notices = stored(hub)
        assert kinds(notices) == [Kind.FIRED]
        assert incident.state is State.FIRING
        assert incident.since_ms == START + 11 * SECOND
        assert incident.fired_ms == START + 312 * SECOND
        assert (incident.value, incident.threshold, incident.metric) == (
            85.0,
            80.0,
            "temperature_celsius",
        )
        send(agent, 313, [79])
        received(hub, 313)
        (incident,), notices = stored(hub)
        assert kinds(notices) == [Kind.FIRED, Kind.RESOLVED]
        assert incident.resolved_ms == START + 313 * SECOND


def test_five_minutes_exactly_do_not_fire(tmp_path: Path) -> None:
    with small_hub(tmp_path, HOT) as hub, raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        send(agent, 1, [85] * 301 + [70])
        received(hub, 302)
        assert stored(hub) == ([], [])


@pytest.mark.parametrize("seed", range(6))
def test_kills_at_any_point_around_a_firing_leave_one_incident_with_its_first_t0(
    tmp_path: Path, seed: int
) -> None:
    """A killed hub forgets what it has not committed; the agent sends that again."""
    draw = random.Random(seed)
    temperatures = [70] * 20 + [85] * 330 + [70] * 30
    committed = 0
    while committed < len(temperatures):
        with small_hub(tmp_path, HOT) as hub, raw_agent(hub.port, "n") as agent:
            agent.begin("GPU-a")
            wait_for(lambda: "n" in hub.core.fleet.nodes, what="the node")
            log = hub.core.logs[hub.core.fleet.nodes["n"].node_id]
            at = log.committed.seq + 1
            while at <= len(temperatures) and (at == 1 or draw.random() > 0.25):
                count = draw.randint(1, 90)
                send(agent, at, temperatures[at - 1 : at - 1 + count])
                at = min(at + count, len(temperatures) + 1)
                received(hub, at - 1)
                if draw.random() < 0.5:
                    hub.flush()
                else:
                    hub.call(hub.core.pulse)
            committed = log.committed.seq
    with small_hub(tmp_path, HOT) as hub:
        (incident,), notices = stored(hub)
    assert kinds(notices) == [Kind.FIRED, Kind.RESOLVED]
    assert incident.since_ms == START + 21 * SECOND
    assert incident.fired_ms == START + 322 * SECOND


def test_silence_makes_no_data_of_a_firing_alert_once_and_never_resolves_it(
    tmp_path: Path,
) -> None:
    now = rules("alert: Hot, expr: temperature_celsius > 80")
    with small_hub(tmp_path, now) as hub, raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        send(agent, 1, [85] * 5)
        received(hub, 5)

        def silent() -> None:
            core = hub.core
            core.alerts.listen()
            core.alerts._listening_since -= 61_000  # type: ignore[operator]
            core.fleet.receipt_mono -= 100_000
            for _ in range(3):
                core.alerts._looked_ms = 0
                core.alerts.look()

        hub.flush()
        hub.call(silent)
        (incident,), notices = stored(hub)
        assert kinds(notices) == [Kind.FIRED, Kind.NO_DATA]
        assert incident.state is State.NO_DATA
        send(agent, 6, [85])
        received(hub, 6)
        (incident,), notices = stored(hub)
        assert kinds(notices) == [Kind.FIRED, Kind.NO_DATA, Kind.RETURNED]
        assert incident.since_ms == START + SECOND


def test_a_hub_that_was_just_started_concludes_no_silence(tmp_path: Path) -> None:
    now = rules(
        "alert: Hot, expr: temperature_celsius > 80", "alert: Down, expr: missing(), scope: node"
    )
    with small_hub(tmp_path, now) as hub, raw_agent(hub.port, "n") as agent:
        fire(hub, agent)
    with small_hub(tmp_path, now) as hub:

        def just_started() -> None:
            hub.core.alerts.listen()
            hub.core.alerts._listening_since -= 59_000  # type: ignore[operator]
            hub.core.pulse()

        hub.call(just_started)
        _, notices = stored(hub)
        assert kinds(notices) == [Kind.FIRED], "nothing is known of a node that was not heard yet"


def test_another_condition_begins_anew_and_a_removed_rule_closes_its_incident(
    tmp_path: Path,
) -> None:
    now = rules("alert: Hot, expr: temperature_celsius > 80")
    with small_hub(tmp_path, now) as hub, raw_agent(hub.port, "n") as agent:
        fire(hub, agent)
        hub.call(lambda: hub.core.alerts.replace_rules(rules("alert: Other, expr: health > 2")))
        (incident,), notices = stored(hub)
        assert kinds(notices) == [Kind.FIRED, Kind.CLOSED]
        assert incident.closed_by == "gpufleet"


def test_a_rule_that_is_not_for_a_gpu_any_more_closes_its_incident(tmp_path: Path) -> None:
    now = rules("alert: Hot, expr: temperature_celsius > 80")
    elsewhere = rules('alert: Hot, expr: temperature_celsius > 80, match: ["node != n"]')
    with small_hub(tmp_path, now) as hub, raw_agent(hub.port, "n") as agent:
        fire(hub, agent)
        hub.call(lambda: hub.core.alerts.replace_rules(elsewhere))
        send(agent, 6, [85] * 5)
        received(hub, 10)
        (incident,), notices = stored(hub)
        assert kinds(notices) == [Kind.FIRED, Kind.CLOSED]
        assert incident.closed_comment.endswith("is not for it any more.")
    with small_hub(tmp_path, elsewhere) as hub:
        assert hub.call(hub.core.alerts.alerts) == []


def test_rules_that_were_edited_while_no_hub_ran_close_what_they_are_not_for(
    tmp_path: Path,
) -> None:
    now = rules("alert: Hot, expr: temperature_celsius > 80")
    elsewhere = rules('alert: Hot, expr: temperature_celsius > 80, match: ["node != n"]')
    with small_hub(tmp_path, now) as hub, raw_agent(hub.port, "n") as agent:
        fire(hub, agent)
    with small_hub(tmp_path, elsewhere) as hub, raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        wait_for(lambda: "n" in hub.core.fleet.nodes, what="the node")
        (incident,), notices = stored(hub)
        assert kinds(notices) == [Kind.FIRED, Kind.CLOSED]
        assert incident.closed_comment.endswith("is not for it any more.")


def test_a_label_that_takes_a_node_out_of_a_rule_closes_its_incidents(tmp_path: Path) -> None:
    training = rules('alert: Hot, expr: temperature_celsius > 80, match: ["label.role != idle"]')
    with small_hub(tmp_path, training) as hub:
        with raw_agent(hub.port, "n") as agent:
            agent.begin("GPU-a")
            send(agent, 1, [85] * 5)
            received(hub, 5)
            hub.flush()
        with raw_agent(hub.port, "n", epoch=2) as agent:
            agent.hello(labels={"role": "idle"})
            agent.inventory("GPU-a")
            wait_for(lambda: hub.core.fleet.nodes["n"].labels == {"role": "idle"}, what="labels")
            wait_for(lambda: not hub.core.alerts.book.open, what="the incident is closed")
        (incident,), notices = stored(hub)
        assert kinds(notices) == [Kind.FIRED, Kind.CLOSED]
        assert incident.closed_comment == "Its rule is not for it any more."


def test_a_gpu_that_leaves_its_node_closes_its_incidents(tmp_path: Path) -> None:
    now = rules("alert: Hot, expr: temperature_celsius > 80")
    with small_hub(tmp_path, now) as hub, raw_agent(hub.port, "n") as agent:
        fire(hub, agent)
        agent.inventory("GPU-b")
        wait_for(lambda: ("gpu", "GPU-b") in hub.core.fleet.slots, what="the inventory")
        (incident,), notices = stored(hub)
        assert kinds(notices) == [Kind.FIRED, Kind.CLOSED]
        assert incident.closed_comment == "It left its node's inventory."


def _told(agent: RawAgent, detail: str) -> None:
    entry = pb.SubjectDetail(subject_kind="gpu", subject_key="GPU-a", json=detail)
    agent.say(details=pb.Details(details=[entry]))


def test_an_nvlink_that_was_up_and_is_down_is_told_and_one_that_never_was_is_not(
    tmp_path: Path,
) -> None:
    with (
        small_hub(tmp_path, rules("alert: Link, expr: nvlink_down()")) as hub,
        raw_agent(hub.port, "n") as agent,
    ):

        def seen(detail: str) -> list[Kind]:
            _told(agent, detail)
            slot = hub.core.fleet.slots["gpu", "GPU-a"]
            wanted = json.loads(detail)
            wait_for(lambda: hub.core.fleet.details.get(slot) == wanted, what="the detail")
            send(agent, next(numbers), [60])
            hub.call(lambda: time.sleep(1.0))  # the engine looks once a second
            hub.call(hub.core.pulse)
            return kinds(stored(hub)[1])

        numbers = iter(range(1, 10))
        agent.begin("GPU-a")
        send(agent, next(numbers), [60])
        received(hub, 1)
        up = '{"nvlinks": [{"link": 0, "up": true}, {"link": 1, "up": %s}]}'
        assert seen(up % "false") == []
        assert seen(up % "true") == []
        assert seen(up % "false") == [Kind.FIRED]
        assert seen(up % "true") == [Kind.FIRED, Kind.RESOLVED]


def test_a_gpu_that_a_job_was_given_is_told_with_its_user_though_nothing_runs_there(
    tmp_path: Path,
) -> None:
    now = rules("alert: Held, expr: job_count > process_count and temperature_celsius > 50")
    with small_hub(tmp_path, now) as hub, raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        _told(agent, '{"allocation": {"job": "4711", "user": "alice"}}')
        agent.say(processes=pb.Processes(time_ms=START, processes=[]))
        agent.ticks(1, [(START, (60, 0))])
        received(hub, 1)
        hub.call(hub.core.pulse)
        agent.ticks(2, [(START + SECOND, (60, 0))])
        received(hub, 2)
        (incident,), _ = stored(hub)
        assert incident.users == ("alice",)
        assert incident.processes == ("given to job 4711 of alice",)


def test_what_the_hub_derives_is_known_beside_samples_of_a_backlog(tmp_path: Path) -> None:
    now = rules("alert: Ill, expr: temperature_celsius > 80 and health == 0, for: 10s")
    with small_hub(tmp_path, now) as hub, raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        send(agent, 1, [70])
        received(hub, 1)
        hub.call(hub.core.pulse)
        send(agent, 2, [85] * 30)
        received(hub, 31)
        (incident,), _ = stored(hub)
        assert incident.fired_ms == START + 13 * SECOND
