"""What a hub says at its ports while it does not serve: 503 and UNAVAILABLE, with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import grpc
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gpufleet.hub.api.probe_routes import probe
from gpufleet.hub.api.problem import Problem, problem_response
from gpufleet.hub.lease_keeper import Keeper
from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto import telemetry_pb2_grpc

RETRY_SECONDS = 2
CUT_OFF_SECONDS = 10.0
"""A database that did not answer for so long may be away for this hub alone."""
STAY_SECONDS = 60.0
"""An agent that came back since then is left alone."""
SEND_AWAY_SECONDS = 60
"""The agents of a large fleet are sent away over so long, those of a small one one each second."""
CUT_OFF = "This hub does not reach its database; another one may: try the next address."


async def first(*events: asyncio.Event) -> None:
    """Returns as soon as one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


class Standing:
    """Why this hub does not serve now, in one sentence."""

    def __init__(self, keeper: Keeper, stop: asyncio.Event) -> None:
        self._keeper = keeper
        self._stop = stop
        self._unread = ""

    def say(self, trouble: str) -> None:
        """The database could not be read when this hub was to begin ("": it could)."""
        self._unread = trouble

    def sentence(self) -> str:
        """The reason, and what it waits for."""
        keeper = self._keeper
        if self._stop.is_set():
            return "This hub is stopping."
        if keeper.held.is_set():
            return self._unread or "This hub is taking over the database."
        if keeper.trouble:
            return f"This hub is standing by. {keeper.trouble}"
        if keeper.other:
            return f"This hub is standing by: hub {keeper.other} has the database; ask that one."
        return "This hub is standing by until it holds the lease of the database."


class HttpFront:
    """The ASGI application at the HTTP port: the hub's while there is one, else refusals."""

    def __init__(self, sentence: Callable[[], str]) -> None:
        self.hub: ASGIApp | None = None
        self._sentence = sentence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self.hub or self._refuse
        await answer(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, sentence = Request(scope).url.path, self._sentence()
        if path in ("/healthz", "/readyz"):
            response = probe(200 if path == "/healthz" else 503, False, sentence)
        else:
            headers = {"Retry-After": str(RETRY_SECONDS)}
            response = problem_response(Problem(503, sentence, headers=headers))
        await response(scope, receive, send)


class StreamService(Protocol):
    """What an agent's stream is handed to."""

    async def Stream(
        self,
        requests: AsyncIterator[pb.AgentMessage],
        context: grpc.aio.ServicerContext[pb.AgentMessage, pb.HubMessage],
    ) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    """A stream that is being served; ``ended`` ends it."""

    task: asyncio.Future[None]
    ended: asyncio.Event
    began: float


class StreamFront(telemetry_pb2_grpc.TelemetryServicer):
    """The gRPC service at the port: the hub's while there is one, else UNAVAILABLE."""

    def __init__(self, sentence: Callable[[], str]) -> None:
        self._hub: StreamService | None = None
        self._open: list[_Open] = []
        """The oldest first."""
        self._sentence = sentence

    def serve(self, hub: StreamService) -> None:
        """Hand streams to this service from now on."""
        self._hub = hub

    async def end(self) -> None:
        """Refuse new streams and end those that are open; returns once their service let go."""
        self._hub = None
        open_now = list(self._open)
        for stream in open_now:
            stream.ended.set()
        if open_now:
            await asyncio.wait([stream.task for stream in open_now])

    def send_away(self, before: float) -> None:
        """End some of the streams that began before then, so that their agents try elsewhere."""
        count = max(1, len(self._open) // SEND_AWAY_SECONDS)
        for stream in self._open[:count]:
            if stream.began < before:
                stream.ended.set()

    async def Stream(
        self,
        requests: AsyncIterator[pb.AgentMessage],
        context: grpc.aio.ServicerContext[pb.AgentMessage, pb.HubMessage],
    ) -> None:
        """One agent's stream, for as long as this hub serves."""
        if self._hub is not None:
            task = asyncio.ensure_future(self._hub.Stream(requests, context))
            stream = _Open(task, asyncio.Event(), asyncio.get_running_loop().time())
            self._open.append(stream)
            ended = asyncio.create_task(stream.ended.wait())
            try:
                await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    task.result()
                    return
            finally:
                self._open.remove(stream)
                for one in (task, ended):
                    one.cancel()
                await asyncio.gather(task, ended, return_exceptions=True)
        sentence = CUT_OFF if self._hub is not None else self._sentence()
        await context.abort(grpc.StatusCode.UNAVAILABLE, sentence)


async def send_away_when_cut_off(streams: StreamFront, keeper: Keeper) -> None:
    """While the database does not answer this hub, its agents try other addresses in turn.

    A hub that reaches it may have taken over. If none has, the database is away for all, and they
    come back at once: a blink, so each at most so often.
    """
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(1)
        now = loop.time()
        if keeper.shared and now - keeper.heard >= CUT_OFF_SECONDS:
            streams.send_away(max(keeper.heard, now - STAY_SECONDS))
