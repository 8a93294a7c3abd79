"""Bodies of answers as they come: before a deadline, within bounds, unpacked, to their end."""

from __future__ import annotations

import http.client
import json
import socket
import time
import zlib
from collections.abc import Iterator
from typing import Any

from gpufleet.client.errors import Broken, Unreachable

PIECE_BYTES = 1 << 16
MOST_BYTES = 256 << 20
"""No document of a hub is as large; whoever sends more is none."""


class Deadline:
    """A moment by which everything must have come. ``None``: never."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds that are left; TimeoutError where none are."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def pieces(
    response: http.client.HTTPResponse, sock: socket.socket, deadline: Deadline
) -> Iterator[bytes]:
    """The body in pieces, whatever size they come in. Unreachable where it ends too early."""
    while True:
        sock.settimeout(deadline.left())
        piece = response.read1(PIECE_BYTES)
        if not piece:
            break
        yield piece
    if response.length:
        raise Unreachable("The answer broke off.")


def unpacked(packed: Iterator[bytes], encoding: str | None) -> Iterator[bytes]:
    """The pieces without their packing; Broken where it is another than gzip, or damaged."""
    if encoding in (None, "", "identity"):
        yield from packed
        return
    if encoding != "gzip":
        raise Broken("The answer is packed in a way that nobody asked for.")
    unpack = zlib.decompressobj(wbits=31)
    try:
        for piece in packed:
            rest = piece
            while rest:
                yield unpack.decompress(rest, PIECE_BYTES)
                rest = unpack.unconsumed_tail
        yield unpack.flush()
    except zlib.error:
        raise Broken("The answer is damaged.") from None
    if not unpack.eof:
        raise Broken("The answer is damaged: its end is missing.")


def gathered(parts: Iterator[bytes]) -> bytes:
    """The whole body; Broken where it grows beyond every reason."""
    whole = bytearray()
    for part in parts:
        whole += part
        if len(whole) > MOST_BYTES:
            raise Broken("The answer is far larger than a hub's.")
    return bytes(whole)


def document(text: bytes) -> Any:
    """JSON; Broken where it is something else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Broken("The answer is something else than JSON: is it a hub?") from None
