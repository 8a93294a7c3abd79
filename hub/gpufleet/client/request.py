"""One GET of a hub over the standard library's HTTP, read whole or piece by piece."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

USUAL_HUB = "http://127.0.0.1:9555"
TOKEN_VARIABLE = "GPUFLEET_TOKEN"
TIMEOUT_SECONDS = 60.0
PIECE_BYTES = 1 << 16


class HubError(Exception):
    """The hub did not answer, or refused. One sentence."""


def get_json(hub: str, path: str, query: Mapping[str, str | Sequence[str] | None]) -> Any:
    """The document at a path of the hub; HubError says why there is none."""
    whole = b"".join(get_pieces(hub, path, query))
    try:
        return json.loads(whole)
    except ValueError:
        raise HubError(f"{hub} answered with something else than JSON: is it a hub?") from None


def get_pieces(
    hub: str, path: str, query: Mapping[str, str | Sequence[str] | None]
) -> Iterator[bytes]:
    """The body at a path of the hub as it comes; a body that ends too early is a HubError."""
    given = {name: value for name, value in query.items() if value}
    url = f"{hub.rstrip('/')}{path}?{urllib.parse.urlencode(given, doseq=True)}"
    headers = {"Accept": "*/*"}
    token = os.environ.get(TOKEN_VARIABLE)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise HubError(f"{hub[:200]!r} is no hub's address; write {USUAL_HUB} or the like.")
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS
        ) as response:
            while piece := response.read(PIECE_BYTES):
                yield piece
    except urllib.error.HTTPError as error:
        with error:
            raise HubError(_told(hub, error)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(error, http.client.IncompleteRead):
            reason = "the answer broke off"
        raise HubError(f"The hub at {hub} does not answer: {reason}.") from None


def _told(hub: str, error: urllib.error.HTTPError) -> str:
    """The sentence of a problem document, or the bare status."""
    try:
        detail = json.loads(error.read(65_536)).get("detail")
    except (ValueError, AttributeError, OSError):
        detail = None
    return str(detail) if detail else f"The hub at {hub} answered {error.code} {error.reason}."
