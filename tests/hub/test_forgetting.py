"""A node that is gone for good can be forgotten; its history stays, and it may come back."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import grpc
import pytest

from gpufleet.alerting.rules.file import read_rules
from gpufleet.alerting.state import State
from gpufleet.hub.alert_names import alert_schema
from gpufleet.hub.api.state import CannotForget
from gpufleet.hub.forgetting import forget
from gpufleet.hub.store.alerts import find_incidents
from gpufleet.hub.store.events import query_events
from support.processes import wait_for
from support.raw_agent import RawAgent, raw_agent
from support.small_hub import SmallHub, small_hub

RULES = """
groups:
  - name: test
    rules:
      - alert: Warm
        expr: temperature_celsius > 40
        severity: warning
        annotations: {summary: "GPU {gpu} is warm"}
"""
TICK = time.time_ns() // 1_000_000_000 * 1000 - 60_000


def gone(hub: SmallHub, name: str = "n") -> int | None:
    return hub.run(forget(hub.core, hub.flusher.flush, name))


def shown(hub: SmallHub) -> tuple[list[str], list[str]]:
    """Names of nodes and keys of GPUs, as readers get them."""
    hub.call(hub.core.pulse)
    snapshot = hub.call(hub.core.snapshot)
    return sorted(snapshot.nodes), sorted(snapshot.slots)


def speak(hub: SmallHub, agent: RawAgent, *gpus: str, seq: int = 1) -> None:
    """Hello, inventory and one tick of each GPU, all received."""
    before = hub.core.stats.records
    agent.begin(*gpus)
    agent.tick(seq, TICK + seq * 1000, *((50 + seq, 1) for _ in gpus))
    wait_for(lambda: hub.core.stats.records > before, what="the tick is received")
    hub.call(hub.core.pulse)


def fall_silent(hub: SmallHub, node: str = "n") -> None:
    """Its agent is gone, and the hub has noticed."""
    wait_for(lambda: node not in hub.core.streams, what="the stream has ended")
    hub.core.fleet.nodes[node].last_receipt_mono = hub.core.mono() - 60_000
    hub.call(hub.core.pulse)


def stored_values(hub: SmallHub, gpu: str) -> list[int]:
    return hub.stored("gpu", gpu).columns[20].values.tolist()


def test_a_forgotten_node_is_shown_no_more_not_even_after_a_restart(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub:
        with raw_agent(hub.port, "n") as agent, raw_agent(hub.port, "m") as other:
            speak(hub, agent, "GPU-a", "GPU-b")
            speak(hub, other, "GPU-c")
        fall_silent(hub)
        assert gone(hub) == 2
        assert shown(hub) == (["m"], ["GPU-c"])
        hub.flush()
        with hub.database.reading() as connection:
            (event,) = query_events(connection, kinds=["node_forgotten"]).events
        assert event.message == "Node n was forgotten."
        assert gone(hub) is None
    with small_hub(tmp_path) as again:
        assert shown(again) == (["m"], ["GPU-c"])


def test_what_was_received_last_is_written_before_a_node_is_forgotten(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub:
        with raw_agent(hub.port, "n") as agent:
            speak(hub, agent, "GPU-a")
        fall_silent(hub)
        assert gone(hub) == 1
        assert stored_values(hub, "GPU-a") == [51]


def test_a_node_that_comes_back_goes_on_with_its_history_and_its_sequence(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub:
        with raw_agent(hub.port, "n") as agent:
            speak(hub, agent, "GPU-a")
        fall_silent(hub)
        gone(hub)
    with small_hub(tmp_path) as again, raw_agent(again.port, "n") as agent:
        agent.hello()
        committed = agent.hear().welcome.committed
        assert (committed.epoch, committed.seq) == (1, 1)
        agent.inventory("GPU-a")
        agent.tick(2, TICK + 2000, (52, 1))
        wait_for(lambda: again.core.stats.records, what="the tick is received")
        assert shown(again) == (["n"], ["GPU-a"])
        again.flush()
        assert stored_values(again, "GPU-a") == [51, 52]
    with small_hub(tmp_path) as third:
        assert shown(third) == (["n"], ["GPU-a"])


def test_it_may_come_back_to_the_hub_that_forgot_it(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub:
        for seq in (1, 2):
            with raw_agent(hub.port, "n") as agent:
                speak(hub, agent, "GPU-a", "GPU-b", seq=seq)
                assert shown(hub) == (["n"], ["GPU-a", "GPU-b"])
            fall_silent(hub)
            assert gone(hub) == 2
        assert shown(hub) == ([], [])
        assert stored_values(hub, "GPU-a") == [51, 52]


def test_gpus_of_a_forgotten_node_are_free_for_another(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub:
        with raw_agent(hub.port, "n") as agent:
            speak(hub, agent, "GPU-a")
        fall_silent(hub)
        gone(hub)
        with raw_agent(hub.port, "other") as agent:
            speak(hub, agent, "GPU-a")
            assert shown(hub) == (["other"], ["GPU-a"])
        hub.flush()
        with hub.database.reading() as connection:
            (event,) = query_events(connection, kinds=["gpu_moved"]).events
        assert event.message == "GPU GPU-a moved from node n to other."


def test_a_node_that_is_up_or_connected_is_not_forgotten(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub:
        with raw_agent(hub.port, "n") as agent:
            speak(hub, agent, "GPU-a")
            with pytest.raises(CannotForget, match="Node n is up: stop its agent"):
                gone(hub)
            hub.core.fleet.nodes["n"].last_receipt_mono = hub.core.mono() - 60_000
            hub.call(hub.core.pulse)
            with pytest.raises(CannotForget):
                gone(hub)
        assert shown(hub)[0] == ["n"]


def test_a_node_that_comes_back_at_that_moment_has_to_say_everything_anew(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub:
        with raw_agent(hub.port, "n") as agent:
            speak(hub, agent, "GPU-a")
        fall_silent(hub)
        hub.flush()
        written = threading.Event()
        hub._writer.submit(written.wait, 30)
        answer = asyncio.run_coroutine_threadsafe(
            forget(hub.core, hub.flusher.flush, "n"), hub._loop
        )
        wait_for(lambda: hub.core.registrar._task, what="it is being written")
        with raw_agent(hub.port, "n") as agent:
            agent.hello()
            agent.hear()
            written.set()
            assert answer.result(30) == 1
            code, sentence = agent.refusal()
        assert code is grpc.StatusCode.UNAVAILABLE
        assert sentence.startswith("The hub forgot this node just now")
        with raw_agent(hub.port, "n") as agent:
            speak(hub, agent, "GPU-a", seq=2)
            assert shown(hub) == (["n"], ["GPU-a"])


def test_a_node_that_only_ever_said_hello_can_be_forgotten(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub:
        with raw_agent(hub.port, "n") as agent:
            agent.hello()
            agent.hear()
        fall_silent(hub)
        assert gone(hub) == 0
    with small_hub(tmp_path) as again:
        assert shown(again) == ([], [])


def test_its_alerts_end_and_say_why(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub:
        hub.call(lambda: hub.core.alerts.replace_rules(read_rules(RULES, alert_schema(), "test")))
        with raw_agent(hub.port, "n") as agent:
            speak(hub, agent, "GPU-a")
            (incident,) = hub.call(hub.core.alerts.alerts)
            assert incident.state is State.FIRING
        fall_silent(hub)
        gone(hub)
        assert hub.call(hub.core.alerts.alerts) == []
        hub.flush()
        with hub.database.reading() as connection:
            ended = find_incidents(connection, [incident.id])[incident.id]
        assert not ended.open
        assert ended.closed_comment == "Its node was forgotten."
