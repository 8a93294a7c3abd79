"""A hub that only welcomes, counts and acknowledges: what gRPC alone costs, as a floor.

Run as ``python -m benches.stub_hub PORT RESULT``.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio

from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto import telemetry_pb2_grpc

SLOT_MS = 250
ACK_EVERY = 60


class Stub(telemetry_pb2_grpc.TelemetryServicer):
    """Counts records per node; a jump in seq is an error."""

    def __init__(self) -> None:
        self.records: dict[str, int] = {}
        self.errors: list[str] = []

    async def Stream(
        self, requests: AsyncIterator[pb.AgentMessage], context: Any
    ) -> AsyncIterator[pb.HubMessage]:
        node, seq = "", 0
        async for message in requests:
            if message.WhichOneof("body") == "hello":
                node = message.hello.node
                yield pb.HubMessage(welcome=pb.Welcome(slot_ms=SLOT_MS, hub_version="stub"))
            elif message.seq:
                if message.seq != seq + max(1, message.count):
                    self.errors.append(f"{node}: seq {message.seq} after {seq}")
                seq = message.seq
                self.records[node] = seq
                if seq % ACK_EVERY == 0:
                    committed = pb.Position(epoch=message.epoch, seq=seq)
                    yield pb.HubMessage(ack=pb.Ack(committed=committed))


async def serve(port: int) -> Stub:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    stub = Stub()
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)]
    server = grpc.aio.server(options=options)
    telemetry_pb2_grpc.add_TelemetryServicer_to_server(stub, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await stop.wait()
    await server.stop(1)
    return stub


if __name__ == "__main__":
    counted = asyncio.run(serve(int(sys.argv[1])))
    document = {"records": counted.records, "errors": counted.errors[:5]}
    Path(sys.argv[2]).write_text(json.dumps(document))
