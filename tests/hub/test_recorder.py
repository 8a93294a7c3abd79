"""Who may be acknowledged what, and what is due."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gpufleet.hub.fleet import Binding, Fleet, Node, SubjectEntry
from gpufleet.hub.recorder import (
    MAX_PENDING_TICKS,
    EventBatch,
    NodeLog,
    Position,
    SampleBatch,
    Verdict,
    subject_tail,
)
from gpufleet.hub.store.write import EventRow
from gpufleet.hub.wire import Layout
from support.samples_wire import encode

START = Position(0, 0)


def _binding(fleet: Fleet | None = None) -> Binding:
    fleet = fleet or Fleet()
    node = fleet.nodes.setdefault("n", Node(1, "n"))
    fleet.set_inventory(node, [SubjectEntry(7, "gpu", "GPU-a", 0, "H100", "", {})])
    return fleet.bind(node, Layout(1, (("gpu", "GPU-a"),), ((20, 23),), 2), [7])


def _batch(binding: Binding, epoch: int, seq: int, *ticks: int) -> SampleBatch:
    return _with(binding, epoch, seq, {tick: [2 * i, 2 * i + 1] for i, tick in enumerate(ticks)})


def _with(binding: Binding, epoch: int, seq: int, rows: dict[int, list[int | None]]) -> SampleBatch:
    ticks = list(rows)
    wire = encode(1, ticks, [[True] for _ in ticks], list(rows.values())).SerializeToString()
    return SampleBatch(Position(epoch, seq), binding, wire, len(ticks), 0, ticks[-1])


def _event() -> EventRow:
    return EventRow(7, 1000, 1, 1, 1, 0, "gpu_lost", "critical", "GPU is lost.")


def test_a_record_that_follows_is_taken() -> None:
    log = NodeLog(1, Position(5, 10), START)
    assert log.judge(5, 11, 1, gap=False) == (Verdict.TAKE, 0)


def test_records_that_were_received_are_known_and_a_batch_is_taken_from_the_first_new_one() -> None:
    log = NodeLog(1, Position(5, 10), START)
    assert log.judge(5, 10, 3, gap=False)[0] is Verdict.KNOWN
    assert log.judge(4, 99, 1, gap=False)[0] is Verdict.KNOWN
    assert log.judge(5, 13, 5, gap=False) == (Verdict.TAKE, 2)


def test_a_jump_is_refused_unless_the_agent_says_that_the_records_are_gone() -> None:
    log = NodeLog(1, Position(5, 10), START)
    assert log.judge(5, 12, 1, gap=False)[0] is Verdict.JUMP
    assert log.judge(5, 12, 1, gap=True)[0] is Verdict.TAKE
    assert log.judge(6, 2, 1, gap=False)[0] is Verdict.JUMP
    assert log.judge(6, 2, 1, gap=True)[0] is Verdict.TAKE
    assert log.judge(6, 1, 1, gap=False)[0] is Verdict.TAKE


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 4)), max_size=60))
def test_whatever_order_records_come_in_each_is_taken_at_most_once_and_in_sequence(
    messages: list[tuple[int, int, int]],
) -> None:
    log = NodeLog(1, START, START)
    taken: list[Position] = []
    for epoch, seq, count in messages:
        count = min(count, seq)
        verdict, known = log.judge(epoch, seq, count, gap=False)
        if verdict is Verdict.TAKE:
            taken += [Position(epoch, s) for s in range(seq - count + 1 + known, seq + 1)]
            log.add(EventBatch(Position(epoch, seq), ()))
    assert taken == sorted(set(taken))
    for before, after in itertools.pairwise(taken):
        assert after.seq == (before.seq + 1 if before.epoch == after.epoch else 1)


def test_only_complete_minutes_are_due_and_only_after_the_nodes_own_moment() -> None:
    log = NodeLog(1, START, START)
    binding = _binding()
    for seq in range(1, 91):
        log.add(_batch(binding, 1, seq, seq * 1000))
    assert log.due(60_000) == 0
    assert log.due(110_000) == 59  # ticks 1 s to 59 s; the minute from 60 s on is not over
    assert log.due(59_999) == 0


def test_an_event_makes_everything_due_at_once() -> None:
    log = NodeLog(1, START, START)
    log.add(_batch(_binding(), 1, 1, 1000))
    log.add(EventBatch(Position(1, 2), (_event(),)))
    assert log.due(1500) == 2


def test_too_many_ticks_in_memory_are_due_at_once() -> None:
    log = NodeLog(1, START, START)
    binding = _binding()
    ticks = range(1000, 1000 * (MAX_PENDING_TICKS + 2), 1000)
    for seq, tick in enumerate(ticks, 1):
        log.add(_batch(binding, 1, seq, tick))
    assert log.due(0) == len(ticks)


def test_what_could_not_be_committed_is_due_again_and_only_a_commit_moves_the_watermark() -> None:
    log = NodeLog(1, START, START)
    log.add(EventBatch(Position(1, 1), (_event(),)))
    batches = log.take(log.due(0))
    log.add(EventBatch(Position(1, 2), (_event(),)))
    assert log.due(0) == 0, "one flush of a node at a time"
    log.done(batches, committed=False)
    assert log.committed == START
    assert log.due(0) == 2
    batches = log.take(2)
    log.done(batches, committed=True)
    assert log.committed == Position(1, 2)
    assert (len(log.pending), log.pending_ticks, log.pending_values) == (0, 0, 0)


def test_the_tail_of_a_subject_holds_its_uncommitted_samples_with_absent_ones_absent() -> None:
    binding = _binding()
    with_gap = _with(binding, 1, 2, {1000: [50, 300_000], 2000: [51, None]})
    chunk = subject_tail([with_gap, _batch(binding, 1, 3, 3000)], 7, [23, 31])
    assert chunk.ticks.tolist() == [1000, 2000, 3000]
    power = chunk.columns[23]
    assert power.present is not None
    assert power.present.tolist() == [True, False, True]
    assert power.values[[0, 2]].tolist() == [300_000, 1]
    assert 31 not in chunk.columns, "a metric that the layout does not hold is absent"
