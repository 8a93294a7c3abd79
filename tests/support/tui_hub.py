"""A hub for the terminal client's tests: the real HTTP application over a published fleet.

It runs in a thread, can be slow and can be silent; alerts are what a test says.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.middleware.base import RequestResponseEndpoint

from gpufleet.alerting.incident import Incident
from gpufleet.hub.api.app import create_app
from gpufleet.hub.views import Snapshot
from support.fleet_builder import FleetBuilder, PublishedHub
from support.processes import free_port
from support.published_alerts import PublishedAlerts
from support.tui_rows import HOSTILE


class TuiHub:
    """A context: the hub answers at ``url`` until its end."""

    def __init__(self, snapshot: Snapshot, alerts: Sequence[Incident] = ()) -> None:
        self.state = PublishedHub(snapshot)
        self.alerts = PublishedAlerts(alerts)
        self.asked: list[str] = []
        """Paths and queries of all questions."""
        self.answered: list[float] = []
        """When the first questions for the list were answered, by the monotonic clock."""
        self.delay = 0.0
        self.port = free_port()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> TuiHub:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Answers from now on, on the same port as before."""
        app = create_app(self.state, alerts=self.alerts)
        self._slow(app)
        config = uvicorn.Config(
            app, host="127.0.0.1", port=self.port, log_level="critical", lifespan="off",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the hub did not start"
            threading.Event().wait(0.01)

    def stop(self) -> None:
        """Cuts every connection; nobody answers on the port any more."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(10)
            self._server = None

    def publish(self, snapshot: Snapshot) -> None:
        """The fleet is so from now on. Questions see it; streams do not."""
        version = self.state.snapshot().version + 1
        self.state._snapshot = replace(snapshot, version=version)

    def _slow(self, app: FastAPI) -> None:
        @app.middleware("http")
        async def wait(request: Request, go_on: RequestResponseEndpoint) -> Response:
            self.asked.append(f"{request.url.path}?{request.url.query}")
            if self.delay:
                await asyncio.sleep(self.delay)
            answer = await go_on(request)
            if request.url.path == "/api/v1/gpus" and len(self.answered) < 10:
                self.answered.append(time.monotonic())
            return answer


def calm(gpus: int, a_node: int = 8) -> Snapshot:
    """So many usual GPUs on nodes of ``a_node``."""
    builder = FleetBuilder()
    for i in range(gpus):
        if i % a_node == 0:
            builder.node(f"node-{i // a_node + 1}", labels={"rack": f"r{i // 64}"})
        node = f"node-{i // a_node + 1}"
        uuid = builder.gpu(node, i % a_node)
        builder.process(node, uuid, 1000 + i, user=f"user{i % 5}")
    return builder.snapshot()


def hostile(known: bool = True) -> Snapshot:
    """GPUs whose every text is hostile, with or without any metric."""
    builder = FleetBuilder()
    for i, text in enumerate(HOSTILE):
        name = text or "empty"
        builder.node(name, labels={"rack": text})
        uuid = builder.gpu(
            name,
            i,
            None if known else {},
            uuid=f"GPU-{i}",
            name=text,
            level=i % 4 if known else None,
            reasons=(text,),
            fault="lost" if i % 2 else None,
        )
        builder.process(name, uuid, i + 1, user=text, program=text, container=text, job=text)
    return builder.snapshot()
