"""Commits what is due: whole nodes in one transaction, then their acknowledgements."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from gpufleet.hub.core import Core
from gpufleet.hub.fleet import Binding
from gpufleet.hub.recorder import Batch, EventBatch, NodeLog, SampleBatch
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import StoreError
from gpufleet.hub.store.grid import SubjectSamples, minute_chunks
from gpufleet.hub.store.health import write_histories
from gpufleet.hub.store.retention import Retention
from gpufleet.hub.store.upkeep import Upkeep
from gpufleet.hub.store.write import EventRow, NodeFlush, write_flushes

PERIOD_SECONDS = 1.0
MAX_RETRY_SECONDS = 15.0
MAX_NODES = 64
"""Nodes in one transaction at most, so that none takes long."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Part:
    """What of one node goes into a transaction."""

    name: str
    interval_ms: int
    log: NodeLog
    batches: list[Batch]


@dataclass(frozen=True, slots=True)
class _Extra:
    """What the hub itself has to write, with no watermark of a node."""

    events: list[EventRow]
    histories: dict[int, Mapping[str, Any] | None]


class Flusher:
    """Writes in the one writer thread; everything else happens on the event loop."""

    def __init__(
        self,
        core: Core,
        database: Database,
        writer: Executor,
        retention: Retention | None = None,
    ) -> None:
        self._core = core
        self._database = database
        self._writer = writer
        self._upkeep = Upkeep(database, retention or Retention())
        self._stopped = False
        self._turn = asyncio.Lock()

    def stop(self) -> None:
        """No more rounds of its own; ``flush`` still works."""
        self._stopped = True

    async def run(self) -> None:
        """Flush what is due each second; after a failure ever less often, up to 15 s."""
        pause = PERIOD_SECONDS
        while not self._stopped:
            await asyncio.sleep(pause)
            if self._stopped:
                return
            if await self.flush():
                pause = PERIOD_SECONDS
                await self._keep_up()
            else:
                pause = min(pause * 2, MAX_RETRY_SECONDS)

    async def flush(self, *, everything: bool = False) -> bool:
        """One round; True when all that was due is committed."""
        async with self._turn:
            self._core.measure_room()
            parts = self._due(everything)
            extra = self._extra()
            good = True
            for first in range(0, max(1, len(parts)), MAX_NODES):
                some = parts[first : first + MAX_NODES]
                if some or extra.events or extra.histories:
                    good = await self._commit(some, extra) and good
                    extra = _Extra([], {})
            self._core.measure_room()
            return good

    def _extra(self) -> _Extra:
        events, self._core.events = self._core.events, []
        histories = self._core.memory.changed(self._core.fleet, self._core.now())
        return _Extra(events, histories)

    def _due(self, everything: bool) -> list[_Part]:
        now = self._core.now()
        parts = []
        for name, node in self._core.fleet.nodes.items():
            log = self._core.logs[node.node_id]
            count = len(log.pending) if everything and not log.flushing else log.due(now)
            if count:
                parts.append(_Part(name, node.interval_ms, log, log.take(count)))
        return parts

    async def _commit(self, parts: list[_Part], extra: _Extra) -> bool:
        """Commit parts and the hub's own events together; what fails stays due."""
        loop = asyncio.get_running_loop()
        committed = False
        try:
            chunks = await loop.run_in_executor(self._writer, self._write, parts, extra)
            committed = True
            self._core.stats.commits += 1
            self._core.stats.chunks += chunks
            if self._core.database_trouble:
                _log.info("database works again")
                self._core.database_trouble = ""
        except StoreError as error:
            self._core.stats.commit_failures += 1
            if self._core.database_trouble != str(error):
                self._core.database_trouble = str(error)
                _log.error("commit failed, samples are kept and written again: %s", error)
        finally:
            for part in parts:
                part.log.done(part.batches, committed)
            if not committed:
                self._core.events[:0] = extra.events
                self._core.memory.not_saved(extra.histories)
        if committed:
            for part in parts:
                self._core.acknowledge(part.log, part.name)
        return committed

    def _write(self, parts: Sequence[_Part], extra: _Extra) -> int:
        flushes = [node_flush(part.log, part.batches, part.interval_ms) for part in parts]
        if extra.events:
            flushes.append(NodeFlush(0, 0, 0, 0, (), tuple(extra.events)))
        with self._database.writing() as connection:
            write_flushes(connection, flushes)
            write_histories(connection, extra.histories)
        return sum(len(flush.chunks) for flush in flushes)

    async def _keep_up(self) -> None:
        """A bounded piece of merging and forgetting, between flushes."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._writer, self._upkeep.turn, self._core.now())
        except StoreError as error:
            _log.error("upkeep of the database failed, it is tried again: %s", error)


def node_flush(log: NodeLog, batches: Sequence[Batch], interval_ms: int) -> NodeFlush:
    """The rows that batches of one node become."""
    chunks: list[SubjectSamples] = []
    events: list[EventRow] = []
    runs = groupby(batches, key=lambda b: id(b.binding) if isinstance(b, SampleBatch) else 0)
    for _, run in runs:
        run_batches = list(run)
        samples = [batch for batch in run_batches if isinstance(batch, SampleBatch)]
        if samples:
            chunks.extend(_chunks(samples[0].binding, samples, interval_ms))
        for batch in run_batches:
            if isinstance(batch, EventBatch):
                events.extend(batch.events)
    last = batches[-1].position
    return NodeFlush(
        node_id=log.node_id,
        epoch=last.epoch,
        seq=last.seq,
        last_seen_ms=log.last_receipt_ms,
        chunks=chunks,
        events=events,
    )


def _chunks(
    binding: Binding, batches: Sequence[SampleBatch], interval_ms: int
) -> Iterable[SubjectSamples]:
    """Minute chunks of batches in one layout and one epoch."""
    for _, run in groupby(batches, key=lambda batch: batch.position.epoch):
        samples = [batch.samples() for batch in run]
        ticks = np.concatenate([s.ticks for s in samples])
        values = np.concatenate([s.values for s in samples])
        present = taken = None
        if any(s.present is not None for s in samples):
            present = np.concatenate(
                [
                    np.ones(s.values.shape, np.bool_) if s.present is None else s.present
                    for s in samples
                ]
            )
        if any(s.taken is not None for s in samples):
            shape = len(binding.layout.subjects)
            taken = np.concatenate(
                [
                    np.ones((len(s.ticks), shape), np.bool_) if s.taken is None else s.taken
                    for s in samples
                ]
            )
        subject_ids = list(binding.subject_ids)
        metrics = list(binding.layout.metrics)
        if None in subject_ids:
            kept = np.repeat([i is not None for i in subject_ids], [len(m) for m in metrics])
            values = values[:, kept]
            present = None if present is None else present[:, kept]
            if taken is not None:
                taken = taken[:, [i is not None for i in subject_ids]]
            metrics = [m for m, i in zip(metrics, subject_ids, strict=True) if i is not None]
        ids = [i for i in subject_ids if i is not None]
        if ids:
            yield from minute_chunks(ids, ticks, values, present, taken, metrics, interval_ms)
