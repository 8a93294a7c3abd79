"""The hub's composition root: opens the database and the ports, runs the loops, ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

import uvicorn
from sqlalchemy import make_url

from gpufleet.hub import ingest, xids
from gpufleet.hub.api.app import create_app
from gpufleet.hub.config import HubConfig
from gpufleet.hub.core import Core
from gpufleet.hub.flush import Flusher
from gpufleet.hub.readers import Readers
from gpufleet.hub.registrar import Registrar
from gpufleet.hub.store.database import Database, open_database
from gpufleet.hub.store.database import migrate as store_migrate
from gpufleet.hub.store.errors import StoreError
from gpufleet.hub.store.events import events_since
from gpufleet.hub.store.health import load_histories
from gpufleet.hub.store.write import EventRow

PULSE_SECONDS = 0.25
STOP_SECONDS = 5.0

_log = logging.getLogger(__name__)


class CannotStart(Exception):
    """The hub cannot start. The text says why and what to do."""


def package_version() -> str:
    """The version of the installed distribution."""
    try:
        return version("gpufleet")
    except PackageNotFoundError:
        return "0+source"


def serve(config: HubConfig) -> int:
    """Run the hub until SIGTERM or SIGINT; returns the exit code. CannotStart says why not."""
    with contextlib.ExitStack() as stack:
        http_socket = stack.enter_context(_listen(config))
        _check_free(config.listen, config.grpc_port)
        database = _open(config)
        stack.callback(database.close)
        journal = stack.enter_context(_journal(config))
        try:
            return asyncio.run(_run(config, database, http_socket, journal))
        except StoreError as error:  # what is read at the start: later ones are dealt with
            raise CannotStart(str(error)) from None


def migrate(config: HubConfig) -> int:
    """Bring the database's schema up to date (``gpufleet hub migrate``)."""
    try:
        store_migrate(config.database_url)
    except StoreError as error:
        raise CannotStart(str(error)) from None
    shown = make_url(config.database_url).render_as_string(hide_password=True)
    _log.info("database is up to date database=%s", shown)
    return 0


@contextlib.contextmanager
def _listen(config: HubConfig) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in config.listen else socket.AF_INET
    try:
        made = socket.create_server((config.listen, config.http_port), family=family, backlog=1024)
    except OSError as error:
        raise CannotStart(
            f"Port {config.http_port} on {config.listen} cannot be opened ({_reason(error)}):"
            " another hub may hold it; choose another with --http-port."
        ) from None
    with made:
        yield made


def _check_free(host: str, port: int) -> None:
    """gRPC says only that it failed; a plain socket says why."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise CannotStart(
            f"Port {port} on {host} cannot be opened ({_reason(error)}):"
            " another hub may hold it; choose another with --grpc-port."
        ) from None


def _open(config: HubConfig) -> Database:
    try:
        if not config.database:
            config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open_database(config.database_url)
    except OSError as error:
        raise CannotStart(
            f"The data directory {config.data_dir} cannot be made ({_reason(error)}):"
            " name another with --data-dir."
        ) from None
    except StoreError as error:
        raise CannotStart(str(error)) from None


@contextlib.contextmanager
def _journal(config: HubConfig) -> Iterator[TextIO | None]:
    if config.journal is None:
        yield None
        return
    try:
        file = config.journal.open("a", encoding="utf-8")
    except OSError as error:
        raise CannotStart(
            f"The journal {config.journal} cannot be written ({_reason(error)})."
        ) from None
    with file:
        yield file


def _reason(error: OSError) -> str:
    """What the system calls it: asyncio and socket put more words around that."""
    return os.strerror(error.errno) if error.errno else str(error)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the hub ends its parts in its own order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _run(
    config: HubConfig, database: Database, http_socket: socket.socket, journal: TextIO | None
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    name = package_version()
    with (
        ThreadPoolExecutor(1, "writer") as writer,
        ThreadPoolExecutor(4, "reader") as reader,
    ):
        registrar = await loop.run_in_executor(writer, lambda: Registrar(database, writer))
        core = Core(registrar, journal, await loop.run_in_executor(writer, _histories, database))
        core.count_xids(await loop.run_in_executor(writer, _recent_xids, database, core.now()))
        flusher = Flusher(core, database, writer)
        grpc_server = ingest.server(core, name)
        port = grpc_server.add_insecure_port(_address(config.listen, config.grpc_port))
        readers = Readers(core, database, reader, name)
        http = _Server(
            uvicorn.Config(
                create_app(readers),
                log_config=None,  # its lines look like ours
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=2,
                server_header=False,
            )
        )
        failed = asyncio.Event()
        tasks = [
            _watched(stop, failed, "http", http.serve(sockets=[http_socket])),
            _watched(stop, failed, "pulse", _every(PULSE_SECONDS, core.pulse)),
            _watched(stop, failed, "flush", flusher.run()),
        ]
        await grpc_server.start()
        _log.info(
            "hub ready version=%s http=http://%s grpc=%s database=%s",
            name,
            _address(config.listen, http_socket.getsockname()[1]),
            _address(config.listen, port),
            database.engine.url.render_as_string(hide_password=True),
        )
        await stop.wait()
        _log.info("hub stopping")
        core.stop()
        http.should_exit = True
        await grpc_server.stop(0.2)
        flusher.stop()
        committed = await _flush_last(flusher)
        _, late = await asyncio.wait(tasks[:1], timeout=STOP_SECONDS)
        for task in [*tasks[1:], *late]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return 0 if committed and not failed.is_set() else 1


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
    _log.error("the last samples could not be written; the agents keep them and send them again")
    return False


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _watched(
    stop: asyncio.Event, failed: asyncio.Event, name: str, work: Coroutine[Any, Any, None]
) -> asyncio.Task[None]:
    """A task whose failure stops the hub, loudly, instead of leaving it half alive."""

    async def guard() -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("part failed part=%s", name)
            failed.set()
            stop.set()

    return asyncio.create_task(guard(), name=name)


async def _every(seconds: float, action: Callable[[], None]) -> None:
    while True:
        action()
        await asyncio.sleep(seconds)
