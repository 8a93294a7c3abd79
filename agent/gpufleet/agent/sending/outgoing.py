"""What one stream sends next: pure decisions over the backlog, the board and the time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpufleet.agent.keeping.backlog import Backlog
from gpufleet.agent.keeping.spool import Block, SpoolError
from gpufleet.agent.records import EventRecord, Layout, Position, Record, TickRecord
from gpufleet.agent.sending.board import Board
from gpufleet.agent.wire.messages import events_message, layout_message
from gpufleet.agent.wire.samples import encode, pack
from gpufleet.proto import telemetry_pb2 as pb

BACKLOG_PER_SECOND = 20.0
"""Messages of up to 60 ticks: a day at 1 s drains in 72 s, and no hub is flooded."""

BACKLOG_BURST = 10.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing to send for so long, unless something changes."""

    seconds: float | None


class Outgoing:
    """One stream's place in the backlog and what of the board it has shown."""

    def __init__(self, backlog: Backlog, board: Board) -> None:
        self._backlog = backlog
        self._board = board
        self._inventory: pb.Inventory | None = None
        self._status: pb.CollectorStatus | None = None
        self._processes: pb.Processes | None = None
        self._details: pb.Details | None = None
        self._announced: int | None = None
        self._live_tick_ms = 0
        self._tokens = BACKLOG_BURST
        self._tokens_at: float | None = None
        self._results: deque[pb.CommandResult] = deque()
        self._waiting: deque[pb.AgentMessage] = deque()
        self._turn = threading.Lock()
        self.cursor: Position | None = None
        """Durable records up to here were sent or are known to the hub; ``None`` until welcome."""
        self.slot_ms = 0
        self.draining = False

    def go_on_after(self, position: Position) -> None:
        """The hub's word on where to continue; waits for a message that is being made.

        That one would move the place again, or take what lies between for lost.
        """
        with self._turn:
            self.cursor = position

    def answer(self, result: pb.CommandResult) -> None:
        """Queue the result of a command."""
        self._results.append(result)

    def next(
        self, wall_ms: int, monotonic: float, *, hurry: bool = False
    ) -> pb.AgentMessage | Pause:
        """The next message, or how long there is none. ``hurry`` waits for no slot (at the end)."""
        with self._turn:
            return self._next(wall_ms, monotonic, hurry)

    def _next(self, wall_ms: int, monotonic: float, hurry: bool) -> pb.AgentMessage | Pause:
        if self._waiting:
            return self._waiting.popleft()
        if self._results:
            return pb.AgentMessage(result=self._results.popleft())
        message = self._changed_on_board()
        if message is not None:
            return message
        if self.cursor is None:
            return Pause(None)
        try:
            run = self._backlog.after(self.cursor)
        except SpoolError:  # said by the backlog, which is asked again
            return self._live_beside_backlog(wall_ms) or Pause(1.0)
        if run is None:
            self.draining = False
            return Pause(None)
        return self._durable(run, wall_ms, monotonic, hurry)

    def _changed_on_board(self) -> pb.AgentMessage | None:
        current = self._board.current
        if current.inventory is not None and current.inventory is not self._inventory:
            self._inventory = current.inventory
            return pb.AgentMessage(inventory=current.inventory)
        if current.status is not None and current.status is not self._status:
            self._status = current.status
            return pb.AgentMessage(status=current.status)
        welcome = self.cursor is not None
        if welcome and current.processes is not None and current.processes is not self._processes:
            self._processes = current.processes
            return pb.AgentMessage(processes=current.processes)
        if welcome and current.details is not None and current.details is not self._details:
            before, self._details = self._details, current.details
            if changed := _changed(before, current.details):
                return pb.AgentMessage(details=changed)
        return None

    def _durable(
        self, run: Sequence[Record] | Block, wall_ms: int, monotonic: float, hurry: bool
    ) -> pb.AgentMessage | Pause:
        if isinstance(run, Block):
            return self._backlogged(run, None, wall_ms, monotonic)
        first = run[0]
        if isinstance(first, EventRecord):
            events = [record.event for record in run if isinstance(record, EventRecord)]
            return self._sent(first.position, run[-1].position, events=events_message(events))
        ticks = [record for record in run if isinstance(record, TickRecord)]
        if len(ticks) > 1:
            return self._backlogged(None, ticks, wall_ms, monotonic)
        self.draining = False
        early_ms = first.tick_ms + self.slot_ms - wall_ms
        # A slot is less than an interval away; more means that the clock was set back.
        if 0 < early_ms < self._board.current.interval_ms and not hurry:
            return Pause(early_ms / 1000)
        self._live_tick_ms = first.tick_ms
        samples = encode(ticks)
        return self._after_layout(
            first.layout, lambda: self._sent(first.position, first.position, samples=samples)
        )

    def _backlogged(
        self,
        block: Block | None,
        ticks: Sequence[TickRecord] | None,
        wall_ms: int,
        monotonic: float,
    ) -> pb.AgentMessage | Pause:
        self.draining = True
        live = self._live_beside_backlog(wall_ms)
        if live is not None:
            return live
        pause = self._throttle(monotonic)
        if pause is not None:
            return pause
        if block is not None and block.layout is None:
            events = pb.Events.FromString(block.data)
            return self._sent(block.first, block.last, events=events)
        if block is not None:
            layout, first, last, data = block.layout, block.first, block.last, block.data
            assert layout is not None
        else:
            assert ticks
            layout, first, last = ticks[0].layout, ticks[0].position, ticks[-1].position
            data = pack(encode(ticks))
        return self._after_layout(layout, lambda: self._sent(first, last, packed_samples=data))

    def _live_beside_backlog(self, wall_ms: int) -> pb.AgentMessage | None:
        """While a backlog drains the newest tick moves the live view; it is not stored (seq 0)."""
        newest = self._backlog.newest_tick()
        if newest is None or newest.tick_ms <= self._live_tick_ms:
            return None
        if wall_ms < newest.tick_ms + self.slot_ms:
            return None
        self._live_tick_ms = newest.tick_ms
        samples = encode([newest])
        return self._after_layout(
            newest.layout,
            lambda: pb.AgentMessage(epoch=newest.position.epoch, samples=samples),
        )

    def _throttle(self, monotonic: float) -> Pause | None:
        if self._tokens_at is not None:
            gained = (monotonic - self._tokens_at) * BACKLOG_PER_SECOND
            self._tokens = min(BACKLOG_BURST, self._tokens + gained)
        self._tokens_at = monotonic
        if self._tokens < 0.999:  # sums of fractions never quite make one
            return Pause((1 - self._tokens) / BACKLOG_PER_SECOND)
        self._tokens -= 1
        return None

    def _after_layout(self, layout: Layout, make: Callable[[], pb.AgentMessage]) -> pb.AgentMessage:
        message = make()
        # At every change, not only at the first: hubs forget the oldest of many layouts.
        if layout.id == self._announced:
            return message
        self._announced = layout.id
        self._waiting.append(message)
        return pb.AgentMessage(layout=layout_message(layout))

    def _sent(
        self,
        first: Position,
        last: Position,
        *,
        samples: pb.Samples | None = None,
        packed_samples: bytes | None = None,
        events: pb.Events | None = None,
    ) -> pb.AgentMessage:
        """The durable message, with the cursor moved past it."""
        before = self.cursor
        assert before is not None
        expected = before.seq + 1 if before.epoch == first.epoch else 1
        self.cursor = last
        return pb.AgentMessage(
            epoch=last.epoch,
            seq=last.seq,
            count=last.seq - first.seq + 1,
            gap=first.seq != expected,
            samples=samples,
            packed_samples=packed_samples,
            events=events,
        )


def _changed(before: pb.Details | None, now: pb.Details) -> pb.Details | None:
    """The documents that this stream has not been told yet: a node's all at once are large."""
    told = {} if before is None else {d.subject_key: d.json for d in before.details}
    changed = [d for d in now.details if told.get(d.subject_key) != d.json]
    return pb.Details(details=changed) if changed else None
