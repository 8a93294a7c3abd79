"""Numbers, layouts and the journal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpufleet.agent.bell import Bell
from gpufleet.agent.clock import SystemClock
from gpufleet.agent.keeping.backlog import Backlog
from gpufleet.agent.keeping.journal import Journal
from gpufleet.agent.keeping.recorder import Recorder
from gpufleet.agent.keeping.spool import open_spool
from gpufleet.agent.model import Subject
from gpufleet.agent.records import Event, Position
from support.agent_bench import journal_of

A = Subject("gpu", "a", 0, "GPU 0", (1, 20))


class Bench:
    """Recorders over one state folder, one run of the agent after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.recorders: list[Recorder] = []
        self.backlog = self.open()

    def open(self) -> Backlog:
        return Backlog(
            lambda: open_spool(self.folder / "s", 1 << 30, 1 << 50, self.said.append),
            SystemClock(),
            Bell(),
            self.said.append,
        )

    def recorder(self) -> Recorder:
        journal = Journal(self.folder / "journal", "n1")
        self.recorders.append(Recorder(self.backlog, journal, self.said.append))
        return self.recorders[-1]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.backlog.close()
    for recorder in made.recorders:
        recorder.close()


def test_records_are_numbered_from_one_in_their_epoch(bench: Bench) -> None:
    recorder = bench.recorder()
    assert recorder.begin_epoch(5000) == 5000
    recorder.event(Event(1, "agent_started", "info", "m"))
    assert recorder.tick(6000, [A], {"a": {1: 0}}).position == Position(5000, 2)


def test_an_epoch_is_past_the_last_even_if_the_clock_is_behind_after_a_restart(
    bench: Bench,
) -> None:
    bench.recorder().begin_epoch(5000)
    bench.backlog.close()
    bench.backlog = bench.open()
    assert bench.recorder().begin_epoch(3000) == 5001


def test_a_subject_not_read_has_no_row_and_an_absent_value_none(bench: Bench) -> None:
    recorder = bench.recorder()
    recorder.begin_epoch(1)
    b = Subject("gpu", "b", 1, "GPU 1", (1, 20))
    assert recorder.tick(1000, [A, b], {"a": {20: 0}}).rows == ((None, 0), None)


def test_the_layout_changes_when_columns_do_and_only_then(bench: Bench) -> None:
    recorder = bench.recorder()
    recorder.begin_epoch(1)
    one = recorder.tick(1000, [A], {"a": {1: 5, 20: 60}}).layout
    same = recorder.tick(2000, [A], {"a": {1: 6}}).layout
    more = recorder.tick(3000, [A], {"a": {1: 6, 26: 9}}).layout
    kept = recorder.tick(4000, [A], {"a": {1: 6}}).layout
    assert one is same
    assert more.subjects[0].metrics == (1, 20, 26)
    assert more.id == kept.id != one.id


def test_the_journal_has_each_record_in_the_promised_form(bench: Bench) -> None:
    recorder = bench.recorder()
    recorder.begin_epoch(7)
    recorder.tick(1000, [A], {"a": {1: 0, 20: 60}})
    recorder.event(Event(1500, "gpu_lost", "critical", "Lost.", "gpu", "a", 15))
    tick, event = journal_of(bench.folder)
    assert tick == {
        "node": "n1",
        "epoch": 7,
        "seq": 1,
        "tick": 1000,
        "samples": {"gpu/a": {"1": 0, "20": 60}},
    }
    assert (event["seq"], event["event"]["kind"], event["event"]["code"]) == (2, "gpu_lost", 15)


def test_a_position_the_hub_already_knows_is_outrun(bench: Bench) -> None:
    recorder = bench.recorder()
    recorder.begin_epoch(5000)
    recorder.tick(1000, [A], {"a": {1: 5}})
    assert not recorder.outrun(Position(5000, 1), 6000)
    assert recorder.outrun(Position(9000, 4), 6000)
    assert recorder.position == Position(9001, 1)


def test_a_journal_on_a_full_disk_is_said_and_neither_a_tick_nor_the_end_fails(
    bench: Bench,
) -> None:
    journal = Journal(Path("/dev/full"), "n1")
    recorder = Recorder(bench.backlog, journal, bench.said.append)
    recorder.begin_epoch(1)
    recorder.tick(1000, [A], {"a": {1: 0}})
    recorder.close()
    assert bench.said == ["The journal cannot be written: No space left on device."] * 2
    assert bench.backlog.counts().ticks == 1
