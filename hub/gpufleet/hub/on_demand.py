"""Asks a node's agent to collect now, with any method: one question a node at a time, kept 5 s."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gpufleet.hub.api.state import CannotCollect
from gpufleet.hub.streams import AgentStream
from gpufleet.proto import telemetry_pb2 as pb

KEEP_MS = 5_000
ANSWER_SECONDS = 15.0
"""An agent gives its collector 10 s."""


@dataclass(frozen=True, slots=True)
class _Kept:
    time_ms: int
    document: Mapping[str, Any]


class OnDemand:
    """Questions to agents and the answers that are still fresh. On the event loop's thread."""

    def __init__(self, streams: Mapping[str, AgentStream], mono: Callable[[], int]) -> None:
        self._streams = streams
        self._mono = mono
        self._numbers = 0
        self._waiting: dict[tuple[str, int], asyncio.Future[pb.CommandResult]] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._kept: dict[tuple[str, str], _Kept] = {}

    def next_number(self) -> int:
        """A number for a command, unique in this hub's life."""
        self._numbers += 1
        return self._numbers

    def answered(self, node: str, result: pb.CommandResult) -> None:
        """A node's agent answered; what nobody waits for, or asked another, is dropped."""
        future = self._waiting.pop((node, result.id), None)
        if future is not None and not future.done():
            future.set_result(result)

    async def collect(self, node: str, method: str) -> Mapping[str, Any]:
        """The snapshot document of all GPUs of a node; CannotCollect says why there is none."""
        turn = self._turns.setdefault(node, asyncio.Lock())
        async with turn:
            kept = self._kept.get((node, method))
            if kept is not None and self._mono() - kept.time_ms < KEEP_MS:
                return kept.document
            document = await self._ask(node, method)
            self._forget_old()
            self._kept[(node, method)] = _Kept(self._mono(), document)
            return document

    def _forget_old(self) -> None:
        now = self._mono()
        old = [key for key, kept in self._kept.items() if now - kept.time_ms >= KEEP_MS]
        for key in old:
            del self._kept[key]

    async def _ask(self, node: str, method: str) -> Mapping[str, Any]:
        stream = self._streams.get(node)
        if stream is None:
            raise CannotCollect(
                f"Node {node} is not connected: leave ?method= away for what it sent last."
            )
        number = self.next_number()
        future = asyncio.get_running_loop().create_future()
        self._waiting[(node, number)] = future
        command = pb.Command(id=number, collect=pb.Collect(method=method))
        stream.say(pb.HubMessage(command=command))
        try:
            result = await asyncio.wait_for(future, ANSWER_SECONDS)
        except TimeoutError:
            raise CannotCollect(
                f"The agent of node {node} did not answer within {ANSWER_SECONDS:g} s.",
                timed_out=True,
            ) from None
        finally:
            self._waiting.pop((node, number), None)
        if result.error:
            raise CannotCollect(f"Node {node}: {result.error}")
        try:
            document = orjson.loads(result.document_json)
        except orjson.JSONDecodeError:
            document = None
        gpus = document.get("gpus") if isinstance(document, dict) else None
        if not isinstance(gpus, list) or not all(map(_is_gpu, gpus)):
            raise CannotCollect(f"The agent of node {node} gave an answer that is no snapshot.")
        return {**document, "node": node}


def _is_gpu(entry: Any) -> bool:
    """Whether an entry of a snapshot has the form that readers rely on."""
    if not isinstance(entry, dict):
        return False
    devices = entry.setdefault("mig", [])
    return isinstance(devices, list) and all(isinstance(device, dict) for device in devices)
