"""A hub's REST as the terminal needs it: one kept connection, JSON, errors as sentences."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gpufleet.client.request import TOKEN_VARIABLE, USUAL_HUB, HubError

TIMEOUT_SECONDS = 10.0
Query = Mapping[str, str | Sequence[str] | None]


class Hub(Protocol):
    """Whoever answers. ``HubError`` is the only thing that goes wrong."""

    def get(self, path: str, query: Query | None = None) -> Any:
        """The document at a path."""

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to an order."""

    def close(self) -> None:
        """Lets the connection go."""


class Refused(HubError):
    """The hub answered, and refused."""


class RestHub:
    """A hub over HTTP. For one thread at a time."""

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS) -> None:
        try:
            parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise HubError(f"{url[:200]!r} is no hub's address; write {USUAL_HUB} or the like.")
        self._url = url
        self._base = parts.path.rstrip("/")
        self._timeout = timeout
        self._parts = parts
        self._connection: http.client.HTTPConnection | None = None
        self._headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        token = os.environ.get(TOKEN_VARIABLE)
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, query: Query | None = None) -> Any:
        """The document at a path."""
        given = {name: value for name, value in (query or {}).items() if value}
        asked = f"?{urllib.parse.urlencode(given, doseq=True)}" if given else ""
        return self._ask("GET", path + asked, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to an order."""
        return self._ask("POST", path, json.dumps(body).encode())

    def close(self) -> None:
        """Lets the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        kept = self._connection is not None
        try:
            return self._once(method, path, body)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            self.close()
            if not kept:
                raise self._silent(error) from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._silent(error) from None
        # The hub let a kept connection go while nobody used it: ask again on a new one.
        try:
            return self._once(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._silent(error) from None

    def _silent(self, error: Exception) -> HubError:
        if isinstance(error, TimeoutError):
            reason: object = f"nothing came within {self._timeout:g} s"
        else:
            reason = getattr(error, "strerror", None) or error
        return HubError(f"The hub at {self._url} does not answer: {reason}.")

    def _once(self, method: str, path: str, body: bytes | None) -> Any:
        if self._connection is None:
            self._connection = _connection(self._parts, self._timeout)
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        self._connection.request(method, self._base + path, body, headers)
        response = self._connection.getresponse()
        found = response.read()
        if response.headers.get("Content-Encoding") == "gzip":
            try:
                found = gzip.decompress(found)
            except (OSError, EOFError):
                raise HubError(f"The answer of {self._url} is damaged.") from None
        if response.status >= 400:
            raise Refused(_told(self._url, response.status, response.reason, found))
        if not found:
            return None
        try:
            return json.loads(found)
        except ValueError:
            raise HubError(
                f"{self._url} answered with something else than JSON: is it a hub?"
            ) from None


def _connection(parts: urllib.parse.SplitResult, timeout: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        import ssl  # only where it is needed: it takes a third of the start's time

        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=timeout)


def _told(url: str, status: int, reason: str, body: bytes) -> str:
    """The sentence of a problem document, or the bare status."""
    try:
        detail = json.loads(body).get("detail")
    except (ValueError, AttributeError):
        detail = None
    return str(detail) if detail else f"The hub at {url} answered {status} {reason}."
