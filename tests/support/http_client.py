"""Requests to the HTTP application, in the same process or over a real port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from gpufleet.hub.api.app import create_app
from support.fleet_builder import PublishedHub


def ask(hub: PublishedHub, *paths: str, **headers: str) -> Any:
    """The responses to GETs of one application, one response where one was asked for."""

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(hub), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
            return [await client.get(path, headers=headers) for path in paths]

    found = asyncio.run(run())
    return found[0] if len(found) == 1 else found


def document(hub: PublishedHub, path: str) -> Any:
    """The JSON of a GET that must succeed."""
    response = ask(hub, path)
    assert response.status_code == 200, response.text
    return response.json()


def problem(hub: PublishedHub, path: str, status: int) -> str:
    """The sentence of a GET that must fail, well-formed and without a traceback."""
    response = ask(hub, path)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["status"] == status
    assert found["title"]
    assert found["type"]
    sentence = str(found["detail"])
    assert sentence
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return sentence


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """The application on a real port; yields its address."""
    config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
