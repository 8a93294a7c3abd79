"""HEAD over a real port."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from gpufleet.hub.api.app import create_app
from support.fleet_builder import FleetBuilder, PublishedHub
from support.http_client import serving

DEADLINE = 60


def both(path: str) -> tuple[httpx.Response, httpx.Response]:
    """What GET (without the body) and HEAD say of a path, on one connection."""

    async def run() -> tuple[httpx.Response, httpx.Response]:
        app = create_app(PublishedHub(FleetBuilder().snapshot()))
        async with (
            asyncio.timeout(DEADLINE),
            serving(app) as base,
            httpx.AsyncClient(base_url=base, timeout=DEADLINE) as client,
        ):
            head = await client.head(path)
            async with client.stream("GET", path) as got:
                return got, head

    return asyncio.run(run())


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/metrics", "/api/v1/gpus", "/docs", "/api/v1/nix", "/api/v1/stream"],
)
def test_head_says_what_get_says_without_the_body(path: str) -> None:
    get, head = both(path)
    assert head.status_code == get.status_code
    assert head.headers.get("content-type") == get.headers.get("content-type")
    assert head.headers.get("location") == get.headers.get("location")
    assert head.content == b""
