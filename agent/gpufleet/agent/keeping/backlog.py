"""Everything the hub has not acknowledged: the newest in memory, the rest in the spool.

The sampler appends and never waits for the disk: a thread of the backlog's own moves the oldest
records to the spool, a minute's worth at a time, and deletes there what the hub has committed.
"""

from __future__ import annotations

import threading
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from google.protobuf.message import DecodeError

from gpufleet.agent.bell import Bell
from gpufleet.agent.clock import Clock
from gpufleet.agent.keeping.spool import Block, Spool, SpoolError
from gpufleet.agent.records import EventRecord, Position, Record, TickRecord
from gpufleet.agent.wire.messages import events_message
from gpufleet.agent.wire.samples import decode, encode, pack, unpack
from gpufleet.proto import telemetry_pb2 as pb

MEMORY_TICKS = 300
MOVE_TICKS = 60
"""So many go to the spool in one transaction, and at most so many in one message."""

RETRY_SECONDS = 10.0
"""After a failed write the spool is left alone for so long."""

LOOK_SECONDS = 1.0
"""How often a spool that is not open is looked at: is it time to try again?"""

GIVE_UP_SECONDS = 60.0
"""A spool that could not be read for so long is passed over: live data matters more."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What an operator wants to know about the backlog."""

    ticks: int
    dropped_ticks: int
    spooled_bytes: int


