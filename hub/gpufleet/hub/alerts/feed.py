"""Feeds the engine: each node's records in sequence, one sample of every node that has one a round.

Live samples are read where the fleet holds them; what came in a batch, or was overtaken by a newer
one before its turn, is laid out in a matrix of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.engine.engine import Engine
from gpufleet.alerting.engine.running import Transition
from gpufleet.hub.fleet import Binding, Fleet, Node
from gpufleet.hub.recorder import NodeLog, SampleBatch
from gpufleet.hub.wire import Samples
from gpufleet.proto.catalog import BY_NAME

OLDEST_MS = 6 * 3_600_000
"""Samples older than this are stored and never alert."""
WAIT_MS = 60_000
"""Live samples wait for the backlog before them no longer than this."""
TURN_SECONDS = 0.05
"""The event loop is held no longer than this by one turn."""

_USED, _TOTAL, _RATIO = (
    BY_NAME[name].id for name in ("memory_used_bytes", "memory_total_bytes", "memory_used_ratio")
)

Ints = NDArray[np.int64]


@dataclass(slots=True)
class _Queue:
    """What of one node is not evaluated yet: batches of its log from ``log.evaluated`` on."""

    node: Node
    log: NodeLog
    place: int = 0
    """Ticks of the first of them that are evaluated."""
    samples: Samples | None = None
    since_mono: int = 0
    """Since when it has not been empty."""
    live_tick: int = 0
    """A live sample that did not wait; what comes before it is late."""


@dataclass(slots=True)
class _Piece:
    """One sample of one node."""

    slots: Ints
    tick: int
    epoch: int


@dataclass(slots=True)
class FeedStats:
    """What the feed counts of itself."""

    evaluated: int = 0
    """Ticks of nodes."""
    late: int = 0
    """Of these, such as came after a live one that had not waited."""
    too_old: int = 0


@dataclass(slots=True)
class Feed:
    """Call ``turn`` often; everything happens on the event loop's thread."""

    fleet: Fleet
    engine: Engine
    now: Callable[[], int]
    mono: Callable[[], int]
    stats: FeedStats = field(default_factory=FeedStats)
    _queues: dict[int, _Queue] = field(default_factory=dict)
    _matrix: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    _layouts: dict[int, Binding] = field(default_factory=dict)
    """Node id → the binding whose columns its slots of the matrix hold."""
    _derived: Ints = field(init=False)
    """Rows that no sample has: what the hub derives is of now, also beside older samples."""

    def __post_init__(self) -> None:
        named = self.engine.schema.metrics.values()
        self._derived = np.array([metric.row for metric in named if metric.hub], np.int64)

    def waits(self, node: Node, log: NodeLog) -> None:
        """A batch was added to this node's log."""
        if node.node_id not in self._queues:
            self._queues[node.node_id] = _Queue(node, log, since_mono=self.mono())

    def forget(self, node_id: int) -> None:
        """The log was given back: its records come again."""
        self._queues.pop(node_id, None)

    def draining(self, node: Node) -> bool:
        """Whether more of a node waits here than its newest samples."""
        queue = self._queues.get(node.node_id)
        return queue is not None and self.mono() - queue.since_mono > 2 * node.interval_ms

    def live_copy(self, node: Node, binding: Binding, tick: int) -> list[Transition]:
        """The newest sample, shown while the backlog before it drains: evaluated after WAIT_MS."""
        queue = self._queues.get(node.node_id)
        if queue is None or self.mono() - queue.since_mono <= WAIT_MS or tick <= queue.live_tick:
            return []
        queue.live_tick = tick
        slots = binding.live_slots
        piece = _Piece(slots, tick, node.epoch)
        return self._step([piece], self.fleet.values)

    def turn(self, seconds: float = TURN_SECONDS) -> list[Transition]:
        """Evaluate what waits, round by round, for about so long."""
        found: list[Transition] = []
        if not self.engine.rules.rules:
            self._pass_all()
        end = time.monotonic() + seconds
        while self._queues:
            found += self._round()
            if time.monotonic() > end:
                break
        return found

    def _pass_all(self) -> None:
        """There is no rule: nothing waits."""
        for queue in self._queues.values():
            queue.log.evaluated = len(queue.log.pending)
        self._queues.clear()

    def _round(self) -> list[Transition]:
        """The next sample of each node that has one."""
        live: list[_Piece] = []
        laid: list[_Piece] = []
        for node_id, queue in list(self._queues.items()):
            piece, direct = self._next(queue)
            if piece is not None:
                (live if direct else laid).append(piece)
            if queue.log.evaluated >= len(queue.log.pending):
                del self._queues[node_id]
        found = self._step(live, self.fleet.values) if live else []
        if laid:
            self._ratios(np.concatenate([piece.slots for piece in laid]))
            found += self._step(laid, self._matrix)
        return found

    def _next(self, queue: _Queue) -> tuple[_Piece | None, bool]:
        """The node's next sample that counts, and whether the fleet shows that very one."""
        log = queue.log
        while log.evaluated < len(log.pending):
            batch = log.pending[log.evaluated]
            if not isinstance(batch, SampleBatch):
                log.evaluated += 1
                continue
            binding, epoch = batch.binding, batch.position.epoch
            slots = binding.live_slots
            if batch.count == 1 and self._shown(queue.node, batch):
                self._done(queue)
                self.stats.evaluated += 1
                return _Piece(slots, batch.last_tick, epoch), True
            if queue.samples is None:
                queue.samples = batch.samples()
            place, samples = queue.place, queue.samples
            tick = int(samples.ticks[place])
            queue.place += 1
            if queue.place == len(samples.ticks):
                self._done(queue)
            if tick < self.now() - OLDEST_MS:
                self.stats.too_old += 1
                continue
            if tick <= queue.live_tick:
                self.stats.late += 1
                continue
            self.stats.evaluated += 1
            return _Piece(self._lay(binding, samples, place), tick, epoch), False
        return None, False

    @staticmethod
    def _done(queue: _Queue) -> None:
        queue.log.evaluated += 1
        queue.place = 0
        queue.samples = None

    def _shown(self, node: Node, batch: SampleBatch) -> bool:
        """The fleet's values are this very sample, whole."""
        return (
            batch.whole
            and node.last_tick_ms == batch.last_tick
            and node.epoch == batch.position.epoch
            and self.fleet.fits(batch.binding)
        )

    def _lay(self, binding: Binding, samples: Samples, place: int) -> Ints:
        """Write one sample into the matrix; the slots that have one."""
        shape = self.fleet.values.shape
        if self._matrix.shape != shape:
            self._matrix = np.full(shape, np.nan)
            self._layouts.clear()
        node_id = binding.node.node_id
        if self._layouts.get(node_id) is not binding:
            self._matrix[:, binding.live_slots] = np.nan
            self._layouts[node_id] = binding
        values = samples.values[place][binding.columns] * binding.multiplier
        values /= binding.divisor
        if samples.present is not None:
            values[~samples.present[place][binding.columns]] = np.nan
        rows, slots = np.divmod(binding.index, binding.capacity)
        taken = binding.live_slots
        if samples.taken is not None and not samples.taken[place].all():
            keep = samples.taken[place][binding.column_subject]
            values, rows, slots = values[keep], rows[keep], slots[keep]
            taken = binding.slots[samples.taken[place] & (binding.slots >= 0)]
        self._matrix[rows, slots] = values
        derived = self._derived[:, None]
        self._matrix[derived, taken] = self.fleet.values[derived, taken]
        return taken

    def _ratios(self, slots: Ints) -> None:
        """What the hub derives of one sample."""
        rows = self.fleet.rows
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self._matrix[rows[_USED], slots] / self._matrix[rows[_TOTAL], slots]
        ratio[~np.isfinite(ratio)] = np.nan
        self._matrix[rows[_RATIO], slots] = ratio

    def _step(self, pieces: list[_Piece], values: NDArray[np.float64]) -> list[Transition]:
        lengths = [len(piece.slots) for piece in pieces]
        return self.engine.step_samples(
            np.concatenate([piece.slots for piece in pieces]),
            np.repeat(np.array([piece.epoch for piece in pieces], np.int64), lengths),
            np.repeat(np.array([piece.tick for piece in pieces], np.int64), lengths),
            values,
        )
