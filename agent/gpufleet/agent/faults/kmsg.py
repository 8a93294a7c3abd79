"""Reads /dev/kmsg without ever waiting: new records, and those that nobody has read yet.

At the first start on a boot the last ten minutes are read, so that what happened while the machine
started is not missed; after a restart of the agent, everything since it stopped. Only records of
the kernel itself count: anybody who may write to /dev/kmsg can write the rest. See
Documentation/ABI/testing/dev-kmsg of the kernel for the format.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from gpufleet.agent.clock import Clock

LOOK_BACK_SECONDS = 600.0
_RECORD_BYTES = 16_384
_MOST_READS = 4096
"""Records read at one poll: a flood of them must not hold up the tick."""
_LATE_SECONDS = 10.0
_HEAD = re.compile(rb"(\d{1,6}),(\d{1,20}),(\d{1,20}),[^;]*;(.*)", re.DOTALL)
_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the kernel's log; a record of several lines is several of these."""

    time_ms: int
    text: str


class Kmsg:
    """One reader; ``sentence`` says why it cannot read, once it cannot."""

    def __init__(self, path: Path, clock: Clock, boot_id: str, position: str | None = None) -> None:
        """``position`` is what ``position`` was when an earlier run stopped."""
        self._path = path
        self._clock = clock
        self._boot_id = boot_id
        self._fd: int | None = None
        self._caught_up = False
        self._since = clock.monotonic() - LOOK_BACK_SECONDS
        self._after = _sequence(position, boot_id)
        self._last = self._after
        self.lost = 0
        """How often the kernel had overwritten records before they were read."""
        self.sentence = ""

    @property
    def position(self) -> str | None:
        """The boot and the last record read, for a later run; None: not known."""
        if self._last is None or not self._boot_id:
            return None
        return f"{self._boot_id} {self._last}"

    def poll(self) -> list[Line]:
        """What came since the last call."""
        if self._fd is None and not self.sentence:
            self._open()
        lines: list[Line] = []
        for _ in range(_MOST_READS):
            data = self._read()
            if not data:
                break
            lines += self._lines(data)
        return lines

    def close(self) -> None:
        """Let the file go."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            self.sentence = (
                f"There is no {self._path}: Xids are told by NVML only; give a container the "
                "device /dev/kmsg to read them from the kernel's log as well."
            )
        except PermissionError:
            self.sentence = (
                f"{self._path} may not be read by this user: Xids are told by NVML only; run the "
                "agent as root or with the capability CAP_SYSLOG."
            )
        except OSError as error:
            self.sentence = f"{self._path} cannot be opened: {error.strerror}."

    def _read(self) -> bytes:
        """One record, empty where there is none now."""
        while self._fd is not None:
            try:
                data = os.read(self._fd, _RECORD_BYTES)
            except BlockingIOError:
                data = b""
            except OSError as error:
                if error.errno == errno.EPIPE:
                    self.lost += 1
                    continue
                self.close()
                self.sentence = f"{self._path} cannot be read any more: {error.strerror}."
                return b""
            if not data:
                self._caught_up = True
            return data
        return b""

    def _lines(self, data: bytes) -> list[Line]:
        head = _HEAD.match(data)
        if head is None:
            return []
        priority, sequence, micros = int(head[1]), int(head[2]), int(head[3])
        if self._after is not None and sequence <= self._after:
            return []
        self._last = sequence
        logged = micros / 1e6
        old = not self._caught_up and self._after is None and logged < self._since
        if priority >> 3 != 0 or old:
            return []
        # The first line is the message; what follows are the record's properties.
        message = head[4].partition(b"\n")[0]
        if b"NVRM" not in message and b"SXid" not in message:
            return []
        time_ms = self._time_ms(logged)
        text = _ESCAPE.sub(lambda m: bytes([int(m[1], 16)]), message).decode(errors="replace")
        return [Line(time_ms, line) for line in text.split("\n") if line]

    def _time_ms(self, logged: float) -> int:
        """When it was logged. The kernel's clock drifts, so a fresh record is from now."""
        age = max(0.0, self._clock.monotonic() - logged)
        if self._caught_up and age > _LATE_SECONDS:
            age = 0.0
        return self._clock.wall_ms() - round(age * 1000)


def _sequence(position: str | None, boot_id: str) -> int | None:
    boot, _, number = (position or "").partition(" ")
    if not boot or boot != boot_id or not (number.isascii() and number.isdigit()):
        return None
    return int(number)
