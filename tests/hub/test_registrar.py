"""Registrations of many callers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.exc import StatementError

from gpufleet.hub.fleet import SubjectEntry
from gpufleet.hub.registrar import Registrar
from gpufleet.hub.store.registry import NodeFacts
from gpufleet.hub.wire import WireError
from support.stored import temporary_database


@pytest.fixture
def registrar(tmp_path: Path) -> Iterator[Registrar]:
    with temporary_database(tmp_path) as database, ThreadPoolExecutor(1) as writer:
        yield Registrar(database, writer)


def _gpus(first: int, count: int) -> list[SubjectEntry]:
    return [SubjectEntry(0, "gpu", f"GPU-{n}", n, "", "", {}) for n in range(first, first + count)]


def test_what_cannot_be_registered_of_one_fails_for_that_one_alone(registrar: Registrar) -> None:
    async def all_at_once() -> list[object]:
        return await asyncio.gather(
            registrar.node(NodeFacts("a")),
            registrar.node(NodeFacts("bad", facts={"not": {"json"}})),
            registrar.node(NodeFacts("b")),
            return_exceptions=True,
        )

    a, bad, b = asyncio.run(all_at_once())
    assert registrar.known_node("a") is a
    assert registrar.known_node("b") is b
    assert isinstance(bad, (StatementError, TypeError)), "as the driver words it"


def test_a_node_cannot_register_subjects_without_end(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpufleet.hub.registrar.MAX_NEW_SUBJECTS", 16)

    async def register() -> None:
        node = await registrar.node(NodeFacts("n"))
        other = await registrar.node(NodeFacts("m"))
        for first in (0, 8):
            await registrar.subjects(node.id, _gpus(first, 8))
        await registrar.subjects(node.id, _gpus(0, 8))
        with pytest.raises(WireError, match="subjects"):
            await registrar.subjects(node.id, _gpus(16, 1))
        await registrar.subjects(other.id, _gpus(16, 1))

    asyncio.run(register())


def test_nodes_are_not_registered_without_end(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpufleet.hub.registrar.MAX_NODES", 2)

    async def register() -> None:
        for name in ("a", "b", "a"):
            await registrar.node(NodeFacts(name))
        with pytest.raises(WireError, match="nodes"):
            await registrar.node(NodeFacts("c"))

    asyncio.run(register())
