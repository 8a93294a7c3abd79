"""What the hub has not acknowledged: memory, spool, order, bounds."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from gpufleet.agent.bell import Bell
from gpufleet.agent.clock import SystemClock
from gpufleet.agent.keeping.backlog import GIVE_UP_SECONDS, Backlog
from gpufleet.agent.keeping.spool import Block, Spool, SpoolError, open_spool
from gpufleet.agent.records import (
    Event,
    EventRecord,
    LayoutSubject,
    Position,
    Record,
    TickRecord,
    layout_of,
)
from gpufleet.agent.wire.samples import decode, unpack
from support.agent_clock import FakeClock, until

LAYOUT = layout_of((LayoutSubject("gpu", "a", (1, 20)),))
START = Position(0, 0)
Make = Callable[..., Backlog]


def tick(seq: int, epoch: int = 1) -> TickRecord:
    return TickRecord(Position(epoch, seq), seq * 1000, LAYOUT, ((seq % 7, 60),))


def event(seq: int, epoch: int = 1) -> EventRecord:
    return EventRecord(Position(epoch, seq), Event(seq, "x", "info", "m"))


def no_spool() -> Spool:
    raise SpoolError("The disk is full.")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Backlog] = []

    def build(memory_ticks: int = 120, opener: Callable[[], Spool] | None = None) -> Backlog:
        said.clear()
        backlog = Backlog(
            opener or (lambda: open_spool(tmp_path / "s", 1 << 30, 1 << 50, said.append)),
            SystemClock(),
            Bell(),
            said.append,
            memory_ticks,
        )
        made.append(backlog)
        return backlog

    said: list[str] = []
    build.said = said  # type: ignore[attr-defined]
    yield build
    for backlog in made:
        backlog.close()


def in_memory(backlog: Backlog) -> int:
    return backlog._memory_tick_count


def drained(backlog: Backlog, position: Position = START) -> list[tuple[Position, int | None]]:
    """Every record from a position on, as a sender meets them: (position, tick or None)."""
    found: list[tuple[Position, int | None]] = []
    while (run := backlog.after(position)) is not None:
        found += positions(run)
        position = found[-1][0]
    return found


def positions(run: Sequence[Record] | Block) -> list[tuple[Position, int | None]]:
    if not isinstance(run, Block):
        return [(r.position, r.tick_ms if isinstance(r, TickRecord) else None) for r in run]
    first = run.first
    times: list[int | None] = [None] * run.count
    if run.layout is not None:
        times = [time for time, _ in decode(run.layout, unpack(run.data))]
    return [(Position(first.epoch, first.seq + i), time) for i, time in enumerate(times)]


def test_runs_hold_one_kind_of_record_and_at_most_sixty(make: Make) -> None:
    backlog = make()
    for record in [event(1), event(2), *[tick(n) for n in range(3, 80)], event(80)]:
        backlog.append(record)
    lengths = []
    position = START
    while (run := backlog.after(position)) is not None:
        assert not isinstance(run, Block)
        lengths.append(len(run))
        position = run[-1].position
    assert lengths == [2, 60, 17, 1]


def test_what_overflows_memory_is_read_back_from_disk_in_order(make: Make) -> None:
    backlog = make(memory_ticks=120)
    for n in range(1, 501):
        backlog.append(tick(n) if n % 50 else event(n))
        if n % 20 == 0:
            until(lambda: in_memory(backlog) <= 120, "the rest is moved to disk")
    expected = [(Position(1, n), n * 1000 if n % 50 else None) for n in range(1, 501)]
    assert drained(backlog) == expected
    assert drained(backlog, Position(1, 77)) == expected[77:]
    assert backlog.counts().dropped_ticks == 0


def test_what_is_forgotten_is_gone_from_memory_and_disk(make: Make) -> None:
    backlog = make(memory_ticks=60)
    for n in range(1, 200):
        backlog.append(tick(n))
        until(lambda: in_memory(backlog) <= 60, "the rest is moved to disk")
    until(lambda: backlog.counts().spooled_bytes > 0, "some are spooled")
    backlog.forget(Position(1, 150))
    assert drained(backlog)[0] == (Position(1, 151), 151_000)
    backlog.forget(Position(1, 199))
    assert drained(backlog) == []
    assert backlog.oldest() is None
    until(lambda: backlog.counts().spooled_bytes == 0, "the disk is freed")


def test_closing_puts_all_on_disk_and_a_new_epoch_comes_after_it(make: Make) -> None:
    first = make()
    for n in range(1, 10):
        first.append(tick(n))
    assert first.close() == ""
    second = make()
    second.append(tick(1, epoch=5))
    assert [position for position, _ in drained(second)] == [
        *(Position(1, n) for n in range(1, 10)),
        Position(5, 1),
    ]
    assert second.oldest() == Position(1, 1)


def test_without_a_disk_memory_is_bounded_and_what_is_dropped_is_counted(make: Make) -> None:
    backlog = make(memory_ticks=100, opener=no_spool)
    for n in range(1, 401):
        backlog.append(tick(n))
    counts = backlog.counts()
    assert counts.ticks <= 160
    assert counts.ticks + counts.dropped_ticks == 400
    assert drained(backlog)[-1][0] == Position(1, 400)
    assert make.said[0] == "The disk is full."  # type: ignore[attr-defined]
    assert backlog.close() == "Records in memory are lost: The disk is full."


def test_a_spool_damaged_while_it_is_used_is_given_up_and_counted(
    make: Make, tmp_path: Path
) -> None:
    backlog = make(memory_ticks=60)
    for n in range(1, 181):
        backlog.append(tick(n))
        until(lambda: in_memory(backlog) <= 60, "the rest is moved to disk")
    until(lambda: backlog.counts().spooled_bytes > 0, "some are spooled")
    with sqlite3.connect(tmp_path / "s") as damage:
        damage.execute("DELETE FROM layouts")
    damage.close()
    kept = drained(backlog)
    assert kept[-1][0] == Position(1, 180)
    assert backlog.counts().dropped_ticks == 180 - len(kept) > 0
    assert any("lacks a layout" in sentence for sentence in make.said)  # type: ignore[attr-defined]
    assert (tmp_path / "s.damaged").exists()
    for n in range(181, 300):
        backlog.append(tick(n))
        until(lambda: in_memory(backlog) <= 60, "a new spool is begun")


def test_renumbering_puts_what_is_in_memory_into_another_epoch(make: Make) -> None:
    backlog = make()
    for n in range(5, 9):
        backlog.append(tick(n))
    assert backlog.renumber(9) == 4
    assert drained(backlog) == [(Position(9, n - 4), n * 1000) for n in range(5, 9)]
    newest = backlog.newest_tick()
    assert newest is not None
    assert newest.position == Position(9, 4)


class Flaky(Spool):
    """A spool whose disk does not answer questions for a while."""

    broken = False

    def after(self, position: Position) -> Block | None:
        if self.broken:
            raise SpoolError("The disk does not answer.")
        return super().after(position)


def test_a_spool_that_was_given_up_is_read_again_once_it_works(tmp_path: Path) -> None:
    clock, spool = FakeClock(), Flaky(tmp_path / "s", 1 << 30, 1 << 50)
    backlog = Backlog(lambda: spool, clock, Bell(), lambda sentence: None, memory_ticks=60)

    def append(first: int, last: int) -> None:
        for n in range(first, last + 1):
            backlog.append(tick(n))
            until(lambda: in_memory(backlog) <= 60, "the rest is moved to disk")

    append(1, 180)
    spool.broken = True
    with pytest.raises(SpoolError):
        backlog.after(START)
    clock.advance(GIVE_UP_SECONDS + 1)
    first = backlog.after(START)
    assert first is not None
    assert not isinstance(first, Block), "live data matters more"
    spool.broken = False
    clock.advance(60)
    seen = positions(first)[-1][0]
    append(181, 400)
    assert [position.seq for position, _ in drained(backlog, seen)] == list(
        range(seen.seq + 1, 401)
    )
    backlog.close()


def test_what_an_earlier_run_spooled_is_waited_for_while_the_file_cannot_be_opened(
    make: Make, tmp_path: Path
) -> None:
    first = make()
    for n in range(1, 10):
        first.append(tick(n))
    first.close()
    clock, full = FakeClock(), [True]

    def opener() -> Spool:
        if full[0]:
            raise SpoolError("The disk is full.", holds=True)
        return open_spool(tmp_path / "s", 1 << 30, 1 << 50, print)

    backlog = Backlog(opener, clock, Bell(), lambda sentence: None)
    backlog.append(tick(1, epoch=5))
    with pytest.raises(SpoolError):
        backlog.after(START)
    full[0] = False
    clock.advance(20)
    until(lambda: backlog.counts().spooled_bytes > 0, "the file is opened")
    assert [position for position, _ in drained(backlog)] == [
        *(Position(1, n) for n in range(1, 10)),
        Position(5, 1),
    ]
    backlog.close()


def test_a_file_that_cannot_be_opened_for_long_is_given_up_and_counted(
    make: Make, tmp_path: Path
) -> None:
    first = make()
    for n in range(1, 10):
        first.append(tick(n))
    first.close()
    clock, full = FakeClock(), [True]

    def opener() -> Spool:
        if full[0]:
            raise SpoolError("The disk is full.", holds=True)
        return open_spool(tmp_path / "s", 1 << 30, 1 << 50, print)

    backlog = Backlog(opener, clock, Bell(), lambda sentence: None)
    backlog.append(tick(1, epoch=5))
    with pytest.raises(SpoolError):
        backlog.after(START)
    clock.advance(GIVE_UP_SECONDS + 1)
    assert [position for position, _ in drained(backlog)] == [Position(5, 1)]
    full[0] = False
    until(lambda: backlog.counts().dropped_ticks == 9, "what was passed over is counted")
    backlog.close()


def test_a_spool_file_that_cannot_be_opened_says_whether_it_may_hold_records(
    tmp_path: Path,
) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "file").touch()
    for path, holds in ((tmp_path / "s", True), (tmp_path / "file" / "s", False)):
        with pytest.raises(SpoolError) as caught:
            open_spool(path, 1 << 30, 1 << 50, print)
        assert caught.value.holds is holds
