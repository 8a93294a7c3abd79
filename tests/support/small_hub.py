"""A hub without HTTP in this process: core, gRPC port, flusher and a temporary database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from gpufleet.alerting.rules.rule import RuleSet
from gpufleet.hub import ingest
from gpufleet.hub.alerts.alerting import Stored
from gpufleet.hub.core import Core
from gpufleet.hub.flush import Flusher
from gpufleet.hub.registrar import Registrar
from gpufleet.hub.store.alerts import load_memories, load_open_incidents, load_states
from gpufleet.hub.store.chunk import Chunk
from gpufleet.hub.store.database import Database, open_database
from gpufleet.hub.store.samples import read_samples
from support.places import url_in

T = TypeVar("T")


class SmallHub:
    """Runs on a loop of its own thread; ``call`` runs a function there. Flushes when told."""

    def __init__(self, database: Database, rules: RuleSet | None = None) -> None:
        self.database = database
        self._rules = rules
        self.port = 0
        self.core: Core
        self.flusher: Flusher
        self._loop = asyncio.new_event_loop()
        self._writer = ThreadPoolExecutor(1)
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self.run(self._start())

    async def _start(self) -> Any:
        registrar = Registrar(self.database, self._writer)
        with self.database.reading() as connection:
            alerts = Stored(
                load_states(connection), load_open_incidents(connection), load_memories(connection)
            )
        self.core = Core(registrar, rules=self._rules, alerts=alerts)
        self.flusher = Flusher(self.core, self.database, self._writer)
        server = ingest.server(ingest.Telemetry(self.core, "test"))
        self.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def call(self, function: Callable[[], T]) -> T:
        async def inner() -> T:
            return function()

        return self.run(inner())

    def flush(self) -> bool:
        """Commit everything that was received."""
        return self.run(self.flusher.flush(everything=True))

    def stored(self, kind: str, key: str) -> Chunk:
        """What is in SQL of a subject."""
        subject_id = self.core.registrar.subject_id(kind, key)
        assert subject_id is not None
        with self.database.reading() as connection:
            return read_samples(connection, subject_id, 0, 1 << 50)

    def close(self) -> None:
        self.run(self._server.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._writer.shutdown()
        self.database.close()


@contextmanager
def small_hub(folder: Path, rules: RuleSet | None = None) -> Iterator[SmallHub]:
    """A hub whose database lies in ``folder``: opening it twice is a restart."""
    hub = SmallHub(open_database(url_in(folder, "hub.db")), rules)
    try:
        yield hub
    finally:
        hub.close()
