"""Records in an order that is unusual and right: none is lost, none is stored twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpufleet.hub import intake
from gpufleet.hub.recorder import Position
from gpufleet.hub.store.events import query_events
from gpufleet.proto import telemetry_pb2 as pb
from support.processes import wait_for
from support.raw_agent import raw_agent
from support.small_hub import SmallHub, small_hub

TICK = time.time_ns() // 1_000_000_000 * 1000 - 60_000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SmallHub]:
    with small_hub(tmp_path) as made:
        yield made


def _event(number: int, **fields: object) -> pb.Event:
    said = {"time_ms": TICK, "kind": "x", "severity": "info", "message": f"{number}", **fields}
    return pb.Event(**said)  # type: ignore[arg-type]


def _events(*events: pb.Event, seq: int, epoch: int = 1) -> dict[str, object]:
    return {"epoch": epoch, "seq": seq, "count": len(events), "events": pb.Events(events=events)}


def _messages(hub: SmallHub) -> list[str]:
    with hub.database.reading() as connection:
        return sorted(event.message for event in query_events(connection, kinds=["x"]).events)


def _received(hub: SmallHub, node: str = "n") -> Position:
    known = hub.core.fleet.nodes.get(node)
    return hub.core.logs[known.node_id].received if known else Position(0, 0)


def _wait_received(hub: SmallHub, epoch: int, seq: int) -> None:
    wait_for(lambda: _received(hub) == (epoch, seq), what=f"{epoch}, {seq}")


def test_after_an_epoch_that_began_with_an_event_its_clock_may_be_behind(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.tick(1, TICK, (50, 1))
        agent.say(**_events(_event(1), seq=1, epoch=2))
        agent.tick(2, TICK - 30_000, (51, 1), epoch=2)
        _wait_received(hub, 2, 2)
        hub.flush()
        assert hub.stored("gpu", "GPU-a").ticks.tolist() == [TICK - 30_000, TICK]


def test_an_event_that_comes_again_with_others_is_stored_once(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.say(**_events(_event(1), seq=1))
        _wait_received(hub, 1, 1)
        hub.flush()
        agent.say(**_events(_event(1), _event(2), seq=2))
        _wait_received(hub, 1, 2)
        hub.flush()
        assert _messages(hub) == ["1", "2"]


def test_an_event_keeps_its_identity_however_it_is_grouped(tmp_path: Path) -> None:
    """A hub that died after the commit of a record and before its watermark's is the worst case."""
    for batches in ([[1], [2, 3]], [[1, 2, 3]]):
        with small_hub(tmp_path) as hub, raw_agent(hub.port, "n", epoch=1) as agent:
            with hub.database.writing() as connection:
                connection.exec_driver_sql("UPDATE nodes SET epoch = 0, seq = 0")
            agent.begin("GPU-a")
            node = hub.core.fleet.nodes["n"]
            hub.core.logs[node.node_id].received = Position(0, 0)
            for numbers in batches:
                agent.say(**_events(*(_event(n) for n in numbers), seq=numbers[-1]))
            _wait_received(hub, 1, 3)
            hub.flush()
            assert _messages(hub) == ["1", "2", "3"]


def test_a_stream_that_was_superseded_while_it_waited_for_sql_takes_nothing_again(
    hub: SmallHub,
) -> None:
    """Its event waits for the registration of a GPU; meanwhile a new stream sends all anew."""
    free = threading.Event()
    stranger = _event(1, subject_kind="gpu", subject_key="GPU-new")
    with raw_agent(hub.port, "n") as old, raw_agent(hub.port, "n") as new:
        old.begin("GPU-a")
        old.tick(1, TICK, (50, 1))
        _wait_received(hub, 1, 1)
        hub.call(lambda: hub.core.registrar._writer.submit(free.wait, 30) and None)
        old.say(**_events(stranger, seq=2))
        wait_for(lambda: hub.core.registrar._wishes or hub.core.registrar._task, what="it waits")
        new.begin("GPU-a")
        new.say(**_events(_event(1), seq=2))
        for seq in (3, 4):
            new.tick(seq, TICK + seq * 1000, (50, 1))
        _wait_received(hub, 1, 4)
        free.set()
        new.tick(5, TICK + 5000, (50, 1))
        _wait_received(hub, 1, 5)
        hub.flush()
        assert _messages(hub) == ["1"]
        assert len(hub.stored("gpu", "GPU-a").ticks) == 4


def test_a_batch_that_runs_into_the_future_is_kept_up_to_there(hub: SmallHub) -> None:
    far = TICK + 3 * 3_600_000
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.ticks(4, [(TICK + i * 1000, (50 + i, 1)) for i in range(3)] + [(far, (99, 1))])
        _wait_received(hub, 1, 4)
        agent.tick(5, far + 1000, (99, 1))
        _wait_received(hub, 1, 5)
        hub.flush()
        stored = hub.stored("gpu", "GPU-a")
        assert stored.columns[20].values.tolist() == [50, 51, 52]
        fleet = hub.core.fleet
        assert fleet.tick_ms[fleet.slots["gpu", "GPU-a"]] < far


def test_old_records_do_not_move_the_live_view_back(hub: SmallHub) -> None:
    """While a backlog drains, a lone tick of an older epoch comes as a plain message."""
    with raw_agent(hub.port, "n", epoch=5) as agent:
        agent.begin("GPU-a")
        agent.tick(0, TICK, (77, 1))
        agent.tick(1, TICK - 50_000, (50, 1), epoch=4)
        agent.tick(2, TICK + 9000, (51, 1), epoch=4)
        _wait_received(hub, 4, 2)
        fleet = hub.core.fleet
        slot = fleet.slots["gpu", "GPU-a"]
        assert fleet.values[fleet.rows[20], slot] == 77
        agent.tick(1, TICK - 20_000, (60, 1), epoch=6)
        _wait_received(hub, 6, 1)
        assert fleet.values[fleet.rows[20], slot] == 60, "a new epoch may begin earlier"


def test_a_long_text_is_cut_rather_than_refused_for_ever(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.say(**_events(_event(1, message="m" * 5000), seq=1))
        fault = pb.SubjectFault(
            subject_kind="gpu", subject_key="GPU-a", state="error", sentence="s" * 5000
        )
        agent.say(status=pb.CollectorStatus(faults=[fault], sentence="t" * 5000))
        agent.tick(2, TICK, (50, 1))
        _wait_received(hub, 1, 2)
        hub.flush()
        (message,) = _messages(hub)
        assert message.startswith("mmm")
        assert len(message) == 2048
        assert len(hub.core.fleet.nodes["n"].sentence) == 1024


def test_a_hole_is_asked_for_once_more_if_nothing_comes(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "ASK_AGAIN_MS", 0)
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        for seq in (3, 4):
            agent.tick(seq, TICK + seq * 1000, (50, 1))
            assert agent.hear().command.resend_after == pb.Position()
