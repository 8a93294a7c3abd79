"""A hub over HTTP: one kept connection, deadlines, answers as JSON, errors as sentences."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from gpufleet.client.address import Query, parse_address
from gpufleet.client.body import Deadline, document, gathered, pieces, unpacked
from gpufleet.client.errors import Broken, HubError, Refused, Unreachable

TOKEN_VARIABLE = "GPUFLEET_TOKEN"
TIMEOUT_SECONDS = 10.0
_LET_GO = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
_SENTENCE_BYTES = 65_536


class Hub:
    """A hub. For one thread at a time, but for ``cancel``; ``another`` is for the next thread.

    ``token`` is sent as a bearer token (``$GPUFLEET_TOKEN`` unless given), ``tls`` judges the
    certificate of an https address (the system's authorities unless given). ``timeout`` seconds
    are for a whole answer. Whatever goes wrong is a HubError.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.address = parse_address(url)
        self.url = self.address.text
        self._token = os.environ.get(TOKEN_VARIABLE) if token is None else token
        self._tls = tls
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self._answering: socket.socket | None = None
        self._cancelled = False

    def another(self) -> Hub:
        """The same hub over a connection of its own."""
        return Hub(self.url, token=self._token or "", tls=self._tls, timeout=self._timeout)

    def get(self, path: str, query: Query | None = None) -> Any:
        """The document at a path."""
        return self._document("GET", self.address.target(path, query), None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to an order; it is told once, whatever happens."""
        return self._document("POST", self.address.target(path), json.dumps(body).encode())

    def delete(self, path: str) -> Any:
        """The answer to a removal; it is told once, whatever happens."""
        return self._document("DELETE", self.address.target(path), None)

    @contextmanager
    def open(
        self,
        path: str,
        query: Query | None = None,
        *,
        accept: str = "*/*",
        timeout: float | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """A body piece by piece, over however long; ``timeout`` seconds may pass between two."""
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        quiet = timeout or self._timeout
        with ExitStack() as stack:
            with self._sentences(quiet):
                answer = self._answer("GET", self.address.target(path, query), None, headers, quiet)
                response, sock = stack.enter_context(answer)
            yield self._steady(response, sock, quiet)

    def cancel(self) -> None:
        """Ends the answer that another thread waits for, and every one until ``uncancel``."""
        self._cancelled = True
        sock = self._answering
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def uncancel(self) -> None:
        """Whoever asks does so before it looks what is wanted: no ``cancel`` is missed then."""
        self._cancelled = False

    def close(self) -> None:
        """Lets the connection go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _document(self, method: str, target: str, body: bytes | None) -> Any:
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        with self._sentences():
            deadline = Deadline(self._timeout)
            answer = self._answer(method, target, body, headers, self._timeout)
            with answer as (response, sock):
                encoding = response.headers.get("Content-Encoding")
                whole = gathered(unpacked(pieces(response, sock, deadline), encoding))
        return document(whole) if whole else None

    @contextmanager
    def _answer(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: float,
    ) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        """An answer with its head read. Its connection is kept only if the body was read."""
        kept = self._connection is not None and method == "GET"
        if not kept:
            self.close()
        try:
            response, sock = self._begin(method, target, body, headers, timeout)
        except _LET_GO:
            if not kept or self._cancelled:
                raise
            # The hub let a kept connection go while nobody used it: ask again on a new one.
            self.close()
            response, sock = self._begin(method, target, body, headers, timeout)
        try:
            if response.status >= 300:
                raise self._refusal(response)
            yield response, sock
        finally:
            self._answering = None
            whole = response.isclosed() or response.length == 0
            response.close()
            if not whole or response.will_close:
                self.close()

    def _begin(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: float,
    ) -> tuple[http.client.HTTPResponse, socket.socket]:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._new(timeout)
            connection.connect()
        sock = connection.sock
        sock.settimeout(timeout)
        self._answering = sock
        if self._cancelled:
            raise ConnectionAbortedError("it was cancelled")
        more = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        connection.request(method, target, body, {**headers, **more})
        return connection.getresponse(), sock

    def _new(self, timeout: float) -> http.client.HTTPConnection:
        where = self.address
        if where.encrypted:
            tls = self._tls or ssl.create_default_context()
            return http.client.HTTPSConnection(where.host, where.port, timeout=timeout, context=tls)
        return http.client.HTTPConnection(where.host, where.port, timeout=timeout)

    def _refusal(self, response: http.client.HTTPResponse) -> HubError:
        """The sentence of a problem document, or the bare status."""
        if response.status < 400:
            return Broken(f"{self.url} sends us elsewhere: is it a hub?")
        try:
            detail = json.loads(response.read(_SENTENCE_BYTES)).get("detail")
        except (ValueError, AttributeError, RecursionError, OSError, http.client.HTTPException):
            detail = None
        said = f"The hub at {self.url} answered {response.status} {response.reason}."
        return Refused(response.status, detail if isinstance(detail, str) and detail else said)

    def _steady(
        self, response: http.client.HTTPResponse, sock: socket.socket, quiet: float
    ) -> Iterator[bytes]:
        with self._sentences(quiet):
            yield from pieces(response, sock, _Steady(quiet))

    @contextmanager
    def _sentences(self, timeout: float | None = None) -> Iterator[None]:
        """Whatever goes wrong inside, as a HubError with a sentence."""
        try:
            yield
        except HubError:
            self.close()
            raise
        except TimeoutError:
            self.close()
            waited = f"nothing came within {timeout or self._timeout:g} s"
            raise Unreachable(f"The hub at {self.url} does not answer: {waited}.") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> HubError:
        if self._cancelled:
            return Unreachable("The question was withdrawn.")
        if isinstance(error, http.client.IncompleteRead):
            return Unreachable(f"The hub at {self.url} does not answer: the answer broke off.")
        if isinstance(error, ssl.SSLError):
            return Broken(f"{self.url} does not speak TLS as a hub does: {error.reason or error}.")
        if isinstance(error, OSError | http.client.RemoteDisconnected):
            reason = error.strerror or error or type(error).__name__
            return Unreachable(f"The hub at {self.url} does not answer: {reason}.")
        return Broken(f"{self.url} answered with something else than HTTP: is it a hub?")


class _Steady(Deadline):
    """A deadline that begins anew with every piece."""

    def __init__(self, seconds: float) -> None:
        super().__init__(None)
        self._each = seconds

    def left(self) -> float:
        return self._each
