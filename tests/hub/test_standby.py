"""Streams at a hub that serves, stands by, or is cut off from its database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from gpufleet.hub.standby import CUT_OFF, SEND_AWAY_SECONDS, StreamFront
from gpufleet.proto import telemetry_pb2 as pb


class Aborted(Exception):
    """The stream was refused or ended."""


class Context:
    """What a stream is told at its end."""

    async def abort(self, code: grpc.StatusCode, sentence: str) -> None:
        raise Aborted(code, sentence)


class Service:
    """Serves streams until it is made to stop, and counts those."""

    def __init__(self) -> None:
        self.let_go = 0

    async def Stream(self, requests: AsyncIterator[pb.AgentMessage], context: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.let_go += 1


async def _nothing() -> AsyncIterator[pb.AgentMessage]:
    return
    yield


def _open(front: StreamFront) -> asyncio.Task[None]:
    context: Any = Context()
    return asyncio.create_task(front.Stream(_nothing(), context))


async def _told(stream: asyncio.Task[None]) -> tuple[Any, ...]:
    try:
        await stream
    except Aborted as aborted:
        return aborted.args
    return ()


def test_streams_are_refused_while_no_hub_serves_and_ended_when_it_stops() -> None:
    async def run() -> None:
        refusal = (grpc.StatusCode.UNAVAILABLE, "Ask another.")
        front, service = StreamFront(lambda: "Ask another."), Service()
        assert await _told(_open(front)) == refusal
        front.serve(service)
        streams = [_open(front) for _ in range(3)]
        await asyncio.sleep(0)
        await front.end()
        assert service.let_go == 3
        assert [await _told(stream) for stream in streams] == [refusal] * 3
        assert await _told(_open(front)) == refusal

    asyncio.run(run())


def test_a_cut_off_hub_sends_the_oldest_away_a_sixtieth_at_a_time() -> None:
    async def run() -> None:
        front, service = StreamFront(lambda: "Ask another."), Service()
        front.serve(service)
        count = 3 * SEND_AWAY_SECONDS
        streams = [_open(front) for _ in range(count)]
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time() + 1
        front.send_away(0.0)  # none began so early
        front.send_away(began)
        for stream in streams[:3]:
            assert await _told(stream) == (grpc.StatusCode.UNAVAILABLE, CUT_OFF)
        assert service.let_go == 3
        assert not any(stream.done() for stream in streams[3:])
        await front.end()
        for stream in streams[3:]:
            await _told(stream)
        assert service.let_go == count

    asyncio.run(run())
