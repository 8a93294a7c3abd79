"""/stream over a real port: snapshot, changes, slow readers, bounds and the hub's end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gpufleet.hub.api import stream
from gpufleet.hub.api.app import create_app
from support.fleet_builder import FleetBuilder, PublishedHub, large_fleet, vary
from support.http_client import problem, serving
from support.stream_reader import Mirror, events

DEADLINE = 60


@asynccontextmanager
async def reading(hub: PublishedHub, query: str, **more: Any) -> AsyncIterator[Any]:
    """(base address, iterator of events) of one stream."""
    async with (
        asyncio.timeout(DEADLINE),
        serving(create_app(hub, **more)) as base,
        httpx.AsyncClient(base_url=base, timeout=DEADLINE) as client,
        client.stream("GET", f"/api/v1/stream?{query}") as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield base, events(response)
        hub.close()


async def streams(app: FastAPI, count: int) -> None:
    """Wait until so many streams are open."""
    while True:
        if app.state.desk.streams == count:
            return
        await asyncio.sleep(0.01)


def small_fleet(version: int, celsius: float) -> FleetBuilder:
    builder = FleetBuilder(version=version)
    builder.node("n")
    builder.gpu("n", 0, {"temperature_celsius": celsius})
    builder.gpu("n", 1, {"temperature_celsius": 50})
    return builder


def test_a_reader_gets_a_snapshot_and_then_what_changed() -> None:
    async def run() -> None:
        hub = PublishedHub(small_fleet(1, 40).snapshot())
        async with reading(hub, "fields=temp&sort=-temp&interval=0.2") as (_, found):
            name, first = await anext(found)
            assert name == "snapshot"
            mirror = Mirror(first)
            assert [row["temperature_celsius"] for row in mirror.rows] == [50, 40]
            hub.publish(small_fleet(2, 60).snapshot())
            name, change = await anext(found)
            assert name == "change"
            assert change["cells"] == {"GPU-n-0": {"temperature_celsius": 60}}
            mirror.apply(change)
            assert [row["temperature_celsius"] for row in mirror.rows] == [60, 50]

    asyncio.run(run())


def test_a_filter_lets_gpus_come_and_go() -> None:
    async def run() -> None:
        hub = PublishedHub(small_fleet(1, 40).snapshot())
        async with reading(hub, "fields=temp&filter=temp>45&interval=0.2") as (_, found):
            mirror = Mirror((await anext(found))[1])
            assert [row["uuid"] for row in mirror.rows] == ["GPU-n-1"]
            for version, celsius, expected in ((2, 60, 2), (3, 30, 1)):
                hub.publish(small_fleet(version, celsius).snapshot())
                mirror.apply((await anext(found))[1])
                assert (len(mirror.rows), mirror.total) == (expected, expected)

    asyncio.run(run())


def test_a_stream_shows_the_part_of_the_list_that_was_asked_for() -> None:
    async def run() -> None:
        hub = PublishedHub(small_fleet(1, 40).snapshot())
        query = "fields=temp&sort=-temp&offset=1&limit=1&interval=0.2"
        async with reading(hub, query) as (_, found):
            mirror = Mirror((await anext(found))[1])
            assert [row["uuid"] for row in mirror.rows] == ["GPU-n-0"]
            hub.publish(small_fleet(2, 60).snapshot())
            mirror.apply((await anext(found))[1])
            assert [row["uuid"] for row in mirror.rows] == ["GPU-n-1"]
            assert mirror.total == 2

    asyncio.run(run())


def test_a_stream_ends_when_the_hub_begins_to_stop() -> None:
    async def run() -> None:
        hub = PublishedHub(small_fleet(1, 40).snapshot())
        async with reading(hub, "interval=60") as (_, found):
            await anext(found)
            hub.close()
            assert [event async for event in found] == []

    asyncio.run(run())


def test_a_quiet_fleet_sends_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.05)

    async def run() -> None:
        hub = PublishedHub(small_fleet(1, 40).snapshot())
        async with reading(hub, "interval=0.2") as (_, found):
            await anext(found)
            assert [await anext(found) for _ in range(3)] == [(":", "heartbeat")] * 3

    asyncio.run(run())


def test_streams_are_bounded_and_a_place_is_free_again_after_a_reader_went() -> None:
    async def run() -> None:
        hub = PublishedHub(small_fleet(1, 40).snapshot())
        app = create_app(hub, max_streams=1)
        async with (
            asyncio.timeout(DEADLINE),
            serving(app) as base,
            httpx.AsyncClient(base_url=base, timeout=DEADLINE) as client,
        ):
            async with client.stream("GET", "/api/v1/stream") as response:
                reading = events(response)  # kept: one that is collected closes its response
                await anext(reading)
                refused = await client.get("/api/v1/stream")
                assert refused.status_code == 503
                assert refused.headers["retry-after"] == "10"
                assert "serves 1 streams already" in refused.json()["detail"]
            await streams(app, 0)
            async with client.stream("GET", "/api/v1/stream") as response:
                assert (await anext(events(response)))[0] == "snapshot"
            hub.close()

    asyncio.run(run())


class Reader:
    """The other side of an ASGI response, which takes a message only when it is told to."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.takes = asyncio.Semaphore(0)
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.takes.acquire()
        self.taken.put_nowait(message)

    async def take(self) -> dict[str, Any]:
        """Let one message through."""
        self.takes.release()
        return await self.taken.get()

    async def take_event(self) -> Any:
        """Let one message through and read the event in it."""
        body = (await self.take())["body"].decode()
        return json.loads(body.rpartition("data: ")[2])


