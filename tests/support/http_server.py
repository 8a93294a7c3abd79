"""An application served by uvicorn on a real port, on a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI


@dataclass(frozen=True, slots=True)
class HttpServer:
    """Asked with blocking calls, each on a connection of its own."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connection(self) -> http.client.HTTPConnection:
        """A new connection; whoever asks for it closes it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def get(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers (their names in lower case) and the whole body."""
        with closing(self.connection()) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()


@contextmanager
def http_server(app: FastAPI, loop: asyncio.AbstractEventLoop) -> Iterator[HttpServer]:
    """Serves on ``loop``, which must not run and does not run any more afterwards."""
    config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(
            target=loop.run_until_complete, args=(server.serve(sockets=[listening]),)
        )
        serving.start()
        try:
            yield HttpServer(listening.getsockname()[1])
        finally:
            server.should_exit = True
            serving.join()
