"""The demo starts, answers, says what happens, and leaves nothing behind however it ends."""

from __future__ import annotations

import email
import email.policy
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.processes import command, environment, free_port, get, wait_for

pytestmark = pytest.mark.own_database

SECONDS = 60.0


class Demo:
    """A running ``gpufleet demo`` of 2 nodes × 2 GPUs, whose output is read as it comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http_port, self.grpc_port = free_port(), free_port()
        ports = ("--http-port", str(self.http_port), "--grpc-port", str(self.grpc_port))
        self.process = subprocess.Popen(
            command("demo", "--nodes", "2", "--gpus", "2", "--hours", "0.1", "--no-tui", *ports),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment({"TMPDIR": str(folder)}),
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line

    def until_said(self, pattern: str) -> None:
        def said() -> bool:
            assert self.process.poll() is None, self.output
            return re.search(pattern, self.output) is not None

        wait_for(said, SECONDS, f"{pattern} in {self.output}")

    def children(self) -> dict[int, str]:
        """Processes that it started, with their command lines."""
        pid = self.process.pid
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(p): Path(f"/proc/{p}/cmdline").read_text().replace("\0", " ") for p in pids}

    def wait(self) -> int:
        status = self.process.wait(SECONDS)
        self._reader.join()
        return status

    def close(self) -> None:
        self.process.kill()
        self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def running_demo(folder: Path) -> Iterator[Demo]:
    demo = Demo(folder)
    try:
        yield demo
    finally:
        demo.close()


def is_free(port: int) -> bool:
    """True if a server could start there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def gone(pid: int) -> bool:
    """True once no such process runs (one that nobody waited for yet has ended as well)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_the_demo_answers_says_what_happens_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        demo.until_said(r"Ctrl-C ends everything")
        status, document = get(demo.http_port, "/api/v1/gpus")
        assert status == 200
        assert {(gpu["node"], gpu["index"]) for gpu in document["gpus"]} == {
            (node, index) for node in ("node-1", "node-2") for index in (0, 1)
        }
        demo.until_said(r"\d\d:\d\d:\d\d +2/2 +4/4 .* °C +node-")
        demo.until_said(r"mail: \[(INFO|WARNING|CRITICAL)\] .*\n +/\S+\.eml")
        path = re.search(r"(/\S+\.eml)", demo.output)
        assert path is not None
        assert "rules    " in demo.output
        mail = email.message_from_bytes(Path(path[1]).read_bytes(), policy=email.policy.default)
        assert mail["Auto-Submitted"] == "auto-generated"
        assert {part.get_content_type() for part in mail.walk()} >= {"text/plain", "text/html"}
        _, alerts = get(demo.http_port, "/api/v1/alerts")
        assert alerts["total"] >= 1
        assert "\x1b" not in demo.output

        children = demo.children()
        agent = next(pid for pid, line in children.items() if "--node node-2" in line)
        os.kill(agent, signal.SIGKILL)
        demo.until_said(r"agent node-2 was ended by SIGKILL")
        demo.until_said(r"node-2 is down")

        demo.process.send_signal(signal.SIGINT)
        assert demo.wait() == 0
        assert demo.output.endswith("nothing of it is left running, its files are removed.\n")
        assert len(children) == 3
        assert all(gone(pid) for pid in children)
        assert is_free(demo.http_port)
        assert is_free(demo.grpc_port)
        assert list(tmp_path.iterdir()) == []


def test_sigkill_of_the_demo_leaves_nothing_running(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        wait_for(lambda: len(demo.children()) == 3, SECONDS, "a hub and two agents run")
        children = demo.children()
        demo.process.kill()
        wait_for(lambda: all(gone(pid) for pid in children), SECONDS, "the children are gone")
        wait_for(lambda: is_free(demo.http_port) and is_free(demo.grpc_port), SECONDS, "ports free")


@pytest.mark.parametrize("taken", ["--http-port", "--grpc-port"])
def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path, taken: str) -> None:
    other = "--grpc-port" if taken == "--http-port" else "--http-port"
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        run = subprocess.run(
            command("demo", taken, str(port), other, str(free_port())),
            env=environment({"TMPDIR": str(tmp_path)}),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert (run.returncode, run.stdout) == (1, "")
    assert re.fullmatch(rf"Port {port} on 127.0.0.1 .* {taken}\.\n", run.stderr)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_ends_by_itself_after_its_duration(tmp_path: Path) -> None:
    ports = ("--http-port", str(free_port()), "--grpc-port", str(free_port()))
    run = subprocess.run(
        command("demo", "--nodes", "1", "--gpus", "1", "--hours", "0", "--duration", "1", *ports),
        env=environment({"TMPDIR": str(tmp_path), "GPUFLEET_DATABASE": "nonsense://"}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "1/1" in run.stdout
    assert list(tmp_path.iterdir()) == []
