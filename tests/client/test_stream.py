"""The list kept up by a thread: changes, other questions at once, a hub that goes and returns."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gpufleet.client.hub import Hub
from gpufleet.client.query import ListQuery
from gpufleet.client.stream import HEARTBEAT_SECONDS, Link, Live, Stream
from gpufleet.client.wakeup import Wakeup
from support.fleet_builder import FleetBuilder
from support.odd_server import OddServer, closes, http, says
from support.served_hub import ServedHub
from support.tcp_proxy import TcpProxy

QUERY = ListQuery(fields=("temperature_celsius",), sort="-temp", interval=0.2)
LONGEST = 30


def fleet(version: int, *celsius: float) -> FleetBuilder:
    builder = FleetBuilder(version=version)
    builder.node("n")
    for index, value in enumerate(celsius):
        builder.gpu("n", index, {"temperature_celsius": value})
    return builder


@contextmanager
def streaming(
    url: str, timeout: float = 10, heartbeat: float = HEARTBEAT_SECONDS
) -> Iterator[tuple[Stream, Wakeup]]:
    wakeup = Wakeup()
    hub = Hub(url, timeout=timeout)
    stream = Stream(hub, wakeup.ring, first_pause=0.02, longest_pause=0.1, heartbeat=heartbeat)
    try:
        yield stream, wakeup
    finally:
        stream.close()
        wakeup.close()


def until(stream: Stream, wakeup: Wakeup, enough: Callable[[Live], bool]) -> Live:
    """The first state that is enough; each is looked at when the wakeup says so."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        live = stream.poll()
        if enough(live):
            return live
        select.select([wakeup], [], [], end - time.monotonic())
        wakeup.clear()
    raise AssertionError(stream.poll())


def temperatures(live: Live) -> list[float]:
    return [] if live.table is None else [row["temperature_celsius"] for row in live.table.rows]


def test_the_table_follows_the_hub() -> None:
    with ServedHub(fleet(1, 40, 50).snapshot()) as served, streaming(served.url) as (stream, bell):
        assert stream.poll().link is Link.IDLE
        stream.ask(QUERY)
        live = until(stream, bell, lambda live: live.table is not None)
        assert (live.link, temperatures(live), live.query) == (Link.LIVE, [50, 40], QUERY)
        served.publish(fleet(2, 60, 50).snapshot())
        live = until(stream, bell, lambda live: live.table is not None and live.table.version == 2)
        assert temperatures(live) == [60, 50]


def test_another_question_is_answered_at_once_and_the_old_picture_stays_until_then() -> None:
    with ServedHub(fleet(1, 40, 50).snapshot()) as served, streaming(served.url) as (stream, bell):
        slow = ListQuery(fields=QUERY.fields, interval=60)
        stream.ask(slow)
        until(stream, bell, lambda live: live.link is Link.LIVE)
        other = ListQuery(filter="temp>45", fields=QUERY.fields, interval=60)
        stream.ask(other)
        assert len(temperatures(stream.poll())) in (1, 2)
        live = until(stream, bell, lambda live: live.query == other)
        assert temperatures(live) == [50]


def test_a_part_of_the_list_is_all_that_is_asked_for() -> None:
    with ServedHub(fleet(1, 40, 50, 60).snapshot()) as served, streaming(served.url) as (s, bell):
        s.ask(ListQuery(fields=QUERY.fields, sort="-temp", offset=1, limit=1))
        live = until(s, bell, lambda live: live.table is not None)
        assert temperatures(live) == [50]
        assert live.table is not None
        assert live.table.total == 3


def test_a_hub_that_goes_leaves_its_last_picture_and_comes_back_by_itself() -> None:
    with ServedHub(fleet(1, 40).snapshot()) as served, streaming(served.url) as (stream, bell):
        stream.ask(QUERY)
        until(stream, bell, lambda live: live.link is Link.LIVE)
        served.stop()
        lost = until(stream, bell, lambda live: live.link is Link.LOST)
        assert temperatures(lost) == [40]
        assert lost.sentence.endswith(".")
        assert lost.since >= (lost.heard or 0)
        until(stream, bell, lambda live: "Connection refused" in live.sentence)
        served.snapshot = fleet(1, 70).snapshot()
        served.start()
        live = until(stream, bell, lambda live: live.link is Link.LIVE)
        assert temperatures(live) == [70]
        assert live.sentence == ""


def test_a_hub_that_freezes_is_lost_and_comes_back_through_another_connection() -> None:
    with (
        ServedHub(fleet(1, 40).snapshot()) as served,
        TcpProxy(("127.0.0.1", served.port)) as proxy,
        streaming(f"http://127.0.0.1:{proxy.port}", heartbeat=0.4) as (stream, bell),
    ):
        stream.ask(QUERY)
        until(stream, bell, lambda live: live.link is Link.LIVE)
        proxy.freeze()
        lost = until(stream, bell, lambda live: live.link is Link.LOST)
        assert "nothing came within" in lost.sentence
        assert temperatures(lost) == [40]
        proxy.thaw()
        until(stream, bell, lambda live: live.link is Link.LIVE)


def test_a_filter_that_the_hub_refuses_keeps_the_picture_and_says_why() -> None:
    with ServedHub(fleet(1, 40).snapshot()) as served, streaming(served.url) as (stream, bell):
        stream.ask(QUERY)
        until(stream, bell, lambda live: live.link is Link.LIVE)
        stream.ask(ListQuery(filter="tmp>4"))
        refused = until(stream, bell, lambda live: live.link is Link.REFUSED)
        assert "did you mean 'temp'?" in refused.sentence
        assert temperatures(refused) == [40]
        stream.ask(QUERY)
        until(stream, bell, lambda live: live.link is Link.LIVE)


def test_a_question_that_nobody_answers_does_not_hold_up_the_next() -> None:
    with OddServer(says()) as silent, streaming(silent.url, timeout=60) as (stream, _):
        stream.ask(QUERY)
        silent.wait(1)
        stream.ask(ListQuery(filter="temp>1"))
        silent.wait(2)
        assert b"temp%3E1" in silent.heads[1]


BEGUN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "part"),
    [
        (closes(BEGUN), "ended the stream"),
        (closes(BEGUN, b"event: snapshot\ndata: {\n\n"), "something else than JSON"),
        (closes(BEGUN, b"event: snapshot\ndata: {}\n\n"), "no list of GPUs"),
        (closes(BEGUN, b"event: change\ndata: {}\n\n"), "a change before anything else"),
        (closes(b"\x00\x01\x02\r\n\r\n"), "something else than HTTP"),
        (closes(http("503 Full", b'{"detail": "The hub is full."}')), "The hub is full."),
    ],
)
def test_whatever_a_stream_sends_is_a_state_with_a_sentence(
    reply: Callable[[bytes, socket.socket], None], part: str
) -> None:
    with OddServer(reply) as server, streaming(server.url) as (stream, bell):
        stream.ask(QUERY)
        lost = until(stream, bell, lambda live: live.link is Link.LOST)
        assert part in lost.sentence
        server.wait(3)


def test_nothing_is_asked_once_nothing_is_wanted() -> None:
    with ServedHub(fleet(1, 40).snapshot()) as served, streaming(served.url) as (stream, bell):
        stream.ask(QUERY)
        until(stream, bell, lambda live: live.link is Link.LIVE)
        stream.ask(None)
        idle = until(stream, bell, lambda live: live.link is Link.IDLE)
        assert temperatures(idle) == [40]
