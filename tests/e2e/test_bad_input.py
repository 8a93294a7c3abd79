"""What users do wrong, and what the machine does to them: one sentence, nothing lost."""

from __future__ import annotations

import re
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import orjson
import pytest

from support.everything import everything_in
from support.processes import command, environment, free_port, get, running, wait_for
from support.raw_agent import raw_agent

pytestmark = pytest.mark.own_database

SERVE = ("hub", "serve")
RUN = ("agent", "run", "--method", "sim")
SNAPSHOT = ("snapshot", "--method", "sim")


def gpufleet(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment({"HOME": str(folder), "XDG_STATE_HOME": str(folder)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with broken and mistaken settings, and a database that is none."""
    (tmp_path / "file").write_text("not a directory\n")
    (tmp_path / "broken.toml").write_text("gpus = [\n")
    (tmp_path / "mistaken.toml").write_text('http_prot = 1\nmethot = "sim"\n')
    (tmp_path / "garbage.db").write_text("this is no database, whatever its name says\n" * 99)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ((*SERVE, "--http-prot", "1"), 2, r"'--http-prot' .*did you mean --http-port\?"),
        ((*SERVE, "--http-port", "http"), 2, r"--http-port must .*0 to 65535.*'http'"),
        ((*SERVE, "--http-port", "9", "--grpc-port", "9"), 2, r"both 9: give each .* its own"),
        ((*SERVE, "--config", "none.toml"), 2, r"none\.toml: No such file"),
        ((*SERVE, "--config", "."), 2, r"\. *: Is a directory|Cannot read \."),
        ((*SERVE, "--config", "broken.toml"), 2, r"broken\.toml is not valid TOML"),
        ((*SERVE, "--config", "mistaken.toml"), 2, r"'http_prot'. Did you mean http_port\?"),
        ((*SERVE, "--listen", "0.0.0.0"), 2, r"loopback only"),
        ((*SERVE, "--data-dir", "file/hub"), 1, r"file/hub cannot be made"),
        ((*SERVE, "--database", "oracle://x"), 1, r"oracle are not supported; use sqlite"),
        ((*SERVE, "--database", "sqlite:///none/x.db"), 1, r"none does not exist"),
        ((*SERVE, "--database", "sqlite:///garbage.db"), 1, r"garbage\.db is not a sound SQLite"),
        (("hub", "migrate", "--database", "oracle://x"), 1, r"oracle are not supported"),
        ((*RUN, "--nod", "x"), 2, r"'--nod' .*did you mean --node\?"),
        ((*RUN, "--method", "magic"), 2, r"--method must be one of nvml, bash, sim, auto"),
        ((*RUN, "--interval", "3"), 2, r"--interval must be one of 1, 2, 5"),
        ((*RUN, "--hub", "nowhere"), 2, r"--hub must be HOST:PORT"),
        ((*RUN, "--config", "none.toml"), 2, r"none\.toml: there is no such file"),
        ((*RUN, "--config", "broken.toml"), 2, r"broken\.toml: it is not valid TOML"),
        ((*RUN, "--config", "mistaken.toml"), 2, r"mistaken\.toml: http_prot"),
        ((*RUN, "--scenario", "overheet"), 2, r"'overheet': did you mean overheat\?"),
        ((*RUN, "--scenario", "overheat:9"), 2, r"^gpufleet agent: Scenario .*\.$"),
        ((*SNAPSHOT, "--scenario", "overheet"), 2, r"^gpufleet snapshot: There is no scenario"),
        ((*SNAPSHOT, "--method", "magic"), 2, r"--method must be one of"),
        ((*SNAPSHOT, "--gpus", "many"), 2, r"--gpus must be a number"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    folder: Path, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    run = gpufleet(folder, *arguments)
    assert (run.returncode, run.stdout) == (status, "")
    assert re.search(sentence, run.stderr)
    assert run.stderr.count("\n") == 1


def test_migrating_says_that_it_is_done_and_of_which_database(folder: Path) -> None:
    (folder / "hub").mkdir()
    run = gpufleet(folder, "hub", "migrate", "--data-dir", "hub")
    assert run.returncode == 0
    assert re.search(r"up to date database=sqlite:///hub/gpufleet\.db\n$", run.stderr)


@pytest.mark.parametrize("taken", ["--http-port", "--grpc-port"])
def test_a_taken_port_is_said_with_the_flag_that_avoids_it(folder: Path, taken: str) -> None:
    other = "--grpc-port" if taken == "--http-port" else "--http-port"
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        ports = (taken, str(port), other, str(free_port()))
        run = gpufleet(folder, *SERVE, "--data-dir", "hub", *ports)
    assert (run.returncode, run.stdout) == (1, "")
    assert re.search(rf"Port {port} on 127.0.0.1 .*{taken}", run.stderr)
    assert run.stderr.count("\n") == 1


@dataclass(frozen=True, slots=True)
class Stage:
    """A hub that runs, and where."""

    folder: Path
    hub: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int

    @property
    def log(self) -> str:
        return (self.folder / "hub.log").read_text()


@contextmanager
def running_hub(folder: Path) -> Iterator[Stage]:
    http_port, grpc_port = free_port(), free_port()
    ports = ("--http-port", str(http_port), "--grpc-port", str(grpc_port))
    log = folder / "hub.log"
    with running(*SERVE, "--data-dir", str(folder / "hub"), *ports, log=log) as hub:
        stage = Stage(folder, hub, http_port, grpc_port)
        wait_for(lambda: "hub ready" in stage.log, 60, "the hub is ready")
        yield stage


KNOWN = "GPU-11111111-1111-1111-1111-111111111111"
HISTORY = "/api/v1/gpus/{}/history"
UNKNOWN = "GPU-00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def shared_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A hub that has the GPU ``KNOWN``."""
    with (
        running_hub(tmp_path_factory.mktemp("shared-hub")) as stage,
        raw_agent(stage.grpc_port, "known") as known,
    ):
        known.begin(KNOWN)
        wait_for(lambda: gpus_of(stage) == [KNOWN], 60, "the GPU is there")
        yield stage


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Stage]:
    with running_hub(tmp_path) as stage:
        yield stage


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/gpus/GPU-nonsense", 404),
        (f"/gpu/{UNKNOWN}", 404),
        (f"/gpu/{UNKNOWN}/static", 404),
        (f"/gpu/{KNOWN}/static/nonsense", 404),
        (f"/gpu/{KNOWN}?method=magic", 422),
        (f"{HISTORY.format(UNKNOWN)}?metric=temperature_celsius", 404),
        (f"{HISTORY.format(KNOWN)}?metric=temperature", 400),
        (f"{HISTORY.format(KNOWN)}?metric=temperature_celsius&start=noon", 400),
        (f"{HISTORY.format(KNOWN)}?metric=temperature_celsius&start=20&end=10", 400),
        (f"{HISTORY.format(KNOWN)}?metric=temperature_celsius&points=-1", 422),
        (f"/api/v1/gpus/{KNOWN}/events?start=yesterday", 400),
        ("/api/v1/nodes/nobody", 404),
        ("/api/v1/gpus?filter=temp>", 400),
        ("/api/v1/gpus?filter=tempp>80", 400),
        ("/api/v1/gpus?sort=tempp", 400),
        ("/api/v1/gpus?fields=tempp", 400),
        ("/api/v1/gpus?limit=none", 422),
        ("/nothing", 404),
    ],
)
def test_a_wrong_request_is_a_problem_document(shared_hub: Stage, path: str, status: int) -> None:
    got, document = get(shared_hub.http_port, path)
    assert got == status
    assert document["status"] == status
    assert document["detail"].endswith((".", "?"))
    assert shared_hub.hub.poll() is None


