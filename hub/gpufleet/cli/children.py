"""Child processes that never outlive this one, however it ends.

The kernel kills them when this process dies (PR_SET_PDEATHSIG), so that even SIGKILL leaves nothing
running. Signals are taken one at a time with ``wait_for_signal`` instead of handlers: nothing is
ever interrupted half-way.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
TAKEN = ENDING | {signal.SIGCHLD}
PR_SET_PDEATHSIG = 1  # linux/prctl.h
LOG_TAIL_LINES = 12


def take_signals() -> None:
    """From now on ending signals and deaths of children wait for ``wait_for_signal``."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)


def wait_for_signal(seconds: float) -> signal.Signals | None:
    """Sleeps until one of the taken signals comes or the time is over."""
    info = signal.sigtimedwait(TAKEN, max(seconds, 0))
    return None if info is None else signal.Signals(info.si_signo)


@dataclass(frozen=True, slots=True)
class Child:
    """One child process, whose output goes to a file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def ended(self) -> int | None:
        """Its exit status (negative: the signal), None while it runs."""
        return self.process.poll()

    def output(self) -> str:
        """What it wrote."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.output().splitlines()[-LOG_TAIL_LINES:])


def start(name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Child:
    """Starts a child in a session of its own, so that Ctrl-C reaches only this process.

    To be called before this process starts any thread: code runs between fork and exec.
    """
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_dies_with_this_process(signal.SIGKILL),
        )
    return Child(name, process, log)


def foreground(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a child that has this process's terminal; with this process it is told to end."""
    dies = _dies_with_this_process(signal.SIGTERM)
    return subprocess.Popen(command, env=dict(environment), preexec_fn=dies)


def _dies_with_this_process(how: signal.Signals) -> Callable[[], None]:
    """What a child is to do between fork and exec."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def between_fork_and_exec() -> None:
        prctl(PR_SET_PDEATHSIG, how, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)

    return between_fork_and_exec


def stop(children: Sequence[Child], seconds: float) -> list[str]:
    """Ends children: SIGTERM to all, SIGKILL after the time to those left, which it names."""
    running = [child for child in children if child.ended() is None]
    for child in running:
        child.process.terminate()
    deadline = time.monotonic() + seconds
    killed = []
    for child in running:
        try:
            child.process.wait(max(deadline - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
            killed.append(child.name)
    return killed
