"""Flushes that fail: what one node sent, or the database itself, holds up nobody else for good."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from sqlalchemy import create_engine

from gpufleet.hub import flush, recorder
from gpufleet.hub.recorder import Position, SampleBatch
from gpufleet.proto import telemetry_pb2 as pb
from support.places import on_postgresql
from support.processes import wait_for
from support.raw_agent import raw_agent
from support.small_hub import SmallHub, small_hub

TICK = time.time_ns() // 1_000_000_000 * 1000 - 60_000
LOCK = ("BEGIN", "LOCK TABLE samples") if on_postgresql() else ("BEGIN IMMEDIATE",)
"""What keeps every writer out."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SmallHub]:
    with small_hub(tmp_path) as made:
        yield made


def _received(hub: SmallHub, node: str) -> Position:
    known = hub.core.fleet.nodes.get(node)
    return hub.core.logs[known.node_id].received if known else Position(0, 0)


def _wait_received(hub: SmallHub, node: str, seq: int) -> None:
    wait_for(lambda: _received(hub, node) == (1, seq), what=f"{node} at {seq}")


def _spoil(hub: SmallHub, node: str) -> None:
    """Make a node's newest batch one that cannot be written, as a defect of ours would."""
    log = hub.core.logs[hub.core.fleet.nodes[node].node_id]
    batch = log.pending[-1]
    assert isinstance(batch, SampleBatch)
    log.pending[-1] = replace(batch, wire=b"\xff")


def test_what_cannot_be_written_of_one_node_is_handed_back_to_its_agent(hub: SmallHub) -> None:
    with raw_agent(hub.port, "good") as good, raw_agent(hub.port, "bad") as bad:
        for agent, gpu in ((good, "GPU-a"), (bad, "GPU-b")):
            agent.begin(gpu)
            agent.tick(1, TICK, (50, 1))
            _wait_received(hub, agent.node, 1)
        hub.flush()
        assert bad.hear().ack.committed.seq == 1
        for agent in (good, bad):
            agent.tick(2, TICK + 1000, (50, 1))
            _wait_received(hub, agent.node, 2)
        hub.call(lambda: _spoil(hub, "bad"))
        assert hub.flush(), "the hub goes on"
        assert hub.stored("gpu", "GPU-a").ticks.tolist() == [TICK, TICK + 1000]
        code, sentence = bad.refusal()
        assert code is grpc.StatusCode.INTERNAL
        assert "keeps them" in sentence
        assert _received(hub, "bad") == (1, 1), "what was not stored is not known"
    with raw_agent(hub.port, "bad") as again:
        welcome = again.begin("GPU-b")
        assert (welcome.committed.seq, welcome.received.seq) == (1, 1)
        again.tick(2, TICK + 1000, (50, 1))
        _wait_received(hub, "bad", 2)
        assert hub.flush()
        assert hub.stored("gpu", "GPU-b").ticks.tolist() == [TICK, TICK + 1000]


def test_an_event_of_the_hub_that_cannot_be_written_holds_up_no_node(hub: SmallHub) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.tick(1, TICK, (50, 1))
        _wait_received(hub, "n", 1)
        hub.call(lambda: hub.core.event(1, 1, "x", "info", "m", {"a": object()}))
        assert hub.flush()
        assert hub.stored("gpu", "GPU-a").ticks.tolist() == [TICK]
        assert hub.core.events == []


def test_a_locked_database_ends_the_round_and_all_is_due_again(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush, "MAX_NODES", 1)
    with raw_agent(hub.port, "m") as m, raw_agent(hub.port, "n") as n:
        for agent, gpu in ((m, "GPU-a"), (n, "GPU-b")):
            agent.begin(gpu)
            agent.tick(1, TICK, (50, 1))
            _wait_received(hub, agent.node, 1)
        with hub.database.reading() as connection:  # the pooled connection of all that follows
            short = "SET lock_timeout = 50" if on_postgresql() else "PRAGMA busy_timeout = 50"
            connection.exec_driver_sql(short)
        blocker = create_engine(hub.database.engine.url, isolation_level="AUTOCOMMIT").connect()
        for statement in LOCK:
            blocker.exec_driver_sql(statement)
        assert not hub.flush()
        assert hub.core.stats.commit_failures == 1, "one failure says enough"
        assert hub.core.database_trouble
        for log in hub.core.logs.values():
            assert not log.flushing
            assert log.committed == (0, 0)
        blocker.exec_driver_sql("ROLLBACK")
        blocker.close()
        blocker.engine.dispose()
        assert hub.flush()
        assert not hub.core.database_trouble
        for gpu in ("GPU-a", "GPU-b"):
            assert hub.stored("gpu", gpu).ticks.tolist() == [TICK]


