"""What HTTP asks of the hub: the live fleet, and history with what is not committed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from gpufleet.hub.api.state import HubClosing
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.core import Core
from gpufleet.hub.forgetting import forget
from gpufleet.hub.recorder import subject_tail
from gpufleet.hub.selfmetrics import registry
from gpufleet.hub.store.chunk import Chunk
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.events import EventPage, query_events
from gpufleet.hub.store.export import Plan, Resolution, plan_export
from gpufleet.hub.store.groups import By, Groups, Top, query_groups, query_top
from gpufleet.hub.store.history import History, Request, query_history
from gpufleet.hub.store.usage import Usage, UsageBy, query_usage
from gpufleet.hub.trend import Trend
from gpufleet.hub.views import Snapshot
from gpufleet.proto.catalog import BY_NAME, Metric

T = TypeVar("T")

_USED_RATIO = BY_NAME["memory_used_ratio"].id
_RATIO_OF = (BY_NAME["memory_used_bytes"].id, BY_NAME["memory_total_bytes"].id)


class Readers:
    """Implements gpufleet.hub.api.state.HubState. Queries run in reader threads."""

    def __init__(
        self,
        core: Core,
        database: Database,
        threads: Executor,
        version: str,
        commit: Callable[[], Awaitable[bool]],
    ) -> None:
        """``commit`` writes what is due; False if the database did not take it."""
        self._core = core
        self._commit = commit
        self._database = database
        self._threads = threads
        self._version = version
        self._registry = registry(core, version)

    @property
    def registry(self) -> CollectorRegistry:
        """The hub's own metrics."""
        return self._registry

    def snapshot(self) -> Snapshot:
        """The newest version of the fleet."""
        return self._core.snapshot()

    def trend(self) -> Trend:
        """The recent load of every GPU."""
        return self._core.trend.view

    async def wait_change(self, version: int) -> int:
        """The newest version, once it is another; HubClosing when the hub stops."""
        newest = await self._core.wait_change(version)
        if self._core.stopping:
            raise HubClosing
        return newest

    async def history(
        self, requests: Sequence[Request], start_ms: int, end_ms: int, points: int
    ) -> History:
        """Stored samples and those still in memory, each tick once."""
        # Memory first: what is committed in between is then in both, and counts once.
        tail = self._tail(requests)
        return await self._read(
            lambda: query_history(self._database, requests, start_ms, end_ms, points, tail)
        )

    def _tail(self, requests: Sequence[Request]) -> Mapping[int, Chunk]:
        wanted: dict[int, set[int]] = {}
        for request in requests:
            metric_id = request.metric.id
            ids = _RATIO_OF if metric_id == _USED_RATIO else (metric_id,)
            wanted.setdefault(request.subject_id, set()).update(ids)
        tail = {}
        for subject_id, metric_ids in wanted.items():
            slot = self._core.fleet.slot_of_id.get(subject_id)
            node = self._core.fleet.owner.get(slot) if slot is not None else None
            if node is not None:
                pending = self._core.logs[node.node_id].pending
                tail[subject_id] = subject_tail(pending, subject_id, sorted(metric_ids))
        return tail

    async def groups(
        self,
        metric: Metric,
        by: By,
        start_ms: int,
        end_ms: int,
        points: int,
        *,
        label: str = "",
        subject_ids: Collection[int] | None = None,
    ) -> Groups:
        """Groups of GPUs over time, of what is committed."""
        return await self._read(
            lambda: query_groups(
                self._database,
                metric,
                by,
                start_ms,
                end_ms,
                points,
                label=label,
                subject_ids=subject_ids,
            )
        )

    async def top(
        self,
        metric: Metric,
        column: str,
        start_ms: int,
        end_ms: int,
        limit: int,
        *,
        by: By,
        label: str = "",
        lowest: bool = False,
        subject_ids: Collection[int] | None = None,
    ) -> Sequence[Top]:
        """Groups in order of a column over the whole range, of what is committed."""
        return await self._read(
            lambda: query_top(
                self._database,
                metric,
                column,
                start_ms,
                end_ms,
                limit,
                by=by,
                label=label,
                lowest=lowest,
                subject_ids=subject_ids,
            )
        )

    async def usage(
        self,
        by: UsageBy,
        start_ms: int,
        end_ms: int,
        *,
        node_ids: Collection[int] | None = None,
        limit: int = 1000,
    ) -> Sequence[Usage]:
        """Who held the fleet's GPUs, of what is committed."""

        def read() -> Sequence[Usage]:
            with self._database.reading() as connection:
                return query_usage(connection, by, start_ms, end_ms, node_ids=node_ids, limit=limit)

        return await self._read(read)

    async def plan_export(
        self,
        start_ms: int,
        end_ms: int,
        *,
        resolution: Resolution,
        gpus: Collection[str] = (),
        node: str | None = None,
        names: Sequence[str] = (),
    ) -> Plan:
        """An export of what is committed."""
        return await self._read(
            lambda: plan_export(
                self._database,
                start_ms,
                end_ms,
                resolution=resolution,
                gpus=gpus,
                node=node,
                names=names,
            )
        )

    async def events(
        self,
        *,
        subject_ids: Collection[int] | None = None,
        node_id: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        kinds: Collection[str] | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> EventPage:
        """A page of committed events, newest first."""

        def read() -> EventPage:
            with self._database.reading() as connection:
                return query_events(
                    connection,
                    subject_ids=subject_ids,
                    node_id=node_id,
                    start_ms=start_ms,
                    end_ms=end_ms,
                    kinds=kinds,
                    limit=limit,
                    cursor=cursor,
                )

        return await self._read(read)

    async def _read(self, query: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, query)

    async def collect(self, node: str, method: str) -> Mapping[str, Any]:
        """What the node's agent collects now with this method."""
        return await self._core.on_demand.collect(node, method)

    async def forget(self, node: str) -> int | None:
        """Forget a node that is down, and write so; how many GPUs it had."""
        return await forget(self._core, self._commit, node)

    def ready(self) -> tuple[bool, str]:
        """Ready while it runs and its database takes commits."""
        if self._core.stopping:
            return False, "The hub is stopping."
        if self._core.database_trouble:
            return False, self._core.database_trouble
        return True, "The hub takes samples and answers."

    def info(self) -> Mapping[str, Any]:
        """Facts of the hub for ``/info``."""
        return {
            "version": self._version,
            "start_time": format_ms(self._core.started_ms),
            "database": self._database.engine.url.get_backend_name(),
            "streams": len(self._core.streams),
            "uncommitted_ticks": sum(log.pending_ticks for log in self._core.logs.values()),
        }
