"""Opens PostgreSQL so that no server, however it fails, holds a thread of the hub for long."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import NoSuchModuleError

from gpufleet.hub.store.errors import StoreUnusable

CALL_SECONDS = 15.0
"""The longest that the hub waits for one answer of the server."""
CONNECT_SECONDS = 3
"""For each host of the URL."""
POOL_SECONDS = 10.0

_CONNECTION: dict[str, str | int] = {
    "connect_timeout": CONNECT_SECONDS,
    "tcp_user_timeout": 3000,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
}
"""What the URL does not say: a peer that is gone is noticed early."""

_ELSEWHERE = frozenset({"25006", "57P01", "57P02", "57P03"})
"""sqlstates after which another server must be asked: read-only (a standby now), shutting down."""

T = TypeVar("T")


def postgres_engine(
    url: URL,
    name: str,
    *,
    call_seconds: float | None = CALL_SECONDS,
    writable: bool = True,
    connections: int = 10,
) -> Engine:
    """An engine whose every call ends within ``call_seconds``, whatever the server does.

    ``name`` is what the server calls our sessions. With ``writable`` only a primary will do: of
    several hosts in the URL the first that is one. Nothing is connected yet.
    """
    try:
        connection_class = _deadline_connection()
    except ModuleNotFoundError as error:
        raise StoreUnusable(
            "PostgreSQL needs the package psycopg: pip install 'gpufleet[postgres]'."
        ) from error
    given = {key: value for key, value in _CONNECTION.items() if key not in url.query}
    if writable and "target_session_attrs" not in url.query:
        given["target_session_attrs"] = "read-write"
    try:
        engine = create_engine(
            url,
            connect_args={**given, "application_name": name},
            pool_pre_ping=True,
            pool_timeout=POOL_SECONDS,
            pool_size=connections,
            max_overflow=0,
        )
    except NoSuchModuleError as error:
        raise StoreUnusable(f"The database URL cannot be used: {error}.") from error

    def connect(dialect: object, record: object, args: Any, parameters: Any) -> Any:
        connection = connection_class.connect(*args, **parameters)
        connection.call_seconds = call_seconds
        return connection

    def prepare(connection: Any, record: object) -> None:
        milliseconds = 0 if call_seconds is None else int(call_seconds * 1000)
        connection.execute(f"SET statement_timeout = {milliseconds}")
        connection.commit()

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", prepare)
    event.listen(engine, "handle_error", _leave_server)
    return engine


def _leave_server(context: ExceptionContext) -> None:
    """A server that cannot serve us any more takes all its connections with it."""
    if getattr(context.original_exception, "sqlstate", None) in _ELSEWHERE:
        context.is_disconnect = True


def _deadline_connection() -> Any:
    """psycopg's connection, with a deadline on this side for everything that waits.

    Timeouts of the server and of TCP do not help against a server that is frozen: its kernel
    goes on answering.
    """
    import psycopg

    class DeadlineConnection(psycopg.Connection[Any]):
        call_seconds: float | None = None

        def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
            if self.call_seconds is None:
                return super().wait(gen, *args, **options)
            try:
                return super().wait(_until(gen, self.call_seconds), *args, **options)
            except _NoAnswer:
                self.close()
                raise psycopg.OperationalError(
                    f"the server did not answer within {self.call_seconds:g} s"
                ) from None

    return DeadlineConnection


class _NoAnswer(Exception):
    """The deadline has passed."""


def _until(gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """``gen``, which psycopg resumes every tenth of a second, until the deadline."""
    deadline = time.monotonic() + seconds
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready and time.monotonic() > deadline:
                raise _NoAnswer
            state = gen.send(ready)
    except StopIteration as stop:
        result: T = stop.value
        return result
