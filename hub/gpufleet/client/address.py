"""Where a hub is: the address that a person writes, taken apart."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpufleet.client.errors import BadAddress

USUAL_PORT = 9555
USUAL_HUB = f"http://127.0.0.1:{USUAL_PORT}"
Query = Mapping[str, str | Sequence[str] | None]
"""Parameters of a question; one without a value is left out."""


@dataclass(frozen=True, slots=True)
class Address:
    """A hub's address; ``base`` goes before every path, for hubs behind a proxy."""

    text: str
    encrypted: bool
    host: str
    port: int
    base: str = ""

    def target(self, path: str, query: Query | None = None) -> str:
        """What the request line asks for."""
        given = {name: value for name, value in (query or {}).items() if value}
        asked = f"?{urllib.parse.urlencode(given, doseq=True)}" if given else ""
        return f"{self.base}{path}{asked}"


def parse_address(text: str) -> Address:
    """``http://host:9555``, ``https://…/path``, or ``host`` alone, which means port 9555."""
    bad = BadAddress(f"{text[:200]!r} is no hub's address; write {USUAL_HUB} or the like.")
    given = text.strip()
    bare = "//" not in given
    try:
        parts = urllib.parse.urlsplit(f"http://{given}" if bare else given)
        host, port = parts.hostname, parts.port
        if host is not None:
            host.encode("idna" if not host.isascii() else "ascii")
    except ValueError:
        raise bad from None
    strange = any(c.isspace() or not c.isprintable() for c in given)
    if parts.scheme not in ("http", "https") or not host or port == 0 or strange:
        raise bad
    if port is None:
        port = USUAL_PORT if bare else 443 if parts.scheme == "https" else 80
    base = urllib.parse.quote(parts.path.rstrip("/"), safe="/%")
    return Address(given.rstrip("/"), parts.scheme == "https", host, port, base)


def path_part(text: str) -> str:
    """A name as one part of a path, whatever is in it."""
    return urllib.parse.quote(text, safe="")
