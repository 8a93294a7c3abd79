"""One turn of the hub with its database: loaded afresh, served, and ended without a trace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TextIO

from gpufleet.alerting.rules.rule import RuleSet
from gpufleet.hub import ingest, xids
from gpufleet.hub.alerts.alerting import Stored
from gpufleet.hub.alerts.desk import AlertDesk
from gpufleet.hub.alerts.refill import refill
from gpufleet.hub.alerts.rules_watch import RulesWatch
from gpufleet.hub.api.app import create_app
from gpufleet.hub.core import Core
from gpufleet.hub.flush import Flusher
from gpufleet.hub.mail.config import MailConfig
from gpufleet.hub.mail.mailer import Mailer
from gpufleet.hub.readers import Readers
from gpufleet.hub.registrar import Registrar
from gpufleet.hub.standby import HttpFront, StreamFront
from gpufleet.hub.store.alerts import load_memories, load_open_incidents, load_states
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import StoreError
from gpufleet.hub.store.events import events_since
from gpufleet.hub.store.health import load_histories
from gpufleet.hub.store.retention import Retention
from gpufleet.hub.store.write import EventRow
from gpufleet.hub.streams import told

PULSE_SECONDS = 0.25
RETRY_SECONDS = 1.0
LAST_ACKS_SECONDS = 1.0
"""How long the last acks may take to reach the agents."""
LAST_FLUSH_SECONDS = 25.0
"""How long streams stay open for the last acks; from a slower database they come too late."""
RULES_SECONDS = 2.0

_log = logging.getLogger(__name__)

NOBODY = 0
"""The subject and the node of an event that is about the hub itself."""

Watch = Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Makes a task whose failure ends the hub."""


class Turn:
    """From taking the database to letting it go. Nothing in memory outlives it."""

    def __init__(
        self,
        database: Database,
        version: str,
        journal: TextIO | None,
        http: HttpFront,
        streams: StreamFront,
        reader: Executor,
        rules: RulesWatch,
        retention: Retention,
        mail: MailConfig,
    ) -> None:
        self._database = database
        self._version = version
        self._journal = journal
        self._http = http
        self._streams = streams
        self._writer = ThreadPoolExecutor(1, "writer")
        self._reader = reader
        self._rules = rules
        self._retention = retention
        self._mail = mail
        self._mailer: Mailer | None = None
        self._core: Core | None = None
        self._flusher: Flusher
        self._tasks: list[asyncio.Task[None]] = []

    async def load(self, over: Callable[[], bool], say: Callable[[str], None]) -> bool:
        """Learn from the database what is known of the fleet, however often that takes.

        ``say`` is told why it could not be read; False when the turn was over before.
        """
        while not over():
            try:
                await self._load()
            except StoreError as error:
                say(str(error))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                say("")
                return True
        return False

    async def _load(self) -> None:
        database, writer = self._database, self._writer
        loop = asyncio.get_running_loop()
        registrar = await loop.run_in_executor(writer, lambda: Registrar(database, writer))
        histories = await loop.run_in_executor(writer, _histories, database)
        alerts = await loop.run_in_executor(writer, _alerts, database)
        core = Core(registrar, self._journal, histories, self._rules.rules, alerts)
        recent = await loop.run_in_executor(writer, _recent_xids, database, core.now())
        core.count_xids(recent)
        core.alerts.remember_xids(recent)
        engine = core.alerts.engine
        await loop.run_in_executor(writer, refill, engine, core.fleet, database, core.now())
        self._flusher = Flusher(core, database, writer, self._retention)
        self._core = core

    def begin(self, watch: Watch) -> None:
        """Open both doors, once ``load`` has succeeded."""
        assert self._core is not None
        commit = self._flusher.flush
        readers = Readers(self._core, self._database, self._reader, self._version, commit)
        alerts = AlertDesk(
            self._core,
            self._database,
            self._reader,
            self._rules,
            self._flusher.flush,
            self._mail.zone,
        )
        self._http.hub = create_app(readers, alerts=alerts)
        self._streams.serve(ingest.Telemetry(self._core, self._version))
        self._tasks = [
            watch("pulse", _every(PULSE_SECONDS, self._core.pulse)),
            watch("flush", self._flusher.run()),
            watch("rules", _every(RULES_SECONDS, self._look_at_rules)),
        ]
        self._core.alerts.listen()
        book = self._core.alerts.book
        self._mailer = Mailer(
            self._database,
            self._mail,
            self._core.now,
            lambda: {one.id: one for one in list(book.open.values())},
            self._core.see_outbox,
        )
        self._mailer.start()

    def _look_at_rules(self) -> None:
        """Put an edited rules file in force, or say what is wrong with it."""
        core = self._core
        assert core is not None
        try:
            found = self._rules.look(core.now())
        except Exception as error:  # whatever a file holds, the hub goes on by the old rules
            _log.exception("the rules file cannot be read, the old rules stay")
            text = f"The rules file {self._rules.path} cannot be read: {type(error).__name__}."
            core.event(NOBODY, NOBODY, "rules_refused", "warning", text)
            return
        if isinstance(found, RuleSet):
            core.alerts.replace_rules(found)
            text = f"Rules in force: {len(found.rules)}, of {found.source}."
            core.event(NOBODY, NOBODY, "rules_loaded", "info", text)
        elif found is not None:
            text = f"The rules file {self._rules.path} has mistakes, the old rules stay: {found[0]}"
            data = {"problems": len(found), "line": found[0].line, "field": found[0].field}
            core.event(NOBODY, NOBODY, "rules_refused", "warning", text, data)

    async def end(self, *, flush: bool) -> bool:
        """Close both doors and wait for what is under way; False: not all could be written.

        Without ``flush`` what is not committed is dropped: the agents have it, and another hub
        has the database.
        """
        written = True
        if self._core is not None:
            self._core.stop()
            self._http.hub = None
            self._flusher.stop()
            if flush:
                writing = asyncio.ensure_future(_flush_last(self._flusher))
                await asyncio.wait([writing], timeout=LAST_FLUSH_SECONDS)
                await told(self._core.streams.values(), LAST_ACKS_SECONDS)
                await self._streams.end()
                written = await writing
            else:
                await self._streams.end()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._mailer is not None:
            await asyncio.to_thread(self._mailer.stop)
        await asyncio.to_thread(self._writer.shutdown)
        return written


def _alerts(database: Database) -> Stored:
    with database.reading() as connection:
        return Stored(
            load_states(connection), load_open_incidents(connection), load_memories(connection)
        )


def _histories(database: Database) -> dict[int, Mapping[str, Any]]:
    with database.reading() as connection:
        return load_histories(connection)


def _recent_xids(database: Database, now_ms: int) -> list[EventRow]:
    with database.reading() as connection:
        return events_since(connection, xids.KIND, now_ms - xids.REMEMBERED_MS)


async def _flush_last(flusher: Flusher) -> bool:
    """Commit what is in memory; False when the database would not take it."""
    for _ in range(3):
        if await flusher.flush(everything=True):
            return True
        await asyncio.sleep(1)
    _log.error("last samples could not be written, the agents send them again")
    return False


async def _every(seconds: float, action: Callable[[], None]) -> None:
    while True:
        action()
        await asyncio.sleep(seconds)
