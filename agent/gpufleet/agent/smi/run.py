"""Runs nvidia-smi and dcgmi: bounded in time and output, in a process group that can be killed."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

LONGEST_OUTPUT = 8 << 20
"""Twenty times what eight B200 say."""
LONGEST_ERRORS = 64 << 10
_KILL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program said; ``code`` is its exit status, negative for a signal."""

    output: bytes
    errors: bytes
    code: int


class CommandFailed(Exception):
    """A program could not be run to its end. The text is one sentence for people.

    ``left`` is the process that could not even be killed (it hangs in the kernel), None otherwise.
    """

    def __init__(self, sentence: str, left: subprocess.Popen[bytes] | None = None) -> None:
        super().__init__(sentence)
        self.left = left


class CommandMissing(CommandFailed):
    """There is no such program on the PATH."""


def run(
    program: str, arguments: Sequence[str], seconds: float, environment: Mapping[str, str]
) -> Outcome:
    """Run it; CommandFailed if it is not there, takes too long or says too much."""
    path = shutil.which(program, path=environment.get("PATH", os.defpath))
    if path is None:
        raise CommandMissing(f"There is no {program} on the PATH.")
    clean = {name: value for name, value in environment.items() if not name.startswith("GPUFLEET")}
    try:
        process = subprocess.Popen(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**clean, "LC_ALL": "C"},
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"{path} cannot be run: {error.strerror}.") from error
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        pipes = _Pipes(process.stdout, process.stderr)
        trouble = pipes.read(process, time.monotonic() + seconds)
        if trouble is None:
            return Outcome(bytes(pipes.output), bytes(pipes.errors), process.wait())
    left = None if _killed(process) else process
    words = {
        _LATE: f"did not end within {seconds:g} s and was stopped",
        _LARGE: f"wrote more than {LONGEST_OUTPUT >> 20} MiB and was stopped",
    }[trouble]
    if left is not None:
        words = f"did not end within {seconds:g} s and cannot be killed (process {process.pid})"
    raise CommandFailed(f"{program} {' '.join(arguments)} {words}.", left)


def _killed(process: subprocess.Popen[bytes]) -> bool:
    """Kill the group; False if the process does not go."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


_LATE, _LARGE = "late", "large"


class _Pipes:
    """Reads both pipes as they fill."""

    def __init__(self, output: IO[bytes], errors: IO[bytes]) -> None:
        self.output = bytearray()
        self.errors = bytearray()
        self._files = {output: (self.output, LONGEST_OUTPUT), errors: (self.errors, LONGEST_ERRORS)}

    def read(self, process: subprocess.Popen[bytes], deadline: float) -> str | None:
        """Until the process has ended and said everything, or the trouble that came first."""
        with selectors.DefaultSelector() as selector:
            for file in self._files:
                os.set_blocking(file.fileno(), False)
                selector.register(file, selectors.EVENT_READ)
            while selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0:
                    return _LATE
                # A grandchild may keep the pipes open: the process's own end is looked for too.
                ready = selector.select(min(left, 0.5))
                if not ready and process.poll() is not None:
                    break
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                        continue
                    kept, most = self._files[key.fileobj]  # type: ignore[index]  # only files are registered
                    if len(kept) + len(data) > most:
                        if kept is self.output:
                            return _LARGE
                        data = data[: most - len(kept)]
                    kept += data
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return _LATE
        return None


class OneAtATime:
    """Never two nvidia-smi of this process at once: they wait for one another in the driver."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: subprocess.Popen[bytes] | None = None

    def run(
        self, program: str, arguments: Sequence[str], seconds: float, environment: Mapping[str, str]
    ) -> Outcome:
        """Like ``run``; waits at most ``seconds`` for the one that runs."""
        if not self._lock.acquire(timeout=seconds):
            raise CommandFailed(
                f"Another {program} of this agent did not end within {seconds:g} s."
            )
        try:
            if self._left is not None and self._left.poll() is None:
                raise CommandFailed(
                    f"An earlier {program} (process {self._left.pid}) hangs in the driver and "
                    "cannot be killed: reboot the node."
                )
            self._left = None
            return run(program, arguments, seconds, environment)
        except CommandFailed as failed:
            if failed.left is not None:
                self._left = failed.left
            raise
        finally:
            self._lock.release()


NVIDIA_SMI = OneAtATime()
"""For every collector of this process."""
