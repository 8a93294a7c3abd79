"""A hub's HTTP application over a real database that a test has filled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray

from gpufleet.hub.api.app import create_app
from gpufleet.hub.core import Core
from gpufleet.hub.fleet import SubjectEntry
from gpufleet.hub.flush import Flusher
from gpufleet.hub.readers import Readers
from gpufleet.hub.registrar import Registrar
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.grid import minute_chunks
from gpufleet.hub.store.registry import NodeFacts, SubjectFacts, register_nodes, register_subjects
from gpufleet.proto.catalog import BY_NAME
from support.stored import HOUR, flush


@dataclass(slots=True)
class StoredFleet:
    """Registers nodes with GPUs named GPU-NODE-INDEX and writes samples of either."""

    database: Database
    ids: dict[str, int] = field(default_factory=dict)
    """UUID → subject id."""
    nodes: dict[str, int] = field(default_factory=dict)
    hosts: dict[str, int] = field(default_factory=dict)
    """Node → id of the node itself as a subject."""
    names: dict[str, list[tuple[str, int, str]]] = field(default_factory=dict)
    """Node → UUID, index and model of its GPUs."""

    def node(
        self,
        name: str,
        gpus: int,
        model: str = "NVIDIA H100 80GB HBM3",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        with self.database.writing() as connection:
            (node,) = register_nodes(connection, [NodeFacts(name, labels=labels or {})], HOUR)
            of = [(f"GPU-{name}-{index}", index, model) for index in range(gpus)]
            found = register_subjects(
                connection,
                [SubjectFacts("gpu", uuid, node.id, index=i, name=m) for uuid, i, m in of],
                HOUR,
            )
            (own,) = register_subjects(connection, [SubjectFacts("node", name, node.id)], HOUR)
        self.hosts[name] = own.id
        self.nodes[name] = node.id
        self.names[name] = of
        self.ids |= {uuid: subject.id for (uuid, _, _), subject in zip(of, found, strict=True)}

    def samples(
        self, key: str, ticks: NDArray[np.int64], **values: NDArray[np.int64] | int
    ) -> None:
        """Scaled integers by the metric's name, of a GPU or a node."""
        columns = [np.broadcast_to(np.asarray(v, np.int64), ticks.shape) for v in values.values()]
        metrics = [[BY_NAME[name].id for name in values]]
        matrix = np.stack(columns, axis=1)
        subject = self.ids[key] if key in self.ids else self.hosts[key]
        flush(
            self.database,
            minute_chunks([subject], ticks, matrix, None, None, metrics),
        )


@dataclass(slots=True)
class StoredHub:
    """``get`` asks the application; the hub stays the same from one question to the next."""

    core: Core
    app: FastAPI
    flusher: Flusher
    loop: asyncio.AbstractEventLoop

    def get(self, path: str) -> httpx.Response:
        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
                return await client.get(path)

        return self.loop.run_until_complete(run())

    def document(self, path: str) -> Any:
        """The JSON of a GET that must succeed."""
        response = self.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    def sentence(self, path: str, status: int) -> str:
        """The sentence of a GET that must fail."""
        response = self.get(path)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        return str(response.json()["detail"])


@contextmanager
def stored_hub(fleet: StoredFleet) -> Iterator[StoredHub]:
    """A hub that knows the fleet's nodes and GPUs as if their agents had told them."""
    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(2) as readers:

        async def start() -> StoredHub:
            core = Core(Registrar(fleet.database, writer))
            for name, gpus in fleet.names.items():
                await core.subjects.inventory(core.fleet.nodes[name], _entries(name, gpus), {})
            core.pulse()
            flusher = Flusher(core, fleet.database, writer)
            app = create_app(Readers(core, fleet.database, readers, "test", flusher.flush))
            return StoredHub(core, app, flusher, loop)

        try:
            yield loop.run_until_complete(start())
        finally:
            loop.run_until_complete(_end_the_rest())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


async def _end_the_rest() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _entries(node: str, gpus: Sequence[tuple[str, int, str]]) -> list[SubjectEntry]:
    own = SubjectEntry(0, "node", node, 0, node, "", {})
    return [own, *(SubjectEntry(0, "gpu", uuid, i, name, "", {}) for uuid, i, name in gpus)]