class Backlog:
    """Appended to by one thread, read by another, kept in order of position."""

    def __init__(
        self,
        open_spool: Callable[[], Spool],
        clock: Clock,
        bell: Bell,
        on_trouble: Callable[[str], None],
        memory_ticks: int = MEMORY_TICKS,
    ) -> None:
        """``on_trouble`` is told what is wrong with the spool, "" once it works."""
        self._open_spool = open_spool
        self._clock = clock
        self._bell = bell
        self._on_trouble = on_trouble
        self._memory_ticks = memory_ticks
        self._lock = threading.Lock()
        self._spool: Spool | None = None
        self._memory: deque[Record] = deque()
        self._memory_tick_count = 0
        self._newest: TickRecord | None = None
        self._forgotten = Position(0, 0)
        self._deleted = Position(0, 0)
        self._dropped = 0
        self._retry_at = 0.0
        self._unreadable_since: float | None = None
        self._given_up = False
        self._unopened = False
        """True while a file of an earlier run waits to be opened."""
        self._work = threading.Event()
        self._stopping = False
        try:
            self._spool = open_spool()
        except SpoolError as error:
            self._unopened = error.holds
            self._failed(error)
        self._keeper = threading.Thread(target=self._keep, name="spool", daemon=True)
        self._keeper.start()

    def recall(self, key: str) -> str | None:
        """A small fact that an earlier run left in the spool."""
        try:
            return self._spool.recall(key) if self._spool is not None else None
        except SpoolError as error:
            self._failed(error)
            return None

    def remember(self, key: str, value: str) -> None:
        """Leave a small fact for later runs, if the disk lets us."""
        try:
            if self._spool is not None:
                self._spool.remember(key, value)
        except SpoolError as error:
            self._failed(error)

    def store_past(self, records: Sequence[Record]) -> None:
        """Put records of an earlier epoch straight into the spool; SpoolError if it cannot be."""
        if self._spool is None:
            raise SpoolError("There is no spool that could hold a past.")
        self._store(self._spool, records)
        self._bell.ring()

    # The sampler's side

    def append(self, record: Record) -> None:
        """Take a new record; it must come after all others."""
        with self._lock:
            self._memory.append(record)
            if isinstance(record, TickRecord):
                self._memory_tick_count += 1
                self._newest = record
            self._bound_memory()
            crowded = self._memory_tick_count > self._memory_ticks
        if crowded:
            self._work.set()
        self._bell.ring()

    def counts(self) -> Counts:
        """Unacknowledged and dropped ticks, and the spool's size."""
        spool = self._spool
        with self._lock:
            ticks = self._memory_tick_count + (spool.ticks if spool else 0)
            return Counts(ticks, self._dropped, spool.bytes if spool else 0)

    # The sender's side

    def newest_tick(self) -> TickRecord | None:
        """The newest tick of all, if it is still held in memory."""
        with self._lock:
            newest = self._newest
            return newest if newest is not None and newest.position > self._forgotten else None

    def oldest(self) -> Position | None:
        """The first record still held."""
        try:
            run = self.after(self._forgotten, 1)
        except SpoolError:  # said where it happened
            return None
        return None if run is None else _first(run)

    def after(self, position: Position, limit: int = MOVE_TICKS) -> Sequence[Record] | Block | None:
        """The run of records that follows: contiguous, of one kind and layout, at most ``limit``.

        Records still in memory come as they are, spooled ones as their block.
        """
        position = max(position, self._forgotten)
        while True:
            with self._lock:
                oldest = self._memory[0].position if self._memory else None
                if oldest is not None and (self._nothing_spooled_between(position, oldest)):
                    return self._run_in_memory(position, limit)
            block = self._spooled_after(position)
            if block is not None:
                return block
            with self._lock:
                # If the memory's head moved to the spool meanwhile, look there again.
                if (self._memory[0].position if self._memory else None) == oldest:
                    return self._run_in_memory(position, limit) if self._memory else None

    def forget(self, position: Position) -> None:
        """The hub has committed everything up to here."""
        with self._lock:
            if position <= self._forgotten:
                return
            self._forgotten = position
            while self._memory and self._memory[0].position <= position:
                self._pop()
            # Deleting is worth a write only once there is something to delete.
            delete = self._spool is not None and self._spool.bytes > 0
        if delete:
            self._work.set()

    def renumber(self, epoch: int) -> int:
        """Put what is in memory into this epoch; the number of its last record.

        Needed when the hub already knows positions past ours, which it would take as received.
        """
        with self._lock:
            records = list(self._memory)
            self._memory.clear()
            for seq, record in enumerate(records, 1):
                self._memory.append(replace(record, position=Position(epoch, seq)))
            self._newest = next(
                (r for r in reversed(self._memory) if isinstance(r, TickRecord)), None
            )
            return len(records)

    def close(self) -> str:
        """Write what is in memory to the spool; a sentence if that failed."""
        self._stopping = True
        self._work.set()
        self._keeper.join(5.0)
        if self._keeper.is_alive():
            return "The spool's disk does not answer: records in memory are lost."
        try:
            spool = self._spool or self._open_spool()
            self._delete_forgotten(spool)
            with self._lock:  # a sender that did not end may still forget some
                records = list(self._memory)
            self._store(spool, records)
            spool.close()
        except SpoolError as error:
            return f"Records in memory are lost: {error}" if self._memory else ""
        return ""

    # The backlog's own thread

    def _keep(self) -> None:
        while True:
            self._work.wait(60.0 if self._spool is not None else LOOK_SECONDS)
            self._work.clear()
            if self._stopping:
                return
            if self._clock.monotonic() < self._retry_at:
                continue
            try:
                if self._spool is None:
                    self._open_late()
                assert self._spool is not None
                self._delete_forgotten(self._spool)
                self._move_oldest(self._spool)
            except SpoolError as error:
                self._failed(error)
            else:
                self._given_up = False  # asked again: it may have been the disk's bad minute
                self._on_trouble("")

    def _open_late(self) -> None:
        spool = self._open_spool()
        with self._lock:
            self._spool = spool
            self._unopened = False
            if self._given_up:  # the hub has newer records: these are never sent
                self._dropped += spool.ticks
        self._bell.ring()

    def _delete_forgotten(self, spool: Spool) -> None:
        forgotten = self._forgotten
        if self._deleted < forgotten and spool.bytes > 0:
            spool.forget(forgotten)
            self._deleted = forgotten

    def _move_oldest(self, spool: Spool) -> None:
        while True:
            with self._lock:
                if self._memory_tick_count <= self._memory_ticks:
                    return
                moving: list[Record] = []
                ticks = 0
                for record in self._memory:
                    ticks += isinstance(record, TickRecord)
                    if ticks > MOVE_TICKS:
                        break
                    moving.append(record)
            self._store(spool, moving)
            last = moving[-1].position
            with self._lock:
                while self._memory and self._memory[0].position <= last:
                    self._pop()

    def _store(self, spool: Spool, records: Sequence[Record]) -> None:
        if records:
            dropped = spool.add(blocks_of(records), self._clock.wall_ms())
            with self._lock:
                self._dropped += dropped

    def _failed(self, error: SpoolError) -> None:
        """Say it; a damaged file is moved aside, so that the next try begins a new one."""
        self._retry_at = self._clock.monotonic() + RETRY_SECONDS
        self._on_trouble(str(error))
        if not error.corrupt:
            return
        with self._lock:
            spool, self._spool = self._spool, None
            if spool is None:
                return
            self._dropped += spool.ticks
        try:
            spool.set_aside()
        except SpoolError as failure:
            self._on_trouble(str(failure))
            return
        self._retry_at = 0.0
        self._work.set()

    # Under the lock

    def _pop(self) -> None:
        if isinstance(self._memory.popleft(), TickRecord):
            self._memory_tick_count -= 1

    def _bound_memory(self) -> None:
        """Past the bound and a batch more, the spool does not take any: the oldest go, counted."""
        while self._memory_tick_count > self._memory_ticks + MOVE_TICKS:
            if isinstance(self._memory[0], TickRecord):
                self._dropped += 1
            self._pop()

    def _nothing_spooled_between(self, position: Position, oldest: Position) -> bool:
        if self._spool is None or self._spool.bytes == 0:
            return not self._unopened or self._given_up
        return position >= oldest or position == Position(oldest.epoch, oldest.seq - 1)

    def _run_in_memory(self, position: Position, limit: int) -> Sequence[Record] | None:
        start = 0
        while start < len(self._memory) and self._memory[start].position <= position:
            # Numbers of one epoch are contiguous: no need to look at each.
            here = self._memory[start].position
            same = here.epoch == position.epoch
            start += max(1, position.seq - here.seq if same else 0)
        if start >= len(self._memory):
            return None
        first = self._memory[start]
        run = [first]
        for record in islice(self._memory, start + 1, start + limit):
            if not _same_run(run[-1], record):
                break
            run.append(record)
        return run

    def _spooled_after(self, position: Position) -> Block | None:
        """SpoolError while the spool cannot be read: going on would leave its records out."""
        spool = self._spool
        if self._given_up or (spool is None and not self._unopened):
            return None
        try:
            if spool is None:
                raise SpoolError("The spool cannot be opened yet.")
            block = spool.after(position)
            if block is not None and block.first <= position:
                block = _tail(block, position)
        except (zlib.error, DecodeError, LookupError, StopIteration) as error:
            self._failed(SpoolError(f"A block of the spool is damaged: {error}.", corrupt=True))
            return None
        except SpoolError as error:
            if spool is not None:
                self._failed(error)
            now = self._clock.monotonic()
            if self._unreadable_since is None:
                self._unreadable_since = now
            if not error.corrupt and now - self._unreadable_since < GIVE_UP_SECONDS:
                raise
            self._given_up = not error.corrupt
            return None
        self._unreadable_since = None
        return block


