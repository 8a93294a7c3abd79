"""What a broken or hostile agent says: it gets a sentence, and the hub and others go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from gpufleet.hub.recorder import Position
from gpufleet.hub.store.events import query_events
from gpufleet.proto import telemetry_pb2 as pb
from support.processes import wait_for
from support.raw_agent import RawAgent, raw_agent
from support.small_hub import SmallHub, small_hub

NOW = time.time_ns() // 1_000_000
TICK = NOW // 1000 * 1000 - 5000
MINUTE = TICK // 60_000 * 60_000 - 60_000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SmallHub]:
    with small_hub(tmp_path) as made:
        yield made


def _event(**fields: object) -> pb.Events:
    said = {"time_ms": TICK, "kind": "x", "severity": "info", "message": "m", **fields}
    return pb.Events(events=[pb.Event(**said)])  # type: ignore[arg-type]


def _say_event(agent: RawAgent, **fields: object) -> None:
    agent.say(epoch=1, seq=1, events=_event(**fields))


def _facts(agent: RawAgent, text: str, **fields: int) -> None:
    subject = pb.SubjectFacts(kind="gpu", key="GPU-a", facts_json=text, **fields)  # type: ignore[arg-type]
    agent.say(inventory=pb.Inventory(subjects=[subject]))


def _many_metrics(agent: RawAgent) -> None:
    for layout in range(2, 8):
        ids = range(layout * 1000, layout * 1000 + 500)
        column = pb.LayoutSubject(kind="gpu", key="GPU-a", metrics=ids)
        agent.say(layout=pb.Layout(id=layout, subjects=[column]))


def _layout_with_key(agent: RawAgent, key: str) -> None:
    column = pb.LayoutSubject(kind="gpu", key=key, metrics=[20])
    agent.say(layout=pb.Layout(id=2, subjects=[column]))


DEEP = '{"a":' + "[" * 300 + "]" * 300 + "}"

BROKEN: dict[str, tuple[Callable[[RawAgent], None], str]] = {
    "seq": (lambda a: a.tick(1 << 63, TICK, (1, 1), gap=True), "sequence"),
    "epoch": (lambda a: a.tick(1, TICK, (1, 1), epoch=1 << 63), "epoch"),
    "epoch_0": (lambda a: a.tick(1, TICK, (1, 1), epoch=0), "epoch"),
    "event_seq": (lambda a: a.say(epoch=1, seq=1 << 63, gap=True, events=_event()), "sequence"),
    "count_past_seq": (lambda a: a.ticks(1, [(TICK, (1, 1)), (TICK + 1000, (1, 1))]), "sequence"),
    "events_count": (lambda a: a.say(epoch=1, seq=9, count=9, events=_event()), "9 records"),
    "tick_min": (lambda a: a.tick(1, -(1 << 63), (1, 1)), "1970"),
    "tick_within_a_second": (lambda a: a.tick(1, TICK + 7, (1, 1)), "whole seconds"),
    "ticks_wrap": (
        lambda a: a.ticks(3, [(0, (1, 1)), (1 << 62, (1, 1)), (-(1 << 62), (1, 1))]),
        "increase",
    ),
    "event_time": (lambda a: _say_event(a, time_ms=(1 << 63) - 1), "time"),
    "event_time_min": (lambda a: _say_event(a, time_ms=-1), "time"),
    "event_kind": (lambda a: _say_event(a, subject_kind="galaxy", subject_key="x"), "kind"),
    "event_key": (lambda a: _say_event(a, subject_kind="gpu", subject_key="G\n"), "control"),
    "event_data_deep": (lambda a: _say_event(a, data_json=DEEP), "nested"),
    "facts_deep": (lambda a: _facts(a, DEEP), "nested"),
    "index": (lambda a: _facts(a, "{}", index=(1 << 32) - 1), "index"),
    "key_in_layout": (lambda a: _layout_with_key(a, "GPU-\0"), "control characters"),
    "metrics": (_many_metrics, "metrics"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_is_refused_with_a_sentence_and_the_others_are_stored(
    hub: SmallHub, name: str
) -> None:
    say, words = BROKEN[name]
    with raw_agent(hub.port, "good") as good, raw_agent(hub.port, "bad") as bad:
        good.begin("GPU-good")
        good.tick(1, TICK, (50, 1))
        bad.begin("GPU-a")
        say(bad)
        code, sentence = bad.refusal()
        assert (code, words in sentence) == (grpc.StatusCode.INVALID_ARGUMENT, True), sentence
        _wait_received(hub, "good", 1, 1)
        hub.call(hub.core.pulse)
        assert hub.flush()
        assert hub.stored("gpu", "GPU-good").ticks.tolist() == [TICK]


@pytest.mark.parametrize("clock_ms", [-1, (1 << 63) - 1])
def test_a_hello_with_an_impossible_clock_is_refused(hub: SmallHub, clock_ms: int) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.hello(clock_ms=clock_ms)
        assert "clock" in agent.refusal()[1]


def test_control_characters_in_texts_go_no_further(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.hello()
        facts = '{"serial": "1\\u00002", "detail": {"a": ["\\u001b[2J"]}}'
        subject = pb.SubjectFacts(kind="gpu", key="GPU-a", name="H\x1b[31m100", facts_json=facts)
        agent.say(inventory=pb.Inventory(subjects=[subject]))
        process = pb.Process(subject_key="GPU-a", pid=1, user="eve\0\x1b]0;", program="a\nb")
        agent.say(processes=pb.Processes(time_ms=TICK, processes=[process]))
        wait_for(lambda: hub.core.fleet.processes.get("n"), what="processes")
        hub.call(hub.core.pulse)
        snapshot = hub.call(hub.core.snapshot)
        gpu = snapshot.subjects[snapshot.slots["GPU-a"]]
        assert gpu is not None
        assert gpu.name == "H [31m100"
        assert dict(gpu.facts) == {"serial": "1 2", "detail": {"a": [" [2J"]}}
        assert snapshot.processes["n"][0].user == "eve  ]0;"
        assert snapshot.processes["n"][0].program == "a b"


def _received(hub: SmallHub, node: str) -> Position:
    known = hub.core.fleet.nodes.get(node)
    return hub.core.logs[known.node_id].received if known else Position(0, 0)


def _wait_received(hub: SmallHub, node: str, epoch: int, seq: int) -> None:
    wait_for(lambda: _received(hub, node) == (epoch, seq), what=f"{node} at {epoch}, {seq}")


def test_more_memory_than_any_gpu_has_is_not_known_and_spoils_no_flush(hub: SmallHub) -> None:
    now = int(time.time() * 1000)
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.tick(1, TICK, (50, 1))
        _wait_received(hub, "n", 1, 1)
        for before in (5000, 0):
            held = [
                pb.Process(subject_key="GPU-a", pid=pid, user="u", memory_bytes=(1 << 64) - 1)
                for pid in (1, 2)
            ]
            said = pb.Processes(time_ms=now - before, processes=held)
            agent.say(processes=said)
        agent.tick(2, TICK + 1000, (50, 1))
        _wait_received(hub, "n", 1, 2)
        assert [p.memory_bytes for p in hub.core.fleet.processes["n"]] == [None, None]
        hub.call(lambda: hub.core.event(1, 1, "x", "info", "kept"))
        assert hub.flush()
        with hub.database.reading() as connection:
            assert [e.message for e in query_events(connection, kinds=["x"]).events] == ["kept"]
