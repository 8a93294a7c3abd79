"""A server that answers HTTP with whatever bytes a test says: garbage, half answers, silence."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType

Reply = Callable[[bytes, socket.socket], None]
"""Is given the head of a request, and writes to the socket; the connection stays open after it."""


def says(*pieces: bytes) -> Reply:
    """Answers every request with these bytes."""

    def reply(_: bytes, sock: socket.socket) -> None:
        for piece in pieces:
            sock.sendall(piece)

    return reply


def closes(*pieces: bytes) -> Reply:
    """The same, and then closes the connection."""

    def reply(_: bytes, sock: socket.socket) -> None:
        for piece in pieces:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_RDWR)

    return reply


def http(status: str, body: bytes, *headers: str) -> bytes:
    """A whole answer."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class OddServer:
    """Listens on loopback; a context. ``heads`` are the requests that came, ``met`` counts
    connections."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.heads: list[bytes] = []
        self.met = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._came = threading.Condition()

    def __enter__(self) -> OddServer:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def wait(self, requests: int) -> None:
        """Until so many requests came."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.heads) >= requests, 30)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.met += 1
            self._open.append(sock)
            self._start(lambda sock=sock: self._serve(sock))  # type: ignore[misc]

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            rest = b""
            while True:
                while b"\r\n\r\n" not in rest:
                    piece = sock.recv(65536)
                    if not piece:
                        return
                    rest += piece
                head, _, rest = rest.partition(b"\r\n\r\n")
                with self._came:
                    self.heads.append(head)
                    self._came.notify_all()
                self.reply(head, sock)
