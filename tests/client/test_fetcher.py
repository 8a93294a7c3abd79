"""Questions asked by threads: the latest of a slot wins, and none holds up the others."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gpufleet.client.errors import HubError, Refused
from gpufleet.client.fetcher import Fetcher, Result
from gpufleet.client.hub import Hub
from gpufleet.client.wakeup import Wakeup
from support.fleet_builder import FleetBuilder
from support.odd_server import OddServer, http, says
from support.served_hub import ServedHub

LONGEST = 30


@contextmanager
def fetching(url: str, workers: int = 2) -> Iterator[tuple[Fetcher, Wakeup]]:
    bell = Wakeup()
    fetcher = Fetcher(Hub(url, timeout=60), bell.ring, workers)
    try:
        yield fetcher, bell
    finally:
        fetcher.close()
        bell.close()


def results(fetcher: Fetcher, bell: Wakeup, many: int = 1) -> list[Result]:
    """That many results, as they come."""
    found: list[Result] = []
    end = time.monotonic() + LONGEST
    while len(found) < many and time.monotonic() < end:
        select.select([bell], [], [], end - time.monotonic())
        bell.clear()
        found += fetcher.take()
    return found


def get(path: str) -> Callable[[Hub], object]:
    return lambda hub: hub.get(path)


def test_an_answer_comes_with_its_slot_and_key() -> None:
    with ServedHub(FleetBuilder().snapshot()) as served, fetching(served.url) as (fetcher, bell):
        fetcher.fetch("fleet", get("/api/v1/fleet"), key=7)
        (result,) = results(fetcher, bell)
        assert (result.slot, result.key, result.error) == ("fleet", 7, None)
        assert result.value["gpus"]["total"] == 0
        assert fetcher.take() == []
        assert not fetcher.busy("fleet")


def test_a_refusal_is_a_result_too() -> None:
    with ServedHub(FleetBuilder().snapshot()) as served, fetching(served.url) as (fetcher, bell):
        fetcher.fetch("gpu", get("/api/v1/gpus/GPU-none"))
        (result,) = results(fetcher, bell)
        assert isinstance(result.error, Refused)
        assert result.error.status == 404


def test_a_newer_question_ends_the_older_one_of_its_slot() -> None:
    with OddServer(says()) as server, fetching(server.url, workers=1) as (fetcher, bell):
        began = threading.Event()

        def hang(hub: Hub) -> object:
            began.set()
            return hub.get("/silent")

        fetcher.fetch("history", hang, key="old")
        assert began.wait(LONGEST)
        server.reply = says(http("200 OK", b"[1]"))
        fetcher.fetch("history", get("/x"), key="new")
        assert results(fetcher, bell) == [Result("history", "new", [1])]


def test_a_slot_that_hangs_holds_up_no_other() -> None:
    with OddServer(says()) as server, fetching(server.url, workers=2) as (fetcher, bell):
        fetcher.fetch("slow", get("/silent"))
        server.wait(1)
        server.reply = says(http("200 OK", b"[2]"))
        fetcher.fetch("quick", get("/x"))
        assert results(fetcher, bell) == [Result("quick", None, [2])]
        assert fetcher.busy("slow")


def test_a_question_that_was_dropped_has_no_result() -> None:
    with OddServer(says()) as server, fetching(server.url, workers=1) as (fetcher, bell):
        fetcher.fetch("a", get("/silent"))
        fetcher.fetch("b", get("/never"))
        fetcher.drop("b")
        fetcher.drop("a")
        server.reply = says(http("200 OK", b"[3]"))
        fetcher.fetch("c", get("/x"))
        assert results(fetcher, bell) == [Result("c", None, [3])]


def test_what_goes_wrong_is_told_and_the_thread_goes_on() -> None:
    def wrong(_: Hub) -> object:
        raise HubError("It does not fit.")

    with OddServer(says(http("200 OK", b"[4]"))) as server, fetching(server.url, 1) as (f, bell):
        f.fetch("a", wrong)
        (result,) = results(f, bell)
        assert str(result.error) == "It does not fit."
        f.fetch("a", get("/x"))
        assert results(f, bell) == [Result("a", None, [4])]


def test_rings_before_a_look_are_one() -> None:
    bell = Wakeup()
    for _ in range(100_000):
        bell.ring()
    assert select.select([bell], [], [], 0)[0] == [bell]
    assert bell.clear()
    assert not bell.clear()
    assert select.select([bell], [], [], 0)[0] == []
    bell.close()
    bell.ring()
    assert bell.clear() is False