def test_the_door_closes_even_while_the_disk_does_not_answer(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_PENDING_VALUES", 5)
    free = threading.Event()
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.tick(1, TICK, (50, 1))
        _wait_received(hub, "n", 1)
        hub.call(lambda: hub.core.registrar._writer.submit(free.wait, 30) and None)
        flushing = threading.Thread(target=hub.flush)
        flushing.start()
        agent.tick(2, TICK + 1000, (50, 1))
        agent.tick(3, TICK + 2000, (50, 1))
        _wait_received(hub, "n", 3)
        hub.call(hub.core.pulse)
        for seq in range(4, 10):
            agent.tick(seq, TICK + seq * 1000, (50, 1))
        _wait_received(hub, "n", 4)
        time.sleep(0.3)
        assert _received(hub, "n") == (1, 4), "nothing is read while there is no room"
        free.set()
        flushing.join()
        hub.flush()
        hub.call(hub.core.pulse)
        _wait_received(hub, "n", 9)


def test_a_node_with_very_much_is_written_in_several_transactions(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_TAKE_VALUES", 4)
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        for seq in range(1, 8):
            agent.tick(seq, TICK + seq * 1000, (50, 1))
        _wait_received(hub, "n", 7)
        assert hub.flush()
        assert hub.core.stats.commits == 4
        assert len(hub.stored("gpu", "GPU-a").ticks) == 7
        log = hub.core.logs[hub.core.fleet.nodes["n"].node_id]
        assert (log.pending_values, log.committed) == (0, (1, 7))


def test_what_is_taken_while_the_door_closes_is_live_before_the_wait(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the wait its place in the fleet may be another's: the fleet grew, an inventory came."""
    monkeypatch.setattr(recorder, "MAX_PENDING_VALUES", 0)
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        wait_for(lambda: ("gpu", "GPU-a") in hub.core.fleet.slots, what="the inventory")
        hub.call(hub.core._room.clear)
        agent.tick(1, TICK, (71, 1))
        _wait_received(hub, "n", 1)
        fleet = hub.core.fleet
        slot = fleet.slots["gpu", "GPU-a"]
        assert hub.call(lambda: fleet.values[fleet.rows[20], slot]) == 71


def test_events_close_the_door_as_well(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_PENDING_VALUES", 500)
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        event = pb.Event(time_ms=TICK, kind="x", severity="info", message="m" * 1000)
        for seq in range(1, 100):
            agent.say(epoch=1, seq=seq, events=pb.Events(events=[event]))
            if seq == 3:
                _wait_received(hub, "n", 3)
                hub.call(hub.core.pulse)
        _wait_received(hub, "n", 4)
        time.sleep(0.2)
        assert _received(hub, "n") == (1, 4)


def test_a_journal_on_a_full_disk_ends_and_no_stream_with_it(hub: SmallHub) -> None:
    with open("/dev/full", "w", encoding="utf-8", buffering=1) as full:
        hub.core._journal = full
        with raw_agent(hub.port, "n") as agent:
            agent.begin("GPU-a")
            for seq in (1, 2):
                agent.tick(seq, TICK + seq * 1000, (50, 1))
            _wait_received(hub, "n", 2)
        with contextlib.suppress(OSError):
            full.close()


def test_a_clock_set_back_by_an_hour_holds_no_flush_up_for_long(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        agent.tick(1, TICK, (50, 1))
        _wait_received(hub, "n", 1)
        log = hub.core.logs[hub.core.fleet.nodes["n"].node_id]
        wall, mono = hub.core.now, hub.core.mono
        monkeypatch.setattr(hub.core, "now", lambda: wall() - 3_600_000)
        assert hub.run(hub.flusher.flush())
        assert log.committed == (0, 0), "its minute is not over by this clock"
        monkeypatch.setattr(hub.core, "mono", lambda: mono() + flush.OVERDUE_MS + 1)
        assert hub.run(hub.flusher.flush())
        assert log.committed == (1, 1)
        agent.tick(2, TICK + 1000, (50, 1))
        _wait_received(hub, "n", 2)
        assert hub.run(hub.flusher.flush())
        assert log.committed == (1, 1), "and then again only after a while"
