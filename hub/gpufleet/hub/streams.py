"""One agent's open stream, as the rest of the hub sees it: whose it is, and what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from gpufleet.hub.fleet import Node
from gpufleet.hub.hello import Registration
from gpufleet.hub.recorder import NodeLog
from gpufleet.proto import telemetry_pb2 as pb

MAX_OUTGOING = 256
"""Messages that wait for an agent to take them in; one that takes none is not worth more."""


class AgentStream:
    """Whoever has something to tell the agent says it here."""

    def __init__(self, registration: Registration, node: Node, log: NodeLog) -> None:
        self.registration = registration
        self.node = node
        self.log = log
        self.outgoing: asyncio.Queue[pb.HubMessage] = asyncio.Queue()
        """What the hub says; filled by ``say``, done with once gRPC has it."""
        self.ended = asyncio.Event()
        self.ending = ("", "")
        """With which gRPC status and sentence the hub ended the stream, if it did."""

    def end(self, status: str, sentence: str) -> None:
        """End the stream from the hub's side."""
        if not self.ended.is_set():
            self.ending = status, sentence
            self.ended.set()

    def say(self, message: pb.HubMessage) -> None:
        """Send when the agent takes it in."""
        if self.outgoing.qsize() >= MAX_OUTGOING:
            self.end("RESOURCE_EXHAUSTED", "The agent does not take in what the hub says.")
        else:
            self.outgoing.put_nowait(message)


async def told(streams: Iterable[AgentStream], seconds: float) -> None:
    """Returns when every agent was sent what there is to say, or after so long."""
    waits = [asyncio.ensure_future(stream.outgoing.join()) for stream in streams]
    if waits:
        _, late = await asyncio.wait(waits, timeout=seconds)
        for wait in late:
            wait.cancel()
