"""A hub's HTTP application on a real port, on a loop of its own thread, that stops and returns."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from types import TracebackType

import uvicorn

from gpufleet.hub.api.app import create_app
from gpufleet.hub.views import Snapshot
from support.fleet_builder import PublishedHub


class ServedHub:
    """For tests without asyncio. A context; ``stop`` and ``start`` keep the port."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ServedHub:
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def start(self) -> None:
        """Begins to listen."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)

    async def _start(self) -> None:
        self.hub = PublishedHub(self.snapshot)
        self.app = create_app(self.hub)
        config = uvicorn.Config(
            self.app, log_level="critical", lifespan="off", timeout_graceful_shutdown=5
        )
        self._server = uvicorn.Server(config)
        listening = socket.create_server(("127.0.0.1", self.port))
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))

    def stop(self) -> None:
        """Ends every answer and listens no more."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)

    async def _stop(self) -> None:
        self.hub.close()
        self._server.should_exit = True
        await self._serving

    def publish(self, snapshot: Snapshot) -> None:
        """Makes this the newest version."""
        self.snapshot = snapshot
        self.call(lambda: self.hub.publish(snapshot))

    def call(self, work: Callable[[], None]) -> None:
        """Runs a function on the hub's loop."""

        async def inner() -> None:
            work()

        asyncio.run_coroutine_threadsafe(inner(), self._loop).result(30)
