"""Holds what came in until it is committed: who may be acknowledged what, and what is due.

Pure of SQL and gRPC: the recorder decides, ``flush.py`` writes.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpufleet.hub.fleet import Binding
from gpufleet.hub.store.chunk import EMPTY, Chunk, Column, take
from gpufleet.hub.store.write import EventRow
from gpufleet.hub.wire import Samples, decode_samples, part_of
from gpufleet.proto import telemetry_pb2 as pb

MINUTE_MS = 60_000
FLUSH_GRACE_MS = 3_000
"""A minute's flush begins this long after its end, when its last messages are in."""
FLUSH_SPREAD_MS = 40_000
"""Flushes of all nodes are spread over this long."""
MAX_PENDING_TICKS = 600
"""A node with more ticks than this in memory is flushed at once."""
MAX_PENDING_VALUES = 32_000_000
"""With more values than this in memory the hub stops reading until flushes have caught up."""
MAX_TAKE_VALUES = 4_000_000
"""So many values of one node are written at once at most: some 200 MiB while they are."""


class Position(NamedTuple):
    """A place in what an agent recorded; ordered by epoch, then seq."""

    epoch: int
    seq: int


class Verdict(Enum):
    """What to do with a message by its place in the sequence."""

    TAKE = "take"
    KNOWN = "known"
    """All its records were received before: nothing to do."""
    JUMP = "jump"
    """Records before it are missing and not said to be lost: ask for them."""


@dataclass(slots=True)
class SampleBatch:
    """Ticks in sequence; ``position`` is that of the last.

    They are kept as they came over the wire, a third of what arrays would take: with 1,000 nodes
    at 1 Hz some 50,000 batches wait here.
    """

    position: Position
    binding: Binding
    wire: bytes
    """A serialised pb.Samples."""
    count: int
    """Ticks that count."""
    skip: int
    """Ticks before those, which were known already."""
    last_tick: int
    whole: bool = True
    """Every subject was read at every tick."""

    @property
    def size(self) -> int:
        """Values, absent ones included."""
        return self.count * self.binding.layout.columns

    def samples(self) -> Samples:
        """Decoded again."""
        samples = decode_samples(pb.Samples.FromString(self.wire), self.binding.layout)
        if self.count == len(samples.ticks):
            return samples
        return part_of(samples, self.skip, self.skip + self.count)