def _first(run: Sequence[Record] | Block) -> Position:
    return run.first if isinstance(run, Block) else run[0].position


def _same_run(before: Record, record: Record) -> bool:
    if record.position != Position(before.position.epoch, before.position.seq + 1):
        return False
    if isinstance(before, TickRecord):
        return isinstance(record, TickRecord) and before.layout.id == record.layout.id
    return isinstance(record, EventRecord)


def blocks_of(records: Sequence[Record]) -> list[Block]:
    """Records as the blocks of their runs."""
    blocks = []
    run: list[Record] = []
    for record in records:
        if run and (len(run) >= MOVE_TICKS or not _same_run(run[-1], record)):
            blocks.append(_block(run))
            run = []
        run.append(record)
    if run:
        blocks.append(_block(run))
    return blocks


def _block(run: Sequence[Record]) -> Block:
    ticks = [record for record in run if isinstance(record, TickRecord)]
    last = run[-1].position
    if ticks:
        newest = ticks[-1]
        return Block(last, len(ticks), newest.layout, newest.tick_ms, pack(encode(ticks)))
    events = [record.event for record in run if isinstance(record, EventRecord)]
    data = events_message(events).SerializeToString()
    return Block(last, len(events), None, events[-1].time_ms, data)


def _tail(block: Block, position: Position) -> Block:
    """The part of a block after a position inside it."""
    keep = block.last.seq - position.seq
    if block.layout is None:
        events = pb.Events.FromString(block.data).events[-keep:]
        return replace(block, count=keep, data=pb.Events(events=events).SerializeToString())
    rows = decode(block.layout, unpack(block.data))[-keep:]
    ticks = [TickRecord(block.last, time, block.layout, row) for time, row in rows]
    return replace(block, count=keep, data=pack(encode(ticks)))
