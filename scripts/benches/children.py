"""Processes that a bench starts, watches through /proc and always stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class BenchFailed(Exception):
    """The bench cannot go on. The text says why."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used so far: CPU seconds, resident MiB now and at its peak."""

    cpu_seconds: float
    rss_mib: float
    peak_mib: float


class Child:
    """A process with its output in a file, ended when the ``with`` block is left."""

    def __init__(self, name: str, command: Sequence[str], log: Path, env: dict[str, str]) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env
            )
        self.pid = self._process.pid

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)

    def usage(self) -> Usage:
        """From /proc; BenchFailed when the process has ended."""
        self.check()
        try:
            return usage_of(self.pid)
        except OSError:
            raise BenchFailed(f"{self.name} ended:\n{self.tail()}") from None

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def check(self) -> None:
        """BenchFailed when the process has ended."""
        if self._process.poll() is not None:
            status = self._process.returncode
            raise BenchFailed(f"{self.name} ended with status {status}:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def wait(self, seconds: float) -> int:
        """Its exit status; BenchFailed when it does not end in time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise BenchFailed(f"{self.name} did not end within {seconds:g} s") from None

    def terminate(self, seconds: float) -> int:
        """SIGTERM, and its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self.wait(seconds)


def usage_of(pid: int) -> Usage:
    """What a process used, from /proc; OSError when it has ended."""
    # The second field is the program's name in brackets, which may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    sizes = {
        line.split(":")[0]: int(line.split()[1]) / 1024
        for line in status.splitlines()
        if line.startswith(("VmRSS:", "VmHWM:"))
    }
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
    return Usage(cpu, sizes.get("VmRSS", 0.0), sizes.get("VmHWM", 0.0))


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for_port(port: int, child: Child, seconds: float) -> None:
    """Until somebody listens; BenchFailed when the child ends or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        child.check()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise BenchFailed(f"{child.name} does not listen on port {port} after {seconds:g} s")
