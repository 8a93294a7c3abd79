"""An agent made by hand: says on the wire exactly what a test wants said."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc

from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto import telemetry_pb2_grpc
from gpufleet.proto.version import PROTOCOL_MINOR
from support.samples_wire import encode

METRICS = (20, 23)
"""temperature_celsius and power_watts: the columns of every GPU of a RawAgent."""


class RawAgent:
    """One stream. ``say`` sends, ``hear`` waits for the hub's next message."""

    def __init__(self, channel: grpc.Channel, node: str, epoch: int, machine: str = "") -> None:
        self.node = node
        self.epoch = epoch
        self.machine = machine or node
        self._out: queue.Queue[pb.AgentMessage | None] = queue.Queue()
        stub = telemetry_pb2_grpc.TelemetryStub(channel)  # type: ignore[no-untyped-call]
        self.call = stub.Stream(iter(self._out.get, None), timeout=60)

    def say(self, **fields: object) -> None:
        self._out.put(pb.AgentMessage(**fields))  # type: ignore[arg-type]

    def hello(self, **fields: object) -> None:
        defaults: dict[str, object] = {
            "node": self.node,
            "machine_id": self.machine,
            "epoch": self.epoch,
            "method": "sim",
            "interval_ms": 1000,
            "protocol_minor": PROTOCOL_MINOR,
            "clock_ms": time.time_ns() // 1_000_000,
        }
        self.say(hello=pb.Hello(**{**defaults, **fields}))  # type: ignore[arg-type]

    def begin(self, *gpus: str) -> pb.Welcome:
        """Hello, inventory and layout 1 with these GPUs; returns the hub's welcome."""
        self.hello()
        welcome = self.hear().welcome
        self.inventory(*gpus)
        return welcome

    def inventory(self, *gpus: str, node_facts: str = "") -> None:
        subjects = [
            pb.SubjectFacts(kind="node", key=self.node, name=self.node, facts_json=node_facts)
        ]
        subjects += [
            pb.SubjectFacts(kind="gpu", key=key, index=i, name="H100", facts_json='{"a":1}')
            for i, key in enumerate(gpus)
        ]
        self.say(inventory=pb.Inventory(subjects=subjects))
        columns = [pb.LayoutSubject(kind="gpu", key=key, metrics=METRICS) for key in gpus]
        self.say(layout=pb.Layout(id=1, subjects=columns))

    def tick(
        self,
        seq: int,
        tick: int,
        *gpus: Sequence[int | None] | None,
        gap: bool = False,
        epoch: int | None = None,
    ) -> None:
        """One record; a GPU is its two raw values, or ``None`` if it was not read."""
        self.ticks(seq, [(tick, *gpus)], gap=gap, epoch=epoch)

    def ticks(
        self,
        seq: int,
        rows: Sequence[tuple[int | Sequence[int | None] | None, ...]],
        gap: bool = False,
        epoch: int | None = None,
    ) -> None:
        """Several records in one message, ending with ``seq``."""
        values = [
            [v for gpu in row[1:] for v in (gpu if gpu is not None else (None,) * len(METRICS))]  # type: ignore[union-attr]
            for row in rows
        ]
        taken = [[gpu is not None for gpu in row[1:]] for row in rows]
        self.say(
            epoch=self.epoch if epoch is None else epoch,
            seq=seq,
            count=len(rows),
            gap=gap,
            samples=encode(1, [row[0] for row in rows], taken, values),  # type: ignore[misc,arg-type]
        )

    def hear(self) -> pb.HubMessage:
        message: pb.HubMessage = next(self.call)
        return message

    def refusal(self) -> tuple[grpc.StatusCode, str]:
        """Status and sentence with which the hub ended the stream."""
        try:
            for _ in self.call:
                pass
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError("the hub ended the stream without a word")

    def end(self) -> None:
        self._out.put(None)
        self.call.cancel()


@contextmanager
def raw_agent(port: int, node: str, epoch: int = 1, machine: str = "") -> Iterator[RawAgent]:
    """A connected agent that has said nothing yet."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        agent = RawAgent(channel, node, epoch, machine)
        try:
            yield agent
        finally:
            agent.end()
