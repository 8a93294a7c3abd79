"""Runs a program for the doctor, who never waits for one that hangs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

_KILL_SECONDS = 1.0


def run(
    command: Sequence[str], environment: Mapping[str, str], seconds: float
) -> tuple[int | None, str]:
    """Exit status and output; no status, and what was said so far, where it did not end in time."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
        process.kill()
        try:
            process.communicate(timeout=_KILL_SECONDS)
        except subprocess.TimeoutExpired:  # a call in the kernel that never returns
            if process.stdout is not None:
                process.stdout.close()
        return None, said.decode(errors="replace")
    return process.returncode, said.decode(errors="replace")
