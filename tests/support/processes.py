"""Runs the gpufleet command as a process of its own, as a user would."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

PORTS = range(10_000, 32_000)
"""Below those that a kernel gives to whoever connects: none of these is taken by a client."""


def free_port() -> int:
    """A loopback port that nobody holds now."""
    while True:
        port = random.choice(PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child that imports the same gpufleet as this process."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", **(extra or {})}


def command(*arguments: str) -> list[str]:
    """The command line of ``gpufleet ARGUMENTS``."""
    return [sys.executable, "-m", "gpufleet.cli", *arguments]


@contextlib.contextmanager
def running(
    *arguments: str, log: Path, extra: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """``gpufleet ARGUMENTS`` in the background; killed at the end if it still runs."""
    process = start(*arguments, log=log, extra=extra)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def start(
    *arguments: str, log: Path, extra: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start ``gpufleet ARGUMENTS``; its output is appended to ``log``."""
    with log.open("ab") as sink:
        return subprocess.Popen(
            command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=environment(extra),
        )


def wait_for(condition: Callable[[], Any], seconds: float = 30.0, what: str = "") -> Any:
    """The first true value of ``condition``; an AssertionError after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"did not come true within {seconds:g} s: {what or condition}")
        time.sleep(0.05)


def get(port: int, path: str) -> tuple[int, Any]:
    """Status and body of a GET; JSON bodies are parsed. Status 0: nobody answered."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            body, status, kind = answer.read(), answer.status, answer.headers.get_content_type()
    except urllib.error.HTTPError as error:
        body, status, kind = error.read(), error.code, error.headers.get_content_type()
    except OSError:
        return 0, None
    return status, orjson.loads(body) if kind.endswith("json") else body.decode()
