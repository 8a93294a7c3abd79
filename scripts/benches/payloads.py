"""Messages of simulated nodes, encoded beforehand so that making load costs little.

A profile is a node's GPUs at every tick of the run. Many bench nodes share a profile: their
values are the same, their names, UUIDs and messages are their own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from gpufleet.agent.sim.boards import H100, board_of, digest, facts_of, uuid_of
from gpufleet.agent.sim.gpu import SimGpu
from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto.version import PROTOCOL_MINOR

SEED = 1
METRICS = (
    1, 2, 3, 4, 10, 11, 12, 20, 21, 22, 23, 24, 25, 26, 30, 31, 32, 34, 40, 41, 42, 43, 44, 45, 46,
    50, 51, 70, 71, 72,
)  # fmt: skip
"""Thirty that an H100 has: gauges, counters, states and bits as a fleet really has them."""

_SAMPLES_KEY = (pb.AgentMessage.SAMPLES_FIELD_NUMBER << 3 | 2).to_bytes(1, "big")


@dataclass(frozen=True, slots=True)
class Run:
    """What is sent: everything that generator and verifier must agree on."""

    nodes: int
    gpus: int
    interval_ms: int
    first_tick_ms: int
    ticks: int
    profiles: int

    def node(self, number: int) -> str:
        """The name of node ``number``, from 0."""
        return f"bench-{number:05d}"

    def uuids(self, number: int) -> list[str]:
        """The UUIDs of a node's GPUs."""
        return [uuid_of(SEED, self.node(number), index) for index in range(self.gpus)]

    def profile_of(self, number: int) -> int:
        """The profile that a node's values are from."""
        return number % self.profiles


def values_of(run: Run, profile: int) -> list[list[list[int]]]:
    """``[tick][gpu][metric]`` of one profile, scaled integers."""
    # Every fourth node number is an H100 node: those have all thirty metrics.
    name = next(n for n in (f"profile-{profile * 4 + k}" for k in range(4)) if _is_h100(n))
    gpus = [SimGpu(SEED, name, index, None, 0) for index in range(run.gpus)]
    out = []
    for tick in range(run.ticks):
        readings = [gpu.values(run.first_tick_ms + tick * run.interval_ms) for gpu in gpus]
        out.append([[reading[metric] for metric in METRICS] for reading in readings])
    return out


def _is_h100(name: str) -> bool:
    return board_of(SEED, name, 0) is H100 and board_of(SEED, name, 1) is H100


def encoded(run: Run, profile: int) -> list[bytes]:
    """For each tick of a profile, the ``values`` field of a Samples message."""
    return [
        pb.Samples(values=[v for gpu in tick for v in gpu]).SerializeToString()
        for tick in values_of(run, profile)
    ]


def layout_id(run: Run, number: int) -> int:
    """An id of a node's own, since its layout names its own UUIDs."""
    return digest("layout", run.node(number), run.gpus) >> 1


def greeting(run: Run, number: int, epoch: int, clock_ms: int) -> pb.AgentMessage:
    """The hello of a node."""
    node = run.node(number)
    return pb.AgentMessage(
        epoch=epoch,
        hello=pb.Hello(
            node=node,
            labels={"cluster": "bench", "rack": f"r{number // 8}"},
            machine_id=f"{digest('machine', node):032x}",
            boot_id=f"{digest('boot', node):032x}",
            agent_version="0.1.0",
            protocol_minor=PROTOCOL_MINOR,
            epoch=epoch,
            method="sim",
            interval_ms=run.interval_ms,
            facts_json='{"driver_version":"570.133.20"}',
            clock_ms=clock_ms,
            methods=["sim"],
        ),
    )


def introduction(run: Run, number: int, epoch: int) -> list[pb.AgentMessage]:
    """The inventory and the layout of a node."""
    uuids = run.uuids(number)
    facts = [_json_facts(run.node(number), index) for index in range(run.gpus)]
    return [
        pb.AgentMessage(
            epoch=epoch,
            inventory=pb.Inventory(
                subjects=[
                    pb.SubjectFacts(
                        kind="gpu", key=uuid, index=index, name=H100.name, facts_json=facts[index]
                    )
                    for index, uuid in enumerate(uuids)
                ]
            ),
        ),
        pb.AgentMessage(
            epoch=epoch,
            layout=pb.Layout(
                id=layout_id(run, number),
                subjects=[pb.LayoutSubject(kind="gpu", key=u, metrics=METRICS) for u in uuids],
            ),
        ),
    ]


def _json_facts(node: str, index: int) -> str:
    facts = dict(facts_of(H100, SEED, node, index))
    return json.dumps(facts, separators=(",", ":"))


def varint(number: int) -> bytes:
    """An unsigned integer as protobuf has it."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


class Writer:
    """Puts one node's messages together from the profile's bytes and the node's own."""

    def __init__(self, run: Run, number: int, epoch: int) -> None:
        self._epoch = pb.AgentMessage(epoch=epoch).SerializeToString()
        self._layout = pb.Samples(layout=layout_id(run, number)).SerializeToString()

    def message(self, seq: int, tick_ms: int, values: bytes) -> bytes:
        """One serialised AgentMessage with the samples of one tick.

        Parsers join the fields of a message whatever their order, so bytes of its parts set end
        to end are the message.
        """
        # A lone sint64 in a packed field: key, length, zigzag.
        tick = varint(tick_ms << 1)
        body = self._layout + b"\x12" + varint(len(tick)) + tick + values
        return self._epoch + b"\x10" + varint(seq) + _SAMPLES_KEY + varint(len(body)) + body
