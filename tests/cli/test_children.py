"""Children of the demo end when it ends, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PARENT = """
import os, sys
from pathlib import Path
from gpufleet.cli import children

children.take_signals()
folder = Path(sys.argv[1])
def start(name, program):
    return children.start(name, [sys.executable, "-c", program], folder, dict(os.environ))
{body}
"""

WAITS = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"

UNTIL_UP = """
import time
def until_up(*those):
    while not all("up" in child.output() for child in those):
        time.sleep(0.01)
"""


def parent(folder: Path, body: str) -> subprocess.Popen[str]:
    """A process of its own that takes its signals as the demo does and runs this body."""
    return subprocess.Popen(
        [sys.executable, "-c", PARENT.format(body=UNTIL_UP + body), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def output_of(folder: Path, body: str) -> list[str]:
    process = parent(folder, body)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.splitlines()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """True once no such process runs; one that nobody waited for yet has ended as well."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def test_sigkill_of_the_parent_ends_its_children(tmp_path: Path) -> None:
    body = f"""
child = start("stubborn", {STUBBORN!r})
until_up(child)
print(child.process.pid, flush=True)
time.sleep(600)
"""
    process = parent(tmp_path, body)
    assert process.stdout is not None
    with process, process.stdout:
        pid = int(process.stdout.readline())
        assert not gone(pid)
        process.kill()
    wait_until(lambda: gone(pid))


def test_stop_ends_children_and_names_those_it_had_to_kill(tmp_path: Path) -> None:
    body = f"""
ended = start("ended", "pass")
polite, stubborn = start("polite", {WAITS!r}), start("stubborn", {STUBBORN!r})
until_up(polite, stubborn)
ended.process.wait()
print(children.stop([ended, polite, stubborn], 0.2))
print(ended.ended(), polite.ended(), stubborn.ended())
"""
    assert output_of(tmp_path, body) == [
        "['stubborn']",
        f"0 {-signal.SIGTERM} {-signal.SIGKILL}",
    ]


def test_the_death_of_a_child_ends_the_wait(tmp_path: Path) -> None:
    body = """
child = start("short", "print('last words'); raise SystemExit(3)")
print(children.wait_for_signal(60).name)
print(child.process.wait(), child.log_tail())
print(children.wait_for_signal(0))
"""
    assert output_of(tmp_path, body) == ["SIGCHLD", "3 last words", "None"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_waits_until_it_is_asked_for(tmp_path: Path, name: str) -> None:
    body = f"""
import signal
os.kill(os.getpid(), signal.{name})
print("still here")
taken = children.wait_for_signal(60)
print(taken.name, taken in children.ENDING)
"""
    assert output_of(tmp_path, body) == ["still here", f"{name} True"]


def test_ctrl_c_at_the_terminal_does_not_reach_the_children(tmp_path: Path) -> None:
    body = f"""
child = start("waits", {WAITS!r})
print(os.getpgid(child.process.pid) != os.getpgid(0))
children.stop([child], 60)
"""
    assert output_of(tmp_path, body) == ["True"]
