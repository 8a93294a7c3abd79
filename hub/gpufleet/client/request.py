"""One GET of a hub, for commands that ask once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from gpufleet.client.address import USUAL_HUB, Query
from gpufleet.client.errors import HubError
from gpufleet.client.hub import TOKEN_VARIABLE, Hub

__all__ = ["TOKEN_VARIABLE", "USUAL_HUB", "HubError", "get_json", "get_pieces"]

TIMEOUT_SECONDS = 60.0


def get_json(hub: str, path: str, query: Query) -> Any:
    """The document at a path of the hub; HubError says why there is none."""
    with closing(Hub(hub, timeout=TIMEOUT_SECONDS)) as asked:
        return asked.get(path, query)


def get_pieces(hub: str, path: str, query: Query) -> Iterator[bytes]:
    """The body at a path of the hub as it comes; a body that ends too early is a HubError."""
    with (
        closing(Hub(hub, timeout=TIMEOUT_SECONDS)) as asked,
        asked.open(path, query) as pieces,
    ):
        yield from pieces
