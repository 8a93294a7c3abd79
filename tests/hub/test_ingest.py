"""Agents' streams against a real gRPC port and a real SQLite file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import orjson
import pytest

from gpufleet.hub.recorder import Position
from gpufleet.hub.store.events import query_events
from gpufleet.hub.wire import MAX_SUBJECTS
from gpufleet.proto import telemetry_pb2 as pb
from support.processes import wait_for
from support.raw_agent import raw_agent
from support.small_hub import SmallHub, small_hub

NOW = time.time_ns() // 1_000_000
TICK = NOW // 1000 * 1000 - 5000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SmallHub]:
    with small_hub(tmp_path) as made:
        yield made


def _received(hub: SmallHub, node: str) -> Position:
    known = hub.core.fleet.nodes.get(node)
    return hub.core.logs[known.node_id].received if known else Position(0, 0)


def _wait_received(hub: SmallHub, node: str, epoch: int, seq: int) -> None:
    wait_for(lambda: _received(hub, node) == (epoch, seq), what=f"{node} at {epoch}, {seq}")


def test_a_sample_is_live_at_once_and_acknowledged_only_when_it_is_stored(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        welcome = agent.begin("GPU-a", "GPU-b")
        assert welcome.received == pb.Position()
        assert welcome.slot_ms > 0
        agent.tick(1, TICK, (71, 250_000), (None, 0))
        _wait_received(hub, "n", 1, 1)
        hub.call(hub.core.pulse)
        snapshot = hub.call(hub.core.snapshot)
        a, b = snapshot.slots["GPU-a"], snapshot.slots["GPU-b"]
        assert snapshot.values[snapshot.rows[20], a] == 71
        assert snapshot.values[snapshot.rows[23], a] == 250.0
        assert np.isnan(snapshot.values[snapshot.rows[20], b]), "absent is not 0"
        assert snapshot.values[snapshot.rows[23], b] == 0, "0 is not absent"
        assert hub.stored("gpu", "GPU-a").ticks.tolist() == []
        assert hub.flush()
        assert agent.hear().ack.committed == pb.Position(epoch=1, seq=1)
        stored = hub.stored("gpu", "GPU-b")
        assert stored.ticks.tolist() == [TICK]
        assert list(stored.columns) == [23]


def test_a_gpu_that_was_not_read_at_a_tick_has_no_sample_there(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a", "GPU-b")
        agent.ticks(2, [(TICK, (50, 1), (51, 1)), (TICK + 1000, None, (52, 1))])
        _wait_received(hub, "n", 1, 2)
        hub.flush()
        assert hub.stored("gpu", "GPU-a").ticks.tolist() == [TICK]
        assert hub.stored("gpu", "GPU-b").ticks.tolist() == [TICK, TICK + 1000]
        fleet = hub.core.fleet
        assert fleet.tick_ms[fleet.slots[("gpu", "GPU-a")]] == 0, "a batch shows its last tick only"


def test_what_is_sent_twice_is_stored_once(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        for _ in range(2):
            agent.ticks(2, [(TICK, (50, 1)), (TICK + 1000, (51, 1))])
        agent.ticks(3, [(TICK + 1000, (99, 9)), (TICK + 2000, (52, 1))])
        _wait_received(hub, "n", 1, 3)
        hub.flush()
        stored = hub.stored("gpu", "GPU-a")
        assert stored.ticks.tolist() == [TICK, TICK + 1000, TICK + 2000]
        assert stored.columns[20].values.tolist() == [50, 51, 52]


def test_a_hole_is_asked_for_again_unless_the_agent_says_that_it_is_gone(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.tick(1, TICK, (50, 1))
        agent.tick(3, TICK + 2000, (52, 1))
        agent.tick(4, TICK + 3000, (53, 1))
        command = agent.hear().command
        assert command.resend_after == pb.Position(epoch=1, seq=1)
        agent.tick(2, TICK + 1000, (51, 1))
        agent.tick(3, TICK + 2000, (52, 1))
        agent.tick(6, TICK + 5000, (55, 1), gap=True)
        _wait_received(hub, "n", 1, 6)
        hub.flush()
        ticks = hub.stored("gpu", "GPU-a").ticks
        assert ((ticks - TICK) // 1000).tolist() == [0, 1, 2, 5]


def test_a_restarted_hub_goes_on_after_what_it_stored(tmp_path: Path) -> None:
    with small_hub(tmp_path) as first, raw_agent(first.port, "n") as agent:
        agent.begin("GPU-a")
        agent.tick(1, TICK, (50, 1))
        _wait_received(first, "n", 1, 1)
        first.flush()
        agent.tick(2, TICK + 1000, (51, 1))
        _wait_received(first, "n", 1, 2)
    with small_hub(tmp_path) as second, raw_agent(second.port, "n") as agent:
        welcome = agent.begin("GPU-a")
        assert welcome.committed == welcome.received == pb.Position(epoch=1, seq=1)
        agent.tick(2, TICK + 1000, (51, 1))
        _wait_received(second, "n", 1, 2)
        second.flush()
        assert second.stored("gpu", "GPU-a").ticks.tolist() == [TICK, TICK + 1000]


def test_a_new_stream_of_a_node_learns_what_was_received_and_ends_the_old_one(
    hub: SmallHub,
) -> None:
    with raw_agent(hub.port, "n") as old, raw_agent(hub.port, "n") as new:
        old.begin("GPU-a")
        old.tick(1, TICK, (50, 1))
        _wait_received(hub, "n", 1, 1)
        welcome = new.begin("GPU-a")
        assert welcome.committed == pb.Position()
        assert welcome.received == pb.Position(epoch=1, seq=1)
        assert old.refusal()[0] is grpc.StatusCode.ABORTED
        new.tick(2, TICK + 1000, (51, 1))
        _wait_received(hub, "n", 1, 2)


def test_a_second_machine_with_the_same_name_is_refused_with_a_sentence(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as first, raw_agent(hub.port, "n", machine="other") as second:
        first.begin("GPU-a")
        second.hello()
        code, sentence = second.refusal()
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "in use by another machine" in sentence


def test_a_gpu_belongs_to_one_node_and_a_second_claim_is_refused_and_recorded(
    hub: SmallHub,
) -> None:
    with raw_agent(hub.port, "n") as owner, raw_agent(hub.port, "m") as other:
        owner.begin("GPU-a")
        owner.tick(1, TICK, (50, 1))
        _wait_received(hub, "n", 1, 1)
        other.begin("GPU-a", "GPU-b")
        other.tick(1, TICK + 1000, (99, 9), (60, 1))
        _wait_received(hub, "m", 1, 1)
        hub.flush()
        assert hub.stored("gpu", "GPU-a").columns[20].values.tolist() == [50]
        assert hub.stored("gpu", "GPU-b").columns[20].values.tolist() == [60]
        with hub.database.reading() as connection:
            kinds = [event.kind for event in query_events(connection).events]
        assert "gpu_claim_refused" in kinds


def test_events_are_stored_once_and_at_once_due(hub: SmallHub) -> None:
    event = pb.Event(
        time_ms=TICK, kind="gpu_lost", subject_kind="gpu", subject_key="GPU-a",
        severity="critical", code=15, message="GPU is lost.",
    )  # fmt: skip
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        for _ in range(2):
            agent.say(epoch=1, seq=1, events=pb.Events(events=[event]))
        agent.tick(2, TICK, (50, 1))
        _wait_received(hub, "n", 1, 2)
        log = hub.core.logs[hub.core.fleet.nodes["n"].node_id]
        assert hub.call(lambda: log.due(0)) == 2
        hub.flush()
        with hub.database.reading() as connection:
            events = query_events(connection, kinds=["gpu_lost"]).events
        assert [(e.code, e.message) for e in events] == [(15, "GPU is lost.")]


def test_the_live_view_moves_with_seq_0_and_nothing_of_it_is_stored(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.tick(0, TICK, (77, 1))
        agent.tick(1, TICK - 9000, (50, 1))
        _wait_received(hub, "n", 1, 1)
        fleet = hub.core.fleet
        assert fleet.values[fleet.rows[20], fleet.slots[("gpu", "GPU-a")]] == 77
        hub.flush()
        assert hub.stored("gpu", "GPU-a").ticks.tolist() == [TICK - 9000]


def test_faults_and_a_hung_collector_are_in_the_next_snapshot(hub: SmallHub) -> None:
    fault = pb.SubjectFault(
        subject_kind="gpu", subject_key="GPU-a", state="hung", since_ms=TICK, sentence="Stuck."
    )
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.say(status=pb.CollectorStatus(faults=[fault], hung_since_ms=TICK))
        agent.tick(1, TICK, (50, 1))
        _wait_received(hub, "n", 1, 1)
        hub.call(hub.core.pulse)
        snapshot = hub.call(hub.core.snapshot)
        subject = snapshot.subjects[snapshot.slots["GPU-a"]]
        assert subject is not None
        assert subject.fault is not None
        assert subject.fault.state == "hung"
        assert snapshot.nodes["n"].hung_since_ms == TICK


def test_a_driver_that_opened_after_the_hello_is_among_the_nodes_facts(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub, raw_agent(hub.port, "n") as agent:
        agent.hello(facts_json='{"os": "Debian"}')
        agent.inventory("GPU-a", node_facts='{"os": "Debian", "driver_version": "570.1"}')
        node = wait_for(
            lambda: (n := hub.core.fleet.nodes.get("n")) and "driver_version" in n.facts and n,
            what="the driver's version",
        )
        assert dict(node.facts) == {"os": "Debian", "driver_version": "570.1", "machine_id": "n"}
        agent.inventory("GPU-a", node_facts='{"driver_version": "580.2"}')
        wait_for(lambda: node.facts["driver_version"] == "580.2", what="the new driver")
    with small_hub(tmp_path) as again:
        assert again.core.fleet.nodes["n"].facts["driver_version"] == "580.2"


def test_a_detail_document_is_shown_and_what_dcgm_found_counts_for_health(hub: SmallHub) -> None:
    finding = {"subsystem": "Memory", "failed": True, "sentence": "A DBE was found."}
    detail = {"fan_speed_ratios": [0.4, 0.5], "dcgm": {"findings": [finding]}}
    entry = pb.SubjectDetail(
        subject_kind="gpu", subject_key="GPU-a", json=orjson.dumps(detail).decode()
    )
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.say(details=pb.Details(details=[entry]))
        agent.tick(1, TICK, (50, 1))
        _wait_received(hub, "n", 1, 1)
        hub.call(hub.core.pulse)
        snapshot = hub.call(hub.core.snapshot)
        slot = snapshot.slots["GPU-a"]
        assert snapshot.details[slot] == detail
        subject = snapshot.subjects[slot]
        assert subject is not None
        assert subject.health.level == 3
        assert "A DBE was found" in subject.health.reasons[0]


def test_a_column_that_leaves_the_layout_leaves_the_live_view(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.tick(1, TICK, (50, 1000))
        column = pb.LayoutSubject(kind="gpu", key="GPU-a", metrics=[20])
        agent.say(layout=pb.Layout(id=2, subjects=[column]))
        agent.say(epoch=1, seq=2, samples=pb.Samples(layout=2, ticks=[TICK + 1000], values=[51]))
        _wait_received(hub, "n", 1, 2)
        fleet = hub.core.fleet
        slot = fleet.slots[("gpu", "GPU-a")]
        assert fleet.values[fleet.rows[20], slot] == 51
        assert np.isnan(fleet.values[fleet.rows[23], slot])


def test_ids_that_this_hub_does_not_know_are_stored_all_the_same(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        column = pb.LayoutSubject(kind="gpu", key="GPU-a", metrics=[20, 60_000])
        agent.say(layout=pb.Layout(id=2, subjects=[column]))
        agent.say(epoch=1, seq=1, samples=pb.Samples(layout=2, ticks=[TICK], values=[51, -7]))
        _wait_received(hub, "n", 1, 1)
        hub.flush()
        assert hub.stored("gpu", "GPU-a").columns[60_000].values.tolist() == [-7]


@pytest.mark.parametrize(
    ("hello", "words"),
    [
        ({"protocol_minor": 0}, "upgrade the agent"),
        ({"node": "a b"}, "node name"),
        ({"node": "x\nSubject: y"}, "node name"),
        ({"interval_ms": 1234}, "interval"),
        ({"method": "magic"}, "method"),
        ({"labels": {f"l{i}": "v" for i in range(17)}}, "labels"),
        ({"labels": {"rack": "a\nb"}}, "Label"),
        ({"facts_json": "[1"}, "JSON"),
        ({"facts_json": '"x"'}, "JSON object"),
        ({"epoch": 0}, "epoch"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_a_hello_out_of_bounds_is_refused_with_a_sentence(
    hub: SmallHub, hello: dict[str, object], words: str
) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.hello(**hello)
        code, sentence = agent.refusal()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert words in sentence


def test_a_message_of_another_version_is_refused(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.say(epoch=1, seq=1)
        assert "upgrade the hub" in agent.refusal()[1]


def test_ticks_from_the_future_are_refused_with_one_event_and_hold_up_nothing(
    hub: SmallHub,
) -> None:
    far = TICK + 2 * 3_600_000
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.tick(1, far, (50, 1))
        agent.tick(2, far + 1000, (50, 1))
        agent.tick(3, TICK, (51, 1))
        _wait_received(hub, "n", 1, 3)
        hub.flush()
        assert hub.stored("gpu", "GPU-a").ticks.tolist() == [TICK]
        with hub.database.reading() as connection:
            events = query_events(connection, kinds=["future_ticks_refused"]).events
        assert len(events) == 1
        assert "set the node's clock" in events[0].message


def test_a_stream_that_breaks_the_rules_ends_and_harms_no_other(hub: SmallHub) -> None:
    with raw_agent(hub.port, "good") as good, raw_agent(hub.port, "bad") as bad:
        good.begin("GPU-a")
        bad.begin("GPU-b")
        subjects = [pb.SubjectFacts(kind="gpu", key=f"G{i}") for i in range(MAX_SUBJECTS + 1)]
        bad.say(inventory=pb.Inventory(subjects=subjects))
        assert bad.refusal()[0] is grpc.StatusCode.INVALID_ARGUMENT
        good.tick(1, TICK, (50, 1))
        _wait_received(hub, "good", 1, 1)


def test_a_stream_without_a_hello_is_refused(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.tick(1, TICK)
        assert "hello" in agent.refusal()[1]


def test_a_silent_node_goes_down_with_an_event_and_its_values_turn_stale(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.tick(1, TICK, (50, 1))
        _wait_received(hub, "n", 1, 1)
        hub.call(hub.core.pulse)
        assert hub.core.fleet.nodes["n"].up
        later = hub.core.mono() + 5500
        came, went = hub.call(lambda: hub.core.fleet.settle(later))
        assert ([n.name for n in came], [n.name for n in went]) == ([], ["n"])
        assert hub.core.fleet.stale[hub.core.fleet.slots[("gpu", "GPU-a")]]
