"""The thread that keeps the lease, and what the event loop hears of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gpufleet.hub.lease_keeper import Keeper
from gpufleet.hub.standby import Standing
from gpufleet.hub.store.database import open_database
from gpufleet.hub.store.lease import HELD_SECONDS
from gpufleet.hub.store.tenure import Tenure

pytestmark = pytest.mark.own_database

SECONDS = 60


async def _set(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), SECONDS)


def test_a_sqlite_database_is_held_at_once_and_without_a_lease(tmp_path: Path) -> None:
    async def keep() -> None:
        database = open_database(f"sqlite:///{tmp_path / 'gpufleet.db'}")
        try:
            keeper = Keeper(database)
            keeper.start()
            assert keeper.held.is_set()
            await keeper.close()
            with database.writing():
                pass
        finally:
            database.close()

    asyncio.run(keep())


def test_a_lease_that_is_lost_is_told_and_taken_again_only_when_the_turn_is_over(
    postgres_url: str,
) -> None:
    async def keep() -> None:
        database, rival = open_database(postgres_url), open_database(postgres_url)
        now = 100.0
        other = Tenure(rival, lambda: now)
        try:
            keeper = Keeper(database)
            standing = Standing(keeper, asyncio.Event())
            keeper.start()
            await _set(keeper.held)
            assert standing.sentence() == "This hub is taking over the database."
            assert not other.step()
            while not other.step():  # a renewal may come in between
                now += HELD_SECONDS
            await _set(keeper.lost)
            assert not keeper.held.is_set()
            assert keeper.waiting.is_set()
            other.release()
            assert database.lease is None
            keeper.stand_again()
            await _set(keeper.held)
            assert not keeper.lost.is_set()
            await keeper.close()
            assert other.step()  # it was given back: no wait
        finally:
            database.close()
            rival.close()

    asyncio.run(keep())


def test_one_that_stands_by_names_the_hub_to_ask_and_then_takes_its_place(
    postgres_url: str,
) -> None:
    async def keep() -> None:
        database, rival = open_database(postgres_url), open_database(postgres_url)
        try:
            other = Tenure(rival)
            assert other.step()
            stop = asyncio.Event()
            keeper = Keeper(database)
            standing = Standing(keeper, stop)
            keeper.start()
            await _set(keeper.waiting)
            assert f"hub {rival.holder} has the database" in standing.sentence()
            await asyncio.to_thread(other.release)
            await _set(keeper.held)
            standing.say("The hub cannot read.")
            assert standing.sentence() == "The hub cannot read."
            stop.set()
            assert standing.sentence() == "This hub is stopping."
            await keeper.close()
        finally:
            database.close()
            rival.close()

    asyncio.run(keep())
