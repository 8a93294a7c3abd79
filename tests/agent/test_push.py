"""The stream to a hub, over real gRPC: nothing lost, nothing doubled, whatever is cut."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from gpufleet.agent.clock import SystemClock
from gpufleet.agent.model import Process
from gpufleet.proto import telemetry_pb2 as pb
from support.agent_bench import journal_of, running_agent, samples_of, settings
from support.agent_clock import FastClock, until
from support.hub_double import HubDouble
from support.scripted_collector import ScriptedCollector
from support.tcp_proxy import TcpProxy


@pytest.fixture
def hub() -> Iterator[HubDouble]:
    made = HubDouble().start()
    yield made
    made.stop()
    assert made.errors == []


def assert_hub_has_the_journal(hub: HubDouble, folder: Path) -> None:
    lines = journal_of(folder)
    taken = samples_of(lines)
    assert taken
    assert hub.samples == taken
    assert {(line["epoch"], line["seq"]) for line in lines if "event" in line} == set(hub.events)
    assert hub.stored_twice == []
    assert hub.jumps == []
    assert hub.gaps == []


def epochs_of(folder: Path) -> set[int]:
    return {line["epoch"] for line in journal_of(folder)}


def test_everything_taken_arrives_once_with_its_value(tmp_path: Path, hub: HubDouble) -> None:
    with running_agent(settings(tmp_path, hub.address)):
        until(lambda: len(hub.samples) >= 60, "samples arrive")
    assert_hub_has_the_journal(hub, tmp_path)
    assert {key for kind, key, _ in hub.samples if kind == "gpu"} == {"a", "b"}


def test_a_stream_begins_with_hello_inventory_and_status(tmp_path: Path, hub: HubDouble) -> None:
    collector = ScriptedCollector("a", "b")
    collector.listed["a"] = (Process("a", 7, "C", memory_bytes=0),)
    with running_agent(settings(tmp_path, hub.address, labels={"rack": "r1"}), collector):
        until(lambda: bool(hub.of_kind("processes")), "processes arrive")
    kinds = [message.WhichOneof("body") for message in hub.messages]
    assert kinds[:3] == ["hello", "inventory", "status"]
    hello = hub.messages[0].hello
    assert (hello.node, dict(hello.labels), hello.method) == ("n1", {"rack": "r1"}, "scripted")
    assert hello.interval_ms == 1000
    assert json.loads(hello.facts_json)["cpu_count"] > 0
    inventory = hub.of_kind("inventory")[-1].inventory
    assert [(s.kind, s.key) for s in inventory.subjects] == [
        ("node", "n1"),
        ("gpu", "a"),
        ("gpu", "b"),
    ]
    assert hub.of_kind("layout")
    process = hub.of_kind("processes")[0].processes.processes[0]
    assert (process.pid, process.HasField("memory_bytes")) == (7, True)
    assert hub.events[min(hub.events)].kind == "agent_started"


def test_nothing_is_lost_or_doubled_while_the_hub_dies_and_comes_back(tmp_path: Path) -> None:
    hub = HubDouble(commit_each=False).start()
    clock = FastClock(40)
    with running_agent(settings(tmp_path, hub.address), clock=clock):
        for down in (0.0, 0.05, 0.3, 0.0):
            seen = hub.received
            until(lambda seen=seen: hub.received > seen, "the stream goes on")
            time.sleep(0.2)
            hub.commit()
            time.sleep(0.2)
            hub.crash()
            time.sleep(down)
            hub.start()
        seen = hub.received
        until(lambda: hub.received > seen, "the stream goes on")
    hub.commit()
    hub.stop()
    assert hub.errors == []
    assert hub.streams >= 5
    assert_hub_has_the_journal(hub, tmp_path)


def test_what_was_not_acknowledged_is_sent_by_the_next_agent(tmp_path: Path) -> None:
    hub = HubDouble(commit_each=False).start()
    clock = FastClock(40)
    with running_agent(settings(tmp_path, hub.address), clock=clock):
        until(lambda: len(hub.pending) > 20, "samples arrive")
        hub.crash()
        until(lambda: len(journal_of(tmp_path)) > 60, "samples are taken meanwhile")
    hub.start()
    with running_agent(settings(tmp_path, hub.address), clock=clock):
        until(lambda: len(epochs_of(tmp_path)) == 2, "a new epoch has begun")
        until(lambda: hub.received[0] == max(epochs_of(tmp_path)), "it is reached")
    hub.commit()
    hub.stop()
    assert_hub_has_the_journal(hub, tmp_path)
    assert len(epochs_of(tmp_path)) == 2


def test_a_backlog_goes_in_packed_messages_beside_the_newest_tick(tmp_path: Path) -> None:
    hub = HubDouble().start()
    port = hub.port
    hub.stop()
    collector = ScriptedCollector("a")
    with running_agent(settings(tmp_path, f"127.0.0.1:{port}"), collector, FastClock(200)):
        until(lambda: len(journal_of(tmp_path)) > 450, "a backlog has grown")
        spooled = tmp_path / "state/spool.sqlite"
        until(spooled.exists, "part of it is on disk")
        hub.start()
        until(lambda: bool(hub.live_ticks), "the live view moves")
        newest = journal_of(tmp_path)[-1]["seq"]
        until(lambda: hub.received[1] >= newest, "the backlog is drained")
    hub.stop()
    packed = hub.of_kind("packed_samples")
    assert max(message.count for message in packed) == 60
    assert len(packed) <= 40
    assert_hub_has_the_journal(hub, tmp_path)


def test_live_messages_wait_for_the_slot(tmp_path: Path) -> None:
    hub = HubDouble(slot_ms=400).start()
    with running_agent(settings(tmp_path, hub.address), clock=SystemClock()):
        until(lambda: len(hub.lateness_ms) >= 2, "live messages arrive")
    hub.stop()
    assert min(hub.lateness_ms) >= 400


def test_the_second_address_is_tried_when_the_first_is_silent(
    tmp_path: Path, hub: HubDouble
) -> None:
    with running_agent(settings(tmp_path, "127.0.0.1:1", hub.address)) as running:
        until(lambda: len(hub.samples) >= 6, "samples arrive")
    assert "no stream to a hub hub=127.0.0.1:1" in running.log.getvalue()


def test_a_refusal_is_said_once_with_the_hubs_sentence(tmp_path: Path, hub: HubDouble) -> None:
    sentence = "The node name is taken."
    hub.refuse = (grpc.StatusCode.FAILED_PRECONDITION, sentence)
    with running_agent(settings(tmp_path, hub.address)) as running:
        until(lambda: sentence in running.log.getvalue(), "the refusal is said")
        time.sleep(0.5)
        hub.refuse = None
        until(lambda: len(hub.samples) >= 6, "samples arrive")
    assert running.log.getvalue().count(sentence) == 1
    assert_hub_has_the_journal(hub, tmp_path)


def test_the_hub_sets_the_interval_within_bounds(tmp_path: Path, hub: HubDouble) -> None:
    with running_agent(settings(tmp_path, hub.address)):
        until(lambda: len(hub.samples) >= 6, "samples arrive")
        hub.order(pb.Command(id=7, interval_ms=3000))
        hub.order(pb.Command(id=8, interval_ms=2000))
        until(lambda: len(hub.of_kind("result")) == 2, "both are answered")
        until(lambda: hub.of_kind("hello")[-1].hello.interval_ms == 2000, "hello says it")
        seen = len(hub.samples)
        until(lambda: len(hub.samples) >= seen + 30, "samples go on")
    results = {m.result.id: m.result.error for m in hub.of_kind("result")}
    assert results[8] == ""
    assert results[7].startswith("The interval must be one of 1, 2, 5")
    assert_hub_has_the_journal(hub, tmp_path)
    ticks = sorted({tick for _, _, tick in hub.samples})
    assert all(tick % 2000 == 0 for tick in ticks[-8:])


def test_resend_after_goes_back_and_doubles_nothing(tmp_path: Path, hub: HubDouble) -> None:
    with running_agent(settings(tmp_path, hub.address)):
        until(lambda: len(hub.samples) >= 6, "samples arrive")
        hub.commit_each = False
        until(lambda: len(hub.pending) >= 12, "some are not committed")
        with hub.lock:
            hub.pending.clear()
            hub.received = hub.committed
            epoch, seq = hub.received
        hub.order(pb.Command(id=1, resend_after=pb.Position(epoch=epoch, seq=seq)))
        until(lambda: len(hub.pending) >= 24, "they come again")
    hub.commit()
    assert hub.streams == 1
    assert hub.samples == samples_of(journal_of(tmp_path))


def test_collect_is_answered_with_the_newest_document(
    tmp_path: Path, hub: HubDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with running_agent(settings(tmp_path, hub.address)):
        until(lambda: len(hub.samples) >= 6, "samples arrive")
        for number, (method, key) in enumerate(
            [("scripted", ""), ("scripted", "b"), ("scripted", "x"), ("bash", ""), ("sim", "")]
        ):
            hub.order(pb.Command(id=number, collect=pb.Collect(method=method, subject_key=key)))
            until(lambda n=number: len(hub.of_kind("result")) > n, "it is answered")
    results = [message.result for message in hub.of_kind("result")]
    whole, one, unknown, bash, sim = results
    assert [gpu["uuid"] for gpu in json.loads(whole.document_json)["gpus"]] == ["a", "b"]
    document = json.loads(one.document_json)
    assert [gpu["uuid"] for gpu in document["gpus"]] == ["b"]
    assert document["gpus"][0]["dynamic"]["power_watts"] > 99
    assert unknown.error == "This node has no GPU x that scripted sees."
    assert bash.error.startswith("There is no nvidia-smi on the PATH")
    assert len(json.loads(sim.document_json)["gpus"]) == 3


def test_a_hub_that_knows_later_positions_makes_a_new_epoch_and_loses_nothing(
    tmp_path: Path, hub: HubDouble
) -> None:
    far = int(time.time() * 1000) + 3_600_000_000
    hub.received = hub.committed = (far, 10)
    with running_agent(settings(tmp_path, hub.address)) as running:
        until(lambda: len(hub.samples) >= 12, "samples arrive")
    assert "a later epoch" in running.log.getvalue()
    assert hub.samples == samples_of(journal_of(tmp_path))
    assert hub.received[0] > far


def test_a_hub_that_does_not_answer_hello_is_left(tmp_path: Path, hub: HubDouble) -> None:
    hub.silent = True
    with running_agent(settings(tmp_path, hub.address)) as running:
        until(lambda: "did not answer hello" in running.log.getvalue(), "it is said")
        hub.silent = False
        until(lambda: len(hub.samples) >= 6, "samples arrive")
    assert_hub_has_the_journal(hub, tmp_path)


def test_a_frozen_connection_is_noticed_and_left(tmp_path: Path, hub: HubDouble) -> None:
    """What a pulled cable looks like: 8 s by design, 60 s by grpc's own defaults."""
    with (
        TcpProxy(("127.0.0.1", hub.port)) as proxy,
        running_agent(settings(tmp_path, f"127.0.0.1:{proxy.port}")) as running,
    ):
        until(lambda: len(hub.samples) >= 6, "samples arrive")
        proxy.freeze()
        until(lambda: "no stream to a hub" in running.log.getvalue(), "it is noticed")
        proxy.cut()
        proxy.thaw()
        seen = len(hub.samples)
        until(lambda: len(hub.samples) > seen, "samples go on")
