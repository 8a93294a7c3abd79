"""A hub that is told to stop tells its agents what it wrote last, and waits for nobody too long."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import grpc
import pytest

from gpufleet.hub.streams import told
from gpufleet.proto import telemetry_pb2 as pb
from support.fleet_processes import FleetProcesses
from support.processes import wait_for
from support.raw_agent import RawAgent
from support.small_hub import small_hub

pytestmark = pytest.mark.own_database


def hear_ack(agent: RawAgent, seq: int) -> None:
    """Listen until the hub says that it wrote all up to there."""
    while agent.hear().ack.committed.seq < seq:
        pass


def test_agents_hear_of_the_last_flush_before_their_streams_end(tmp_path: Path) -> None:
    now = time.time_ns() // 1_000_000_000 * 1000
    with FleetProcesses(tmp_path) as fleet:
        fleet.start_hub()
        with grpc.insecure_channel(f"127.0.0.1:{fleet.grpc_port}") as channel:
            agents = [RawAgent(channel, f"n{i}", epoch=1) for i in range(5)]
            for i, agent in enumerate(agents):
                agent.begin(f"GPU-{i}")
                for seq in range(1, 21):
                    agent.tick(seq, now - (20 - seq) * 1000, (40, seq))
            wait_for(
                lambda: [g["power_watts"] for g in fleet.get("/api/v1/gpus")["gpus"]] == [0.02] * 5,
                what="every tick was received",
            )
            assert fleet.hub is not None
            fleet.hub.send_signal(signal.SIGTERM)
            for agent in agents:
                hear_ack(agent, 20)
                assert agent.refusal() == (
                    grpc.StatusCode.UNAVAILABLE,
                    "This hub is stopping.",
                )
            assert fleet.hub.wait(30) == 0


def test_an_agent_that_takes_nothing_in_is_not_waited_for(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub, grpc.insecure_channel(f"127.0.0.1:{hub.port}") as channel:
        agent = RawAgent(channel, "n", epoch=1)
        agent.begin("GPU-0")
        stream = hub.core.streams["n"]
        hub.run(told([stream], 30.0))
        hub.call(lambda: stream.outgoing.put_nowait(pb.HubMessage()))
        hub.run(asyncio.wait_for(told([stream], 30.0), 30.0))
        # Too much for the connection: the agent does not read.
        much = pb.HubMessage(welcome=pb.Welcome(hub_version="x" * 500_000))
        hub.call(lambda: [stream.outgoing.put_nowait(much) for _ in range(30)])
        hub.run(told([stream], 0.0))
        assert hub.call(stream.outgoing.qsize) > 0