@asynccontextmanager
async def following(hub: PublishedHub, query: str) -> AsyncIterator[Reader]:
    """A reader of a stream without a server between; the stream must end by itself."""
    reader = Reader()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/stream",
        "query_string": query.encode(),
        "headers": [],
    }
    app = create_app(hub)
    task = asyncio.create_task(app(scope, reader.receive, reader.send))
    async with asyncio.timeout(DEADLINE):
        yield reader
        await task
        assert app.state.desk.streams == 0


def test_a_slow_reader_skips_versions_and_gets_the_newest() -> None:
    async def run() -> None:
        hub = PublishedHub(small_fleet(1, 1).snapshot())
        async with following(hub, "interval=0.2&fields=temp") as reader:
            assert (await reader.take())["status"] == 200
            mirror = Mirror(await reader.take_event())
            hub.publish(small_fleet(2, 2).snapshot())
            reader_is_busy_with = await reader.take_event()
            assert reader_is_busy_with["version"] == 2
            mirror.apply(reader_is_busy_with)
            for version in range(3, 40):
                hub.publish(small_fleet(version, version).snapshot())
                await asyncio.sleep(0)
            frames = 0
            newest = reader_is_busy_with
            while newest["version"] != 39:  # on a busy machine one may be made in between
                newest = await reader.take_event()
                mirror.apply(newest)
                frames += 1
            assert frames <= 5, "37 versions are not 37 frames"
            assert mirror.rows[0] == {"uuid": "GPU-n-0", "temperature_celsius": 39}
            reader.gone.set()

    asyncio.run(run())


def test_a_reader_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STUCK_SECONDS", 0.05)

    async def run() -> None:
        hub = PublishedHub(small_fleet(1, 1).snapshot())
        async with following(hub, "") as reader:
            assert (await reader.take())["status"] == 200

    asyncio.run(run())


def test_a_reader_that_goes_ends_its_stream() -> None:
    async def run() -> None:
        hub = PublishedHub(small_fleet(1, 1).snapshot())
        async with following(hub, "") as reader:
            await reader.take()
            await reader.take_event()
            reader.gone.set()

    asyncio.run(run())


def test_many_readers_of_one_question_share_its_frames() -> None:
    async def run() -> None:
        snapshot = large_fleet(50, 8)
        hub = PublishedHub(snapshot)
        app = create_app(hub)
        async with (
            asyncio.timeout(DEADLINE),
            serving(app) as base,
            httpx.AsyncClient(base_url=base, timeout=DEADLINE) as client,
        ):

            async def follow() -> list[Any]:
                async with client.stream("GET", "/api/v1/stream?fields=temp") as response:
                    source = events(response)
                    mirror = Mirror((await anext(source))[1])
                    while mirror.version < target.version:
                        mirror.apply((await anext(source))[1])
                    return list(mirror.rows)

            target = vary(snapshot, 5)
            tasks = [asyncio.create_task(follow()) for _ in range(20)]
            await streams(app, 20)
            hub.publish(target)
            rows = await asyncio.gather(*tasks)
            assert all(found == rows[0] for found in rows)
            page = await client.get("/api/v1/gpus?fields=temp")
            assert rows[0] == json.loads(page.content)["gpus"]
            hub.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("query", "status", "part"),
    [
        ("filter=tempp>1", 400, "did you mean 'temp'?"),
        ("sort=x", 400, "there is no field 'x'"),
        ("interval=0.1", 422, "interval must be"),
        ("interval=nan", 422, "interval must be"),
        ("limit=0", 422, "limit must be"),
        ("cursor=x", 422, "There is no parameter 'cursor'"),
    ],
)
def test_a_bad_question_is_refused_before_a_stream_begins(
    query: str, status: int, part: str
) -> None:
    hub = PublishedHub(FleetBuilder().snapshot())
    assert part in problem(hub, f"/api/v1/stream?{query}", status)


@pytest.mark.parametrize("interval", [0.2, 1.0, 7.5, 60.0])
@pytest.mark.parametrize("now", [0.0, 0.6, 1_780_000_000.59, 1_780_000_000.61])
def test_frames_of_all_streams_are_made_at_the_same_moments(now: float, interval: float) -> None:
    wait = stream.delay(now, interval)
    assert 0 <= wait <= interval
    turns = (now + wait - stream.FRAME_OFFSET_SECONDS) / interval
    assert turns == pytest.approx(round(turns), abs=1e-5)