@dataclass(slots=True)
class EventBatch:
    """Events of one record."""

    position: Position
    events: tuple[EventRow, ...]

    @property
    def size(self) -> int:
        """What it takes of memory, in values: a row with a text is worth a hundred."""
        return 10 + sum(100 + len(event.message) // 8 for event in self.events)


Batch = SampleBatch | EventBatch


@dataclass(slots=True)
class NodeLog:
    """One node's records that are not committed, in sequence."""

    node_id: int
    received: Position
    committed: Position
    last_tick: int = 0
    """Last tick received in the epoch of ``received``."""
    pending: deque[Batch] = field(default_factory=deque)
    pending_ticks: int = 0
    pending_values: int = 0
    urgent: bool = False
    flushing: bool = False
    evaluated: int = 0
    """So many of the first ``pending`` went through the alert rules: no more may be committed."""
    last_receipt_ms: int = 0
    waiting_since: int = 0
    """Since when, by the monotonic clock in ms, what is pending waits (or a little less)."""
    foreign_metrics: set[int] = field(default_factory=set)
    """Ids beside the catalogue's that its layouts named."""

    def judge(self, epoch: int, seq: int, count: int, gap: bool) -> tuple[Verdict, int]:
        """The verdict on records seq-count+1 … seq, and how many of the first are known."""
        at = self.received
        if (epoch, seq) <= at:
            return Verdict.KNOWN, count
        first = seq - count + 1
        if epoch == at.epoch:
            if first > at.seq + 1 and not gap:
                return Verdict.JUMP, 0
            return Verdict.TAKE, max(0, at.seq + 1 - first)
        if first != 1 and not gap:
            return Verdict.JUMP, 0
        return Verdict.TAKE, 0

    def add(self, batch: Batch) -> None:
        """Take a batch that ``judge`` said to take."""
        if batch.position.epoch != self.received.epoch:
            self.last_tick = 0
        if isinstance(batch, SampleBatch):
            self.last_tick = batch.last_tick
            self.pending_ticks += batch.count
        elif batch.events:
            self.urgent = True
        self.pending_values += batch.size
        self.received = batch.position
        self.pending.append(batch)

    def due(self, now_ms: int) -> int:
        """How many batches from the left should be written now; 0 for none.

        Everything when urgent or too much; else the batches of complete minutes once the node's
        own moment after the minute has come, so that a chunk is mostly written once.
        """
        if not self.pending or self.flushing:
            return 0
        if self.urgent or self.pending_ticks > MAX_PENDING_TICKS:
            return len(self.pending)
        offset = FLUSH_GRACE_MS + zlib.crc32(str(self.node_id).encode()) % FLUSH_SPREAD_MS
        boundary = (now_ms - offset) // MINUTE_MS * MINUTE_MS
        count = 0
        for batch in self.pending:
            if isinstance(batch, SampleBatch) and batch.last_tick >= boundary:
                break
            count += 1
        return count

    def take(self, count: int) -> list[Batch]:
        """Some of the first ``count`` batches, for writing; they stay here until ``done``."""
        self.flushing = True
        taken: list[Batch] = []
        values = 0
        for batch in islice(self.pending, count):
            values += batch.size
            if taken and values > MAX_TAKE_VALUES:
                break
            taken.append(batch)
        if len(taken) == len(self.pending):
            self.urgent = False
        return taken

    def done(self, batches: Sequence[Batch], committed: bool) -> None:
        """The write of ``take``'s batches ended; without a commit they are due again."""
        self.flushing = False
        if not committed:
            self.urgent = self.urgent or any(
                isinstance(batch, EventBatch) and batch.events for batch in batches
            )
            return
        for batch in batches:
            self.pending.popleft()
            self.evaluated = max(0, self.evaluated - 1)
            self.pending_values -= batch.size
            if isinstance(batch, SampleBatch):
                self.pending_ticks -= batch.count
        self.committed = batches[-1].position

    def give_back(self) -> None:
        """Forget what is not committed: its agent has it still and sends it again."""
        self.pending.clear()
        self.evaluated = 0
        self.pending_ticks = self.pending_values = self.last_tick = 0
        self.urgent = False
        self.received = self.committed


def subject_tail(batches: Iterable[Batch], subject_id: int, metric_ids: Sequence[int]) -> Chunk:
    """A subject's uncommitted samples with those metrics only, by tick; the first of a tick wins.

    Ticks may repeat or go back where an agent began a new epoch.
    """
    ticks: list[NDArray[np.int64]] = []
    columns: dict[int, list[Column]] = {metric_id: [] for metric_id in metric_ids}
    for batch in batches:
        if not isinstance(batch, SampleBatch) or subject_id not in batch.binding.subject_ids:
            continue
        place = batch.binding.subject_ids.index(subject_id)
        samples = batch.samples()
        rows = slice(None) if samples.taken is None else samples.taken[:, place]
        ticks.append(samples.ticks[rows])
        ids = batch.binding.layout.metrics[place]
        first = sum(len(m) for m in batch.binding.layout.metrics[:place])
        count = len(ticks[-1])
        for metric_id, parts in columns.items():
            if metric_id not in ids:
                parts.append(Column(np.zeros(count, np.int64), np.zeros(count, np.bool_)))
                continue
            column = first + ids.index(metric_id)
            present = None if samples.present is None else samples.present[rows, column]
            parts.append(Column(samples.values[rows, column], present))
    if not ticks:
        return EMPTY
    joined = Chunk(
        np.concatenate(ticks), {metric_id: _join(parts) for metric_id, parts in columns.items()}
    )
    _, distinct = np.unique(joined.ticks, return_index=True)
    return take(joined, distinct)


def _join(parts: Sequence[Column]) -> Column:
    present = [
        np.ones(len(part.values), np.bool_) if part.present is None else part.present
        for part in parts
    ]
    return Column(np.concatenate([part.values for part in parts]), np.concatenate(present))