def test_a_message_of_another_version_is_refused_with_a_sentence(shared_hub: Stage) -> None:
    with raw_agent(shared_hub.grpc_port, "ancient") as agent:
        agent.hello(protocol_minor=0)
        status, sentence = agent.refusal()
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert sentence.endswith("upgrade the agent.")
    assert "Traceback" not in shared_hub.log


def taken(journal: Path) -> set[tuple[str, int]]:
    """(subject, tick) of everything that an agent took."""
    lines = [orjson.loads(line) for line in journal.read_bytes().splitlines()]
    return {(key, line["tick"]) for line in lines for key in line.get("samples", {})}


def stored(stage: Stage) -> set[tuple[str, int]]:
    return set(everything_in(stage.folder / "hub" / "gpufleet.db"))


def gpus_of(stage: Stage) -> list[str]:
    return [gpu["uuid"] for gpu in get(stage.http_port, "/api/v1/gpus")[1]["gpus"]]


def agent(stage: Stage, port: int) -> tuple[str, ...]:
    folder = stage.folder
    state = ("--state-dir", str(folder / "agent"), "--journal", str(folder / "journal.jsonl"))
    return (*RUN, "--node", "a1", "--gpus", "2", "--hub", f"127.0.0.1:{port}", *state)


def test_an_unreachable_hub_is_said_once_and_costs_no_tick(own_hub: Stage) -> None:
    journal, log = own_hub.folder / "journal.jsonl", own_hub.folder / "agent.log"
    with running(*agent(own_hub, free_port()), log=log) as process:
        wait_for(lambda: journal.exists() and len(taken(journal)) >= 9, 60, "three ticks taken")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert log.read_text().count("no stream to a hub") == 1
    with running(*agent(own_hub, own_hub.grpc_port), log=log) as process:
        wait_for(lambda: "stream to a hub" in log.read_text().split("agent stopped")[1], 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    own_hub.hub.send_signal(signal.SIGTERM)
    assert own_hub.hub.wait(60) == 0
    assert taken(journal) == stored(own_hub)
    assert "Traceback" not in log.read_text() + own_hub.log


def test_a_full_disk_is_said_and_costs_no_tick(own_hub: Stage) -> None:
    journal, log = own_hub.folder / "journal.jsonl", own_hub.folder / "agent.log"
    _, hard = resource.prlimit(own_hub.hub.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(own_hub.hub.pid, resource.RLIMIT_FSIZE, (4096, hard))
    with running(*agent(own_hub, own_hub.grpc_port), log=log) as process:
        wait_for(lambda: "The hub cannot write to" in log.read_text(), 60, "it is said")
        wait_for(lambda: journal.exists() and len(taken(journal)) >= 9, 60, "three ticks taken")
        resource.prlimit(own_hub.hub.pid, resource.RLIMIT_FSIZE, (hard, hard))
        wait_for(lambda: gpus_of(own_hub), 60, "the agent got through")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    own_hub.hub.send_signal(signal.SIGTERM)
    assert own_hub.hub.wait(60) == 0
    assert taken(journal) == stored(own_hub)
    assert "Traceback" not in log.read_text() + own_hub.log


def test_what_is_no_http_leaves_one_line_in_the_hubs_log_that_looks_like_the_others(
    shared_hub: Stage,
) -> None:
    with socket.create_connection(("127.0.0.1", shared_hub.http_port), 30) as caller:
        caller.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert b" 400 " in caller.recv(200)
    wait_for(lambda: "Invalid HTTP" in shared_hub.log, what="the hub's line")
    assert all(
        re.match(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z [a-z]+ ", x) for x in shared_hub.log.splitlines()
    )
