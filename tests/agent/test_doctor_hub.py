"""What the doctor says of the hub and of the clocks, and that it leaves no trace there."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest

from gpufleet.agent.doctor.checkup import Level
from gpufleet.agent.doctor.hub import clock, hub
from support import fake_gpus
from support.fake_driver import FakeDriver, missing
from support.processes import command, free_port
from support.small_hub import small_hub


@pytest.fixture
def web() -> Iterator[int]:
    """The port of an HTTP server that tells the date, as every one does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hub_that_answers_is_fine_and_learns_of_no_node(tmp_path: Path) -> None:
    with small_hub(tmp_path) as there:
        (finding,) = hub(f"127.0.0.1:{there.port}", 20)
        assert (finding.level, finding.sentence) == (Level.OK, "A gpufleet hub answers.")
        assert there.call(there.core.snapshot).nodes == {}
        assert there.core.streams == {}


def test_a_port_that_nobody_holds_is_an_error() -> None:
    address = f"127.0.0.1:{free_port()}"
    (finding,) = hub(address, 20)
    assert finding.level is Level.ERROR
    assert finding.sentence == f"{address} cannot be reached: connection refused."
    assert "--hub" in finding.mend


def test_a_name_that_does_not_exist_is_an_error() -> None:
    (finding,) = hub("no-such-host.invalid:9556", 20)
    assert finding.level is Level.ERROR


def test_a_web_server_is_no_hub(web: int) -> None:
    (finding,) = hub(f"127.0.0.1:{web}", 2)
    assert finding.level is Level.ERROR
    assert "no gRPC service" in finding.sentence


def test_another_grpc_service_is_no_hub() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    (finding,) = hub(f"127.0.0.1:{port}", 20)
    server.stop(0).wait(20)
    assert finding.level is Level.ERROR
    assert finding.sentence.startswith("Another service than a gpufleet hub")


@pytest.mark.parametrize(
    ("skew", "level", "words"),
    [
        (0.0, Level.OK, "agrees"),
        (3.0, Level.OK, "agrees"),
        (-3.0, Level.OK, "agrees"),
        (60.0, Level.ERROR, "ahead of"),
        (-60.0, Level.ERROR, "behind"),
    ],
)
def test_clocks_are_compared(web: int, skew: float, level: Level, words: str) -> None:
    (finding,) = clock("127.0.0.1:1", 20, http_port=web, now=lambda: time.time() + skew)
    assert finding.level is level
    assert words in finding.sentence


def test_a_hub_that_does_not_tell_its_time_is_a_warning() -> None:
    (finding,) = clock("127.0.0.1:1", 20, http_port=free_port())
    assert finding.level is Level.WARNING


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_the_command_tells_all_of_it_and_exits_with_one_for_an_error(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path, [fake_gpus.h100(0)])
    address = f"127.0.0.1:{free_port()}"
    options = ["--hub", address, "--state-dir", str(tmp_path / "state")]
    done = subprocess.run(
        command("agent", "doctor", "--json", *options),
        env=driver.env(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 1
    told = json.loads(done.stdout)
    by_check = {finding["check"]: finding for finding in told["findings"]}
    assert by_check["nvml"]["level"] == "ok"
    assert by_check[f"hub {address}"]["level"] == "error"
    assert told["ok"] is False


def test_wrong_settings_are_a_finding_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    done = subprocess.run(
        [*command("agent", "doctor"), "--config", str(tmp_path / "none.toml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**FakeDriver(tmp_path).env(), "COLUMNS": "200"},
    )
    assert done.returncode == 1
    assert "error    settings" in done.stdout
    assert "there is no such file" in done.stdout
    assert "state folder" in done.stdout
