"""What a hub says at its ports while it does not serve: 503 and UNAVAILABLE, with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gpufleet.hub.api.probe_routes import probe
from gpufleet.hub.api.problem import Problem, problem_response
from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto import telemetry_pb2_grpc

RETRY_SECONDS = 2


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


class StreamFront(telemetry_pb2_grpc.TelemetryServicer):
    """The gRPC service at the port: the hub's while there is one, else UNAVAILABLE."""

    def __init__(self, sentence: Callable[[], str]) -> None:
        self._hub: telemetry_pb2_grpc.TelemetryServicer | None = None
        self._ended = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()
        self._sentence = sentence

    def serve(self, hub: telemetry_pb2_grpc.TelemetryServicer) -> None:
        """Hand streams to this service from now on."""
        self._hub = hub
        self._ended = asyncio.Event()

    async def end(self) -> None:
        """Refuse new streams and end those that are open; returns once their service let go."""
        self._hub = None
        self._ended.set()
        if self._open:
            await asyncio.wait(self._open)

    async def Stream(
        self,
        requests: AsyncIterator[pb.AgentMessage],
        context: grpc.aio.ServicerContext[pb.AgentMessage, pb.HubMessage],
    ) -> None:
        """One agent's stream, for as long as this hub serves."""
        if self._hub is not None:
            stream = asyncio.ensure_future(self._hub.Stream(requests, context))
            self._open.add(stream)
            stream.add_done_callback(self._open.discard)
            ended = asyncio.create_task(self._ended.wait())
            try:
                await asyncio.wait({stream, ended}, return_when=asyncio.FIRST_COMPLETED)
                if stream.done():
                    return stream.result()
            finally:
                for task in (stream, ended):
                    task.cancel()
                await asyncio.gather(stream, ended, return_exceptions=True)
        await context.abort(grpc.StatusCode.UNAVAILABLE, self._sentence())
