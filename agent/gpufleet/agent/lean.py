"""Keeps OpenSSL out of an agent: gRPC has a TLS of its own, and Python has hashes of its own.

gRPC's module imports asyncio, and that the TLS which an agent never uses; hashlib asks OpenSSL
first. Without both an agent is 4.5 MiB smaller (`scripts/bench agent`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec


def load() -> None:
    """Import gRPC and hashlib; for a process that is an agent and nothing else.

    Both know Pythons without OpenSSL. Whoever needs ``ssl`` later in this process can import it;
    only asyncio stays without TLS.
    """
    own_hashes = find_spec("_md5") is not None  # some distributions leave them to OpenSSL
    with _absent(("ssl", "_hashlib") if own_hashes else ("ssl",)):
        import hashlib  # noqa: F401

        import grpc  # noqa: F401


@contextmanager
def _absent(names: Sequence[str]) -> Iterator[None]:
    """``import`` finds none of these, but for what is loaded already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # None: not to be found
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
