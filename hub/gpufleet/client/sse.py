"""Server-sent events out of the bytes of a stream, in whatever pieces they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gpufleet.client.errors import Broken

MOST_BYTES = 256 << 20
"""Of one event. The whole list of 10,000 GPUs with every field has 20 MB."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; ``data`` is its text as it was sent. A comment has no name and no data."""

    name: str
    data: bytes


class EventParser:
    """Takes bytes, gives events (WHATWG HTML, "Server-sent events")."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._looked = 0
        self._after_cr = False
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """The events that are complete with this piece."""
        if self._after_cr and piece:
            self._after_cr = False
            if piece.startswith(b"\n"):
                piece = piece[1:]
        self._rest += piece
        self._size += len(piece)
        if self._size > MOST_BYTES:
            raise Broken("The stream sends one event without end: is it a hub?")
        for line in self._lines():
            if line:
                comment = self._take(line)
                if comment:
                    yield ServerEvent("", b"")
                continue
            if self._data:
                yield ServerEvent(self._name or "message", b"\n".join(self._data))
            self._name, self._data, self._size = "", [], len(self._rest)

    def _lines(self) -> Iterator[bytes]:
        """Complete lines, which end with CR, LF or both; the rest is kept."""
        start = 0
        rest = self._rest
        at = self._looked
        while True:
            feed, turn = rest.find(b"\n", at), rest.find(b"\r", at)
            if turn >= 0 and (feed < 0 or turn < feed):
                end, after = turn, turn + 1
                if after == len(rest):
                    self._after_cr = True
                elif rest[after] == 0x0A:
                    after += 1
            elif feed >= 0:
                end, after = feed, feed + 1
            else:
                break
            yield bytes(rest[start:end])
            start = at = after
        del rest[:start]
        self._looked = len(rest)

    def _take(self, line: bytes) -> bool:
        """Takes a line that is not empty; whether it was a comment."""
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode(errors="replace")
        return not field
