"""The hub's composition root: opens the database and the ports, runs the loops, ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

import uvicorn
from sqlalchemy import make_url

from gpufleet.alerting.rules.file import RulesError
from gpufleet.hub import ingest
from gpufleet.hub.alerts.rules_watch import RulesWatch
from gpufleet.hub.config import HubConfig
from gpufleet.hub.lease_keeper import Keeper
from gpufleet.hub.standby import (
    HttpFront,
    Standing,
    StreamFront,
    first,
    send_away_when_cut_off,
)
from gpufleet.hub.store.database import Database, open_database
from gpufleet.hub.store.database import migrate as store_migrate
from gpufleet.hub.store.errors import StoreError
from gpufleet.hub.store.retention import DAY_MS, Retention
from gpufleet.hub.turn import Turn
from gpufleet.proto.logline import said

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
        rules = _rules(config)
        try:
            return asyncio.run(_run(config, database, http_socket, journal, rules))
        except StoreError as error:  # what is read at the start: later ones are dealt with
            raise CannotStart(str(error)) from None


def migrate(config: HubConfig) -> int:
    """Bring the database's schema up to date (``gpufleet hub migrate``)."""
    try:
        store_migrate(config.database_url)
    except StoreError as error:
        raise CannotStart(str(error)) from None
    shown = make_url(config.database_url).render_as_string(hide_password=True)
    _log.info("database is up to date %s", said(database=shown))
    return 0


def retention_of(config: HubConfig) -> Retention:
    """How long the settings keep things."""
    return Retention(
        samples_ms=round(config.retention_samples_days * DAY_MS),
        minutes_ms=round(config.retention_minutes_days * DAY_MS),
        hours_ms=round(config.retention_hours_days * DAY_MS),
        events_ms=round(config.retention_events_days * DAY_MS),
        max_bytes=config.retention_bytes,
    )


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
        # asyncio does this for sockets that it makes; one that is handed over kept each answer back
        # for the client's delayed acknowledgement: 40 ms.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
        return open_database(config.database_url, call_seconds=config.database_seconds)
    except OSError as error:
        raise CannotStart(
            f"The data directory {config.data_dir} cannot be made ({_reason(error)}):"
            " name another with --data-dir."
        ) from None
    except StoreError as error:
        raise CannotStart(str(error)) from None


def _rules(config: HubConfig) -> RulesWatch:
    try:
        return RulesWatch(config.rules, time.time_ns() // 1_000_000)
    except RulesError as error:
        raise CannotStart(f"The alert rules cannot be used:\n{error}") from None
    except OSError as error:
        raise CannotStart(
            f"The rules file {config.rules} cannot be read ({_reason(error)}): name another with"
            " --rules, or leave it out for the default rules."
        ) from None


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
    config: HubConfig,
    database: Database,
    http_socket: socket.socket,
    journal: TextIO | None,
    rules: RulesWatch,
) -> int:
    stop, failed = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    name = package_version()
    keeper = Keeper(database)
    state = Standing(keeper, stop)
    http_front, stream_front = HttpFront(state.sentence), StreamFront(state.sentence)
    grpc_server = ingest.server(stream_front)
    port = grpc_server.add_insecure_port(_address(config.listen, config.grpc_port))
    http = _Server(
        uvicorn.Config(
            http_front,
            log_config=None,  # its lines look like ours
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            server_header=False,
        )
    )
    places = {
        "version": name,
        "http": f"http://{_address(config.listen, http_socket.getsockname()[1])}",
        "grpc": _address(config.listen, port),
        "database": database.engine.url.render_as_string(hide_password=True),
    }

    def watch(part: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return _watched(stop, failed, part, work)

    written = True
    with ThreadPoolExecutor(4, "reader") as reader:
        serving = watch("http", http.serve(sockets=[http_socket]))
        closing = watch("close", _close_http(stop, http))
        cut_off = watch("cut off", send_away_when_cut_off(stream_front, keeper))
        await grpc_server.start()
        keeper.start()
        while not stop.is_set():
            await first(keeper.held, keeper.waiting, stop)
            if not keeper.held.is_set():
                _log.info("hub standing by %s", said(**places, reason=state.sentence()))
                await first(keeper.held, stop)
            if stop.is_set():
                break
            turn = Turn(
                database,
                name,
                journal,
                http_front,
                stream_front,
                reader,
                rules,
                retention_of(config),
                config.mail,
            )
            over = asyncio.create_task(first(keeper.lost, stop))
            try:
                if await turn.load(over.done, state.say):
                    turn.begin(watch)
                    _log.info("hub ready %s", said(**places))
                    await over
            finally:
                over.cancel()
                if stop.is_set():
                    _log.info("hub stopping")
                written = await turn.end(flush=stop.is_set() and not keeper.lost.is_set())
                keeper.stand_again()
        await grpc_server.stop(0.2)
        await keeper.close()
        _, late = await asyncio.wait([serving], timeout=STOP_SECONDS)
        for task in (closing, cut_off, *late):
            task.cancel()
        await asyncio.gather(serving, closing, cut_off, return_exceptions=True)
    return 0 if written and not failed.is_set() else 1


async def _close_http(stop: asyncio.Event, http: uvicorn.Server) -> None:
    """No more requests from the moment on in which the hub is to end."""
    await stop.wait()
    http.should_exit = True


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
            _log.exception("part failed %s", said(part=name))
            failed.set()
            stop.set()

    return asyncio.create_task(guard(), name=name)
