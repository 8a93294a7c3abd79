"""What one stream sends next."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gpufleet.agent.bell import Bell
from gpufleet.agent.clock import SystemClock
from gpufleet.agent.keeping.backlog import Backlog
from gpufleet.agent.keeping.spool import Block, open_spool
from gpufleet.agent.records import LayoutSubject, Position, Record, TickRecord, layout_of
from gpufleet.agent.sending.board import Board
from gpufleet.agent.sending.outgoing import BACKLOG_BURST, BACKLOG_PER_SECOND, Outgoing, Pause
from gpufleet.proto import telemetry_pb2 as pb


def tick(seq: int, columns: tuple[int, ...] = (1,), epoch: int = 1) -> TickRecord:
    layout = layout_of((LayoutSubject("gpu", "a", columns),))
    return TickRecord(Position(epoch, seq), seq * 1000, layout, (tuple(seq for _ in columns),))


@pytest.fixture
def backlog(tmp_path: Path) -> Iterator[Backlog]:
    opener = lambda: open_spool(tmp_path / "s", 1 << 30, 1 << 50, print)  # noqa: E731
    made = Backlog(opener, SystemClock(), Bell(), lambda sentence: None, memory_ticks=5000)
    yield made
    made.close()


@pytest.fixture
def outgoing(backlog: Backlog) -> Outgoing:
    made = Outgoing(backlog, Board(Bell()))
    made.go_on_after(Position(0, 0))
    return made


def message(outgoing: Outgoing, wall_ms: int, monotonic: float = 0.0) -> pb.AgentMessage:
    found = outgoing.next(wall_ms, monotonic)
    assert isinstance(found, pb.AgentMessage)
    return found


def test_nothing_durable_is_sent_before_the_welcome(backlog: Backlog) -> None:
    backlog.append(tick(1))
    assert Outgoing(backlog, Board(Bell())).next(2000, 0.0) == Pause(None)


def test_a_layout_is_announced_before_its_use_and_at_each_change(
    backlog: Backlog, outgoing: Outgoing
) -> None:
    bodies = []
    for seq, columns in ((1, (1,)), (2, (1,)), (3, (1, 2)), (4, (1,))):
        backlog.append(tick(seq, columns))
        while not isinstance(found := outgoing.next(seq * 1000, 0.0), Pause):
            bodies.append(found.WhichOneof("body"))
    assert bodies == ["layout", *["samples"] * 2, *["layout", "samples"] * 2]


def test_a_live_message_waits_for_its_slot(backlog: Backlog, outgoing: Outgoing) -> None:
    outgoing.slot_ms = 300
    backlog.append(tick(5))
    assert outgoing.next(5100, 0.0) == Pause(0.2)
    assert message(outgoing, 5300).HasField("layout")
    sent = message(outgoing, 5300)
    assert (sent.epoch, sent.seq, sent.count) == (1, 5, 1)


def test_the_first_record_after_dropped_ones_says_that_there_is_a_gap(
    backlog: Backlog, outgoing: Outgoing
) -> None:
    backlog.append(tick(5))
    outgoing.go_on_after(Position(1, 2))
    message(outgoing, 9000)
    assert message(outgoing, 9000).gap
    backlog.append(tick(6))
    assert not message(outgoing, 9000).gap
    backlog.append(tick(1, epoch=2))
    assert not message(outgoing, 9000).gap


def test_a_backlog_is_packed_and_its_rate_is_bounded(backlog: Backlog, outgoing: Outgoing) -> None:
    for seq in range(1, 3001):
        backlog.append(tick(seq))
    sent, now = 0, 0.0
    while now < 1.0:
        found = outgoing.next(3_000_000, now)
        if isinstance(found, Pause):
            assert found.seconds is not None
            now += found.seconds
        elif found.packed_samples:
            assert found.count == 60
            sent += 1
    assert BACKLOG_PER_SECOND <= sent <= BACKLOG_PER_SECOND + BACKLOG_BURST + 1
    assert outgoing.draining


def test_beside_a_backlog_each_new_tick_moves_the_live_view_once(
    backlog: Backlog, outgoing: Outgoing
) -> None:
    for seq in range(1, 301):
        backlog.append(tick(seq))
    messages = [message(outgoing, 300_000) for _ in range(4)]
    live = [m for m in messages if m.HasField("samples")]
    assert [(m.seq, list(m.samples.ticks)) for m in live] == [(0, [300_000])]
    backlog.append(tick(301))
    assert message(outgoing, 301_000).seq == 0
    assert message(outgoing, 301_000).HasField("packed_samples")


def test_of_the_details_only_those_are_sent_that_the_stream_was_not_told(
    backlog: Backlog,
) -> None:
    board = Board(Bell())
    outgoing = Outgoing(backlog, board)
    outgoing.go_on_after(Position(0, 0))

    def told(**documents: str) -> list[str]:
        details = [pb.SubjectDetail(subject_key=k, json=v) for k, v in documents.items()]
        board.show_details(pb.Details(details=details))
        found = outgoing.next(1000, 0.0)
        if isinstance(found, Pause):
            return []
        return [detail.subject_key for detail in found.details.details]

    assert told(a="{1}", b="{1}") == ["a", "b"]
    assert told(a="{1}", b="{2}") == ["b"]
    assert told(a="{1}", b="{2}") == []
    assert told(b="{2}") == []
    assert told(a="{1}", b="{2}") == ["a"]


class Interrupted(Backlog):
    """At the second look for what comes next, the hub's word on where to go on arrives."""

    outgoing: Outgoing
    looks = 0
    asked: threading.Thread

    def after(self, position: Position, limit: int = 60) -> Sequence[Record] | Block | None:
        run = super().after(position, limit)
        self.looks += 1
        if self.looks == 2:
            self.asked = threading.Thread(target=self.outgoing.go_on_after, args=[Position(1, 2)])
            self.asked.start()
            self.asked.join(0.2)
        return run


def test_a_word_on_where_to_go_on_is_heeded_though_a_message_is_being_made(tmp_path: Path) -> None:
    opener = lambda: open_spool(tmp_path / "s", 1 << 30, 1 << 50, print)  # noqa: E731
    backlog = Interrupted(opener, SystemClock(), Bell(), lambda sentence: None, memory_ticks=5000)
    backlog.outgoing = outgoing = Outgoing(backlog, Board(Bell()))
    for seq in range(1, 11):
        backlog.append(tick(seq))
    outgoing.go_on_after(Position(1, 5))
    spans = []
    while isinstance(sent := outgoing.next(20_000, 0.0), pb.AgentMessage):
        assert not sent.gap, "nothing was dropped"
        if sent.seq:
            spans.append((sent.seq - sent.count + 1, sent.seq))
        if backlog.looks == 2:
            backlog.asked.join()
    assert spans == [(6, 10), (3, 10)]
    backlog.close()
