"""Shared results: made once, in order, bounded, and not lost with the first who asked."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable

import pytest

from gpufleet.hub.api.bodies import Shared, body


def shared(max_bytes: int = 1000) -> Shared[bytes]:
    return Shared(len, max_bytes)


def counted(results: list[int], text: bytes = b"x") -> Callable[[], bytes]:
    def make() -> bytes:
        results.append(threading.get_ident())
        return text

    return make


def test_all_who_ask_for_one_version_share_one_making_in_another_thread() -> None:
    made: list[int] = []

    async def run() -> list[bytes]:
        kept = shared()
        found = await asyncio.gather(*(kept.get("k", 1, counted(made)) for _ in range(20)))
        return [*found, await kept.get("k", 1, counted(made))]

    assert asyncio.run(run()) == [b"x"] * 21
    assert len(made) == 1
    assert made[0] != threading.get_ident()


def test_a_new_version_is_made_anew_and_the_old_one_is_forgotten() -> None:
    made: list[int] = []

    async def run() -> None:
        kept = shared()
        for version in (1, 2, 2, 1, 2):
            await kept.get("k", version, counted(made))

    asyncio.run(run())
    assert len(made) == 3  # 1, 2, and 1 again, which does not push 2 out


def test_the_least_recently_used_go_when_the_room_is_full() -> None:
    made: list[int] = []

    async def run() -> None:
        kept = shared(max_bytes=250)
        make = counted(made, b"y" * 100)
        for key in ("a", "b", "a", "c", "a", "b"):
            await kept.get(key, 1, make)

    asyncio.run(run())
    assert len(made) == 4  # a, b, c, and b again


def test_a_result_larger_than_the_room_is_given_and_not_kept() -> None:
    made: list[int] = []

    async def run() -> None:
        kept = shared(max_bytes=10)
        for _ in range(2):
            assert len(await kept.get("k", 1, counted(made, b"z" * 100))) == 100

    asyncio.run(run())
    assert len(made) == 2


def test_who_goes_away_does_not_take_the_result_from_the_others() -> None:
    release = threading.Event()

    def make() -> bytes:
        assert release.wait(30)
        return b"x"

    async def run() -> bytes:
        kept = shared()
        first = asyncio.create_task(kept.get("k", 1, make))
        second = asyncio.create_task(kept.get("k", 1, make))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        assert first.cancelled()
        release.set()
        return await second

    assert asyncio.run(run()) == b"x"


def test_an_error_reaches_all_and_is_not_kept() -> None:
    made: list[int] = []

    def fail() -> bytes:
        made.append(1)
        raise ValueError("no")

    async def run() -> None:
        kept = shared()
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                await kept.get("k", 1, fail)

    asyncio.run(run())
    assert len(made) == 2


def test_only_large_bodies_are_packed() -> None:
    assert body(b"x" * 100, True).packed is None
    assert body(b"x" * 10_000, False).packed is None
    packed = body(b"x" * 10_000, True).packed
    assert packed is not None
    assert gzip.decompress(packed) == b"x" * 10_000
