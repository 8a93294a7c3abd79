"""A program in a real pseudo-terminal, whose screen pyte keeps: type, resize, look."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import ClassVar

import pyte
from wcwidth import wcwidth


class FullScreen(pyte.Screen):
    """pyte's screen with the three things that ncurses uses and pyte lacks: SU, SD and REP."""

    last = " "

    def draw(self, data: str) -> None:
        """Writes text."""
        super().draw(data)
        self.last = data[-1:] or self.last

    def scroll_up(self, count: int = 1) -> None:
        """SU: lines within the margins go up."""
        self._scroll(count or 1, self.index, bottom=True)

    def scroll_down(self, count: int = 1) -> None:
        """SD: they go down."""
        self._scroll(count or 1, self.reverse_index, bottom=False)

    def _scroll(self, count: int, once: Callable[[], None], bottom: bool) -> None:
        margins = self.margins
        edges = (0, self.lines - 1) if margins is None else (margins.top, margins.bottom)
        y, self.cursor.y = self.cursor.y, edges[bottom]
        for _ in range(count):
            once()
        self.cursor.y = y

    def repeat(self, count: int = 1) -> None:
        """REP: the last character again."""
        self.draw(self.last * (count or 1))


class FullStream(pyte.ByteStream):
    """pyte's parser with the signs of FullScreen."""

    csi: ClassVar[dict[str, str]] = {
        **pyte.ByteStream.csi,
        "S": "scroll_up",
        "T": "scroll_down",
        "b": "repeat",
    }
    events = pyte.ByteStream.events | {"scroll_up", "scroll_down", "repeat"}


class PtyScreen:
    """Runs a command in a terminal of ``size`` (columns, rows). A context: it ends with it."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        size: tuple[int, int] = (80, 24),
    ) -> None:
        self.screen = FullScreen(*size)
        self._stream = FullStream(self.screen)
        self._master, slave = pty.openpty()
        self._set_size(slave, size)
        self.process = subprocess.Popen(
            list(command),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(environ),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.received = 0
        self.raw = b""

    def __enter__(self) -> PtyScreen:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    @staticmethod
    def _set_size(descriptor: int, size: tuple[int, int]) -> None:
        columns, rows = size
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns: int, rows: int) -> None:
        """Another size, told to the program as a terminal does."""
        self.screen.resize(rows, columns)
        self._set_size(self._master, (columns, rows))
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGWINCH)

    def type(self, keys: str | bytes) -> None:
        """Sends keys as a terminal would."""
        os.write(self._master, keys if isinstance(keys, bytes) else keys.encode())

    def read(self, seconds: float) -> bool:
        """Takes what the program wrote, waiting so long for the first of it; false at its end."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:
            return False
        self.received += len(data)
        self.raw = (self.raw + data)[-200_000:]
        self._stream.feed(data)
        return bool(data)

    def lines(self) -> list[str]:
        """The rows of the screen. Half of an overwritten wide character is a blank."""
        return [self._line(row) for row in range(self.screen.lines)]

    def _line(self, row: int) -> str:
        found = []
        covered = False
        for column in range(self.screen.columns):
            cell = self.screen.buffer[row][column].data
            if cell == "":
                found.append("" if covered else " ")
            else:
                found.append(cell)
            covered = cell != "" and wcwidth(cell[0]) == 2
        return "".join(found)

    def text(self) -> str:
        """The whole screen."""
        return "\n".join(self.lines())

    def wait(self, seen: Callable[[str], bool], what: str, seconds: float = 20.0) -> str:
        """Until the screen is so; AssertionError with the screen if it never is."""
        deadline = time.monotonic() + seconds
        while not seen(self.text()):
            alive = self.read(0.05)
            left = deadline - time.monotonic()
            if not alive or left <= 0:
                raise AssertionError(f"never {what}; the screen:\n{self.text()}")
        return self.text()

    def settle(self, quiet: float = 0.15, seconds: float = 5.0) -> str:
        """Until nothing was written for ``quiet`` seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            before = self.received
            if not self.read(quiet) or self.received == before:
                break
        return self.text()

    def end(self, seconds: float = 10.0) -> int:
        """Waits for the program's end, reading what it still writes; its exit status."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        while self.read(0.05) and select.select([self._master], [], [], 0.05)[0]:
            pass
        assert self.process.poll() is not None, f"it did not end; the screen:\n{self.text()}"
        return int(self.process.returncode)
