"""The agent as a process, and as it lives through trouble."""

import io
import json
import random
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gpufleet.agent.host import Host
from gpufleet.agent.keeping.spool import Spool
from gpufleet.agent.log import Log
from gpufleet.agent.records import Position
from gpufleet.agent.runtime import Agent
from support.agent_bench import journal_of, running_agent, samples_of, settings
from support.agent_clock import FastClock, until
from support.hub_double import HubDouble
from support.processes import command, environment, running
from support.scripted_collector import ScriptedCollector


@pytest.fixture
def hub() -> Iterator[HubDouble]:
    made = HubDouble().start()
    yield made
    made.stop()
    assert made.errors == []


class Dying(Host):
    """A machine whose metrics are broken from one tick on."""

    def __init__(self, ticks: int) -> None:
        super().__init__()
        self.left = ticks

    def metrics(self) -> Mapping[int, int]:
        self.left -= 1
        return {} if self.left > 0 else {1: 1 // 0}


def arguments(folder: Path, *more: str) -> tuple[str, ...]:
    state, journal = str(folder / "state"), str(folder / "journal")
    run = ("agent", "run", "--method", "sim", "--node", "n1", "--gpus", "1")
    return (*run, "--state-dir", state, "--journal", journal, *more)


def test_a_defect_that_ends_it_leaves_all_records_on_disk(tmp_path: Path) -> None:
    agent = Agent(
        settings(tmp_path, "127.0.0.1:1"),
        ScriptedCollector("a"),
        version="1.2.3",
        clock=FastClock(40),
        log=Log(io.StringIO()),
        machine=Dying(5),
        rng=random.Random(1),
    )
    with pytest.raises(ZeroDivisionError):
        agent.run(threading.Event())
    last = journal_of(tmp_path)[-1]
    spool = Spool(tmp_path / "state/spool.sqlite", 1 << 30, 1 << 50)
    assert spool.newest() == Position(last["epoch"], last["seq"])
    assert spool.ticks >= 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_all_records_on_disk(
    tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "log"
    with running(*arguments(tmp_path, "--hub", "127.0.0.1:1"), log=log) as process:
        journal = tmp_path / "journal"
        until(lambda: journal.exists() and journal.read_text().count("\n") >= 3, "ticks are taken")
        process.send_signal(number)
        assert process.wait(20) == 0
    lines = journal_of(tmp_path)
    spool = Spool(tmp_path / "state/spool.sqlite", 1 << 30, 1 << 50)
    last = lines[-1]
    assert spool.newest() == Position(last["epoch"], last["seq"])
    assert spool.oldest() == Position(last["epoch"], 1)
    assert spool.ticks == sum("tick" in line for line in lines)
    assert "Traceback" not in log.read_text()


def test_a_second_agent_on_the_same_state_folder_refuses_in_a_sentence(tmp_path: Path) -> None:
    with running_agent(settings(tmp_path, "127.0.0.1:1")):
        second = subprocess.run(
            command(*arguments(tmp_path)),
            capture_output=True,
            text=True,
            env=environment(),
            timeout=60,
            check=False,
        )
    assert second.returncode == 1
    last = second.stderr.splitlines()[-1]
    assert last.startswith("gpufleet agent: Another agent already uses the state folder")
    assert "Traceback" not in second.stderr


def test_wrong_settings_end_with_two_and_one_sentence(tmp_path: Path) -> None:
    for more, sentence in (
        (("--interval", "3"), "--interval must be one of"),
        (("--scenario", "nonsense"), "nonsense"),
        (("--hub", "8.8.8.8:9556"), "--hub must be on loopback"),
    ):
        run = subprocess.run(
            command(*arguments(tmp_path, *more)),
            capture_output=True,
            text=True,
            env=environment(),
            timeout=60,
            check=False,
        )
        assert run.returncode == 2, run.stderr
        assert sentence in run.stderr
        assert len(run.stderr.splitlines()) == 1


def test_a_state_folder_that_cannot_be_used_kills_nobody_and_is_said(
    tmp_path: Path, hub: HubDouble
) -> None:
    (tmp_path / "file").write_text("")
    made = settings(tmp_path, hub.address, state_dir=tmp_path / "file/state")
    with running_agent(made) as agent:
        until(lambda: len(hub.samples) >= 12, "samples arrive")
        until(lambda: bool(hub.of_kind("status")[-1].status.sentence), "the status says it")
    assert hub.samples == samples_of(journal_of(tmp_path))
    assert "cannot be used" in hub.of_kind("status")[-1].status.sentence
    assert agent.log.getvalue().count("The state folder") == 1


def test_faults_are_told_to_the_hub_as_status_and_event(tmp_path: Path, hub: HubDouble) -> None:
    collector = ScriptedCollector("a", "b")
    # A hanging call takes 0.25 s at least, which a fast clock would feel.
    with running_agent(settings(tmp_path, hub.address), collector, FastClock(4)):
        until(lambda: len(hub.samples) >= 6, "samples arrive")
        collector.hang("b")
        until(lambda: bool(hub.of_kind("status")[-1].status.faults), "the fault is told")
        before = {tick for _, key, tick in hub.samples if key == "a"}
        until(
            lambda: len({tick for _, key, tick in hub.samples if key == "a"} - before) >= 5,
            "the other GPU goes on",
        )
        collector.release("b")
        until(lambda: not hub.of_kind("status")[-1].status.faults, "its end is told")
    kinds = [event.kind for _, event in sorted(hub.events.items())]
    assert kinds == ["agent_started", "gpu_hung", "gpu_recovered"]
    assert hub.samples == samples_of(journal_of(tmp_path))


def test_without_a_driver_the_node_itself_goes_on(tmp_path: Path, hub: HubDouble) -> None:
    collector = ScriptedCollector("a")
    collector.unavailable = "There is no driver."
    with running_agent(settings(tmp_path, hub.address), collector):
        until(lambda: len(hub.samples) >= 5, "samples of the node arrive")
    assert {kind for kind, _, _ in hub.samples} == {"node"}
    assert hub.of_kind("status")[-1].status.sentence == "There is no driver."


def test_a_clock_stepped_back_begins_a_new_epoch_and_a_new_hello(
    tmp_path: Path, hub: HubDouble
) -> None:
    clock = FastClock(20)
    with running_agent(settings(tmp_path, hub.address), clock=clock) as agent:
        until(lambda: len(hub.samples) >= 9, "samples arrive")
        clock._wall_ms -= 86_400_000
        until(lambda: len(hub.of_kind("hello")) >= 2, "hello is said again")
        seen = len(hub.samples)
        until(lambda: len(hub.samples) >= seen + 9, "samples go on")
    assert "clock stepped back" in agent.log.getvalue()
    epochs = [message.hello.epoch for message in hub.of_kind("hello")]
    assert epochs == sorted(set(epochs))
    assert hub.samples == samples_of(journal_of(tmp_path))


def test_a_simulated_past_is_sent_first_in_an_epoch_of_its_own(
    tmp_path: Path, hub: HubDouble
) -> None:
    made = settings(tmp_path, hub.address, backfill_hours=1.0, backfill_interval_ms=60_000, gpus=2)
    with running_agent(made, ScriptedCollector("a")):
        until(lambda: any(key == "a" for _, key, _ in hub.samples), "live samples arrive")
    live = {line["epoch"] for line in journal_of(tmp_path)}
    past = [m for m in hub.of_kind("packed_samples") if m.epoch not in live]
    assert sum(message.count for message in past) in (60, 61)
    assert {message.epoch for message in past} == {min(live) - 1}


def test_snapshot_prints_one_document_of_simulated_gpus() -> None:
    run = subprocess.run(
        command("snapshot", "--method", "sim", "--gpus", "2", "--node", "n1"),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=True,
    )
    document = json.loads(run.stdout)
    assert (document["node"], document["method"], len(document["gpus"])) == ("n1", "sim", 2)
    assert run.stderr == ""


def test_snapshot_without_a_way_to_read_says_so_and_prints_nothing() -> None:
    run = subprocess.run(
        command("snapshot", "--method", "bash"),
        capture_output=True,
        text=True,
        env={**environment(), "PATH": "/nonexistent"},
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("gpufleet snapshot: There is no nvidia-smi on the PATH")
    assert len(run.stderr.splitlines()) == 1
