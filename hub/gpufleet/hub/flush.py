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

from gpufleet.hub.alerts.feed import TURN_SECONDS
from gpufleet.hub.core import Core
from gpufleet.hub.fleet import Binding
from gpufleet.hub.recorder import Batch, EventBatch, NodeLog, SampleBatch
from gpufleet.hub.store.alerts import AlertWrite, write_alerts
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import StoreError
from gpufleet.hub.store.grid import SubjectSamples, minute_chunks
from gpufleet.hub.store.health import write_histories
from gpufleet.hub.store.retention import Retention
from gpufleet.hub.store.upkeep import Upkeep
from gpufleet.hub.store.usage import write_usage
from gpufleet.hub.store.write import EventRow, NodeFlush, write_flushes
from gpufleet.hub.usage import UsageRow
from gpufleet.proto.logline import said

PERIOD_SECONDS = 1.0
MAX_RETRY_SECONDS = 15.0
OVERDUE_MS = 120_000
"""What waits for so long is written whatever minute the clock says: it may have been set back."""
LAST_SECONDS = 20.0
"""At its end the hub evaluates alerts for so long at most; agents keep what is left."""
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
    usage: list[UsageRow]
    alerts: AlertWrite


_NOTHING = _Extra([], {}, [], AlertWrite())


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
        self._upkeep_trouble = ""
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
        """One round; False when the database did not take it: what was due is due again."""
        async with self._turn:
            if everything:
                await self._evaluate_rest()
            else:
                self._core.alerts.catch_up(0.0)
            parts = self._due(everything)
            good = await self._round(parts, self._extra(parts, everything))
            while good and everything and (parts := self._due(everything)):
                good = await self._round(parts, self._extra(parts, everything))
            self._core.measure_room()
            return good

    async def _evaluate_rest(self) -> None:
        """Let the rules see what waits, in turns, so that streams and HTTP live on meanwhile."""
        end = self._core.mono() + LAST_SECONDS * 1000
        logs = self._core.logs.values()
        while any(log.evaluated < len(log.pending) for log in logs) and self._core.mono() < end:
            self._core.alerts.catch_up(TURN_SECONDS)
            await asyncio.sleep(0)

    async def _round(self, parts: list[_Part], extra: _Extra) -> bool:
        """Whole nodes at a time, the hub's own with the first of them."""
        pieces = [(parts[:MAX_NODES], extra)]
        pieces += [
            (parts[first : first + MAX_NODES], _NOTHING)
            for first in range(MAX_NODES, len(parts), MAX_NODES)
        ]
        return await self._commit_each(pieces)

    async def _commit_each(self, pieces: Iterable[tuple[list[_Part], _Extra]]) -> bool:
        """A transaction a piece; once the database fails the others wait for the next round."""
        good = True
        for parts, extra in pieces:
            if not good:
                self._put_back(parts, extra)
            elif parts or extra is not _NOTHING:
                good = await self._commit(parts, extra)
        return good

    def _extra(self, parts: Sequence[_Part], everything: bool) -> _Extra:
        """What goes in before or with these nodes' records; alerts may be ahead of them."""
        alerts = self._core.alerts.take(self._core.fleet.nodes[part.name] for part in parts)
        events, self._core.events = self._core.events, []
        histories = self._core.memory.changed(self._core.fleet, self._core.now())
        usage = self._core.usage.changed(self._core.now(), everything=everything)
        some = events or histories or usage or alerts
        return _Extra(events, histories, usage, alerts) if some else _NOTHING

    def _due(self, everything: bool) -> list[_Part]:
        now = self._core.now()
        parts = []
        for name, node in self._core.fleet.nodes.items():
            log = self._core.logs[node.node_id]
            overdue = log.pending and self._core.mono() - log.waiting_since >= OVERDUE_MS
            whole = (everything or overdue) and not log.flushing
            count = len(log.pending) if whole else log.due(now)
            count = min(count, log.evaluated)
            if count:
                parts.append(_Part(name, node.interval_ms, log, log.take(count)))
        return parts

    async def _commit(self, parts: list[_Part], extra: _Extra) -> bool:
        """Commit parts and the hub's own events together; False if the database failed."""
        loop = asyncio.get_running_loop()
        try:
            chunks = await loop.run_in_executor(self._writer, self._write, parts, extra)
        except StoreError as error:
            self._put_back(parts, extra)
            self._core.stats.commit_failures += 1
            if self._core.database_trouble != str(error):
                self._core.database_trouble = str(error)
                _log.error("commit failed and is tried again %s", said(reason=error))
            return False
        except Exception:
            # Something in here can never be written. The others shall not wait for it.
            if len(parts) + (extra is not _NOTHING) > 1:
                return await self._commit_each(
                    [([], extra), *(([part], _NOTHING) for part in parts)]
                )
            self._give_up(parts, extra)
            return True
        except BaseException:
            self._put_back(parts, extra)
            raise
        self._core.stats.commits += 1
        self._core.stats.chunks += chunks
        if self._core.database_trouble:
            _log.info("database works again")
            self._core.database_trouble = ""
        for part in parts:
            part.log.done(part.batches, committed=True)
            part.log.waiting_since = self._core.mono()
            self._core.acknowledge(part.log, part.name)
        self._core.usage.saved(self._core.now())
        return True

    def _put_back(self, parts: Iterable[_Part], extra: _Extra) -> None:
        """A later round shall write them."""
        for part in parts:
            part.log.done(part.batches, committed=False)
        self._core.events[:0] = extra.events
        self._core.memory.not_saved(extra.histories)
        self._core.usage.not_saved(extra.usage)
        self._core.alerts.not_written(extra.alerts)

    def _give_up(self, parts: Iterable[_Part], extra: _Extra) -> None:
        """Hand a node's records back to its agent; what is the hub's own is lost, and said."""
        for part in parts:
            _log.exception("records of a node cannot be written %s", said(node=part.name))
            part.log.done(part.batches, committed=False)
            self._core.hand_back(part.log, part.name)
        if extra is not _NOTHING:
            _log.exception(
                "the hub's own cannot be written %s",
                said(
                    events=len(extra.events),
                    histories=len(extra.histories),
                    alerts=len(extra.alerts.incidents),
                ),
            )

    def _write(self, parts: Sequence[_Part], extra: _Extra) -> int:
        flushes = [node_flush(part.log, part.batches, part.interval_ms) for part in parts]
        if extra.events:
            flushes.append(NodeFlush(0, 0, 0, 0, (), tuple(extra.events)))
        with self._database.writing() as connection:
            write_flushes(connection, flushes)
            write_histories(connection, extra.histories)
            write_usage(connection, extra.usage)
            write_alerts(connection, extra.alerts)
        return sum(len(flush.chunks) for flush in flushes)

    async def _keep_up(self) -> None:
        """A bounded piece of merging and forgetting, between flushes."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._writer, self._upkeep.turn, self._core.now())
        except StoreError as error:
            _log.error("upkeep of the database failed and is tried again %s", said(reason=error))
        except Exception as error:  # upkeep can wait, flushing can't
            if self._upkeep_trouble != repr(error):
                self._upkeep_trouble = repr(error)
                _log.exception("upkeep of the database cannot be done")


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
