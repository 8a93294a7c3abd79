"""Fleets for the HTTP tests: snapshots by a few words, and a hub that publishes them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Gauge

from gpufleet.hub.api.state import CannotCollect, HubClosing
from gpufleet.hub.store.buckets import Values, single_samples
from gpufleet.hub.store.events import EventPage
from gpufleet.hub.store.history import History, Request, Series
from gpufleet.hub.store.write import EventRow
from gpufleet.hub.trend import LoadTrend, Trend
from gpufleet.hub.views import (
    FaultView,
    HealthView,
    NodeView,
    ProcessView,
    Snapshot,
    SubjectView,
)
from gpufleet.proto import catalog

NEVER_JUDGED = HealthView(None)
NOW_MS = 1_780_000_000_000

USUAL: Mapping[str, float] = MappingProxyType(
    {
        "utilization_ratio": 0.215,
        "memory_used_bytes": 20 * 2**30,
        "memory_total_bytes": 80 * 2**30,
        "memory_used_ratio": 0.25,
        "temperature_celsius": 61,
        "power_watts": 301.125,
        "power_limit_watts": 700,
        "clock_sm_hertz": 1_980_000_000,
        "throttle_reasons": 0x4 | 0x20,
        "energy_joules_total": 12345.678,
    }
)


@dataclass
class FleetBuilder:
    """Collects nodes and subjects; ``snapshot`` freezes them."""

    time_ms: int = NOW_MS
    version: int = 1
    subjects: list[SubjectView] = field(default_factory=list)
    columns: list[Mapping[str, float]] = field(default_factory=list)
    ticks: list[int] = field(default_factory=list)
    stale: list[bool] = field(default_factory=list)
    nodes: dict[str, NodeView] = field(default_factory=dict)
    processes: dict[str, list[ProcessView]] = field(default_factory=dict)

    def node(self, name: str, values: Mapping[str, float] | None = None, **more: Any) -> str:
        """A node that is up; ``more`` replaces fields of its view."""
        slot = None
        if values is not None:
            slot = self._subject("node", name, name, 0, name, values)
        view = NodeView(
            node_id=len(self.nodes) + 1,
            name=name,
            labels={},
            method="sim",
            methods=("sim",),
            interval_ms=1000,
            agent_version="0.1.0",
            facts={"driver_version": "570.1", "cuda_version": None},
            epoch=1,
            connected=True,
            up=True,
            last_tick_ms=self.time_ms,
            last_receipt_ms=self.time_ms + 250,
            skew_ms=3,
            hung_since_ms=None,
            sentence="",
            dropped_ticks=0,
            slot=slot,
        )
        self.nodes[name] = replace(view, **more)
        return name

    def gpu(
        self,
        node: str,
        index: int = 0,
        values: Mapping[str, float] | None = None,
        *,
        uuid: str | None = None,
        name: str = "NVIDIA H100 80GB HBM3",
        stale: bool = False,
        fault: str | None = None,
        level: int | None = 0,
        reasons: tuple[str, ...] = (),
        tick_ms: int | None = None,
        facts: Mapping[str, Any] | None = None,
        kind: str = "gpu",
        parent: str = "",
    ) -> str:
        """A GPU or, by ``kind``, a MIG device; returns its UUID."""
        uuid = uuid if uuid is not None else f"GPU-{node}-{index}"
        slot = self._subject(
            kind,
            uuid,
            node,
            index,
            name,
            USUAL if values is None else values,
            parent=parent,
            facts={"serial": "123"} if facts is None else facts,
            fault=None if fault is None else FaultView(fault, self.time_ms - 5000, "It is gone."),
            health=HealthView(level, reasons),
        )
        self.stale[slot] = stale
        self.ticks[slot] = self.time_ms if tick_ms is None else tick_ms
        view = self.nodes[node]
        self.nodes[node] = replace(view, subjects=(*view.subjects, slot))
        return uuid

    def process(self, node: str, gpu: str, pid: int, **more: Any) -> None:
        """A process of alice's; ``more`` replaces fields of its view."""
        view = ProcessView(
            gpu=gpu,
            pid=pid,
            type="C",
            start_ms=self.time_ms - 60_000,
            user="alice",
            program="python",
            memory_bytes=2**30,
            utilization_ratio=0.5,
            container=None,
            pod=None,
            job="4711",
            arguments=None,
        )
        self.processes.setdefault(node, []).append(replace(view, **more))

    def _subject(
        self,
        kind: str,
        key: str,
        node: str,
        index: int,
        name: str,
        values: Mapping[str, float],
        *,
        parent: str = "",
        facts: Mapping[str, Any] = MappingProxyType({}),
        fault: FaultView | None = None,
        health: HealthView = NEVER_JUDGED,
    ) -> int:
        slot = len(self.subjects)
        view = SubjectView(
            slot, slot + 100, kind, key, node, index, name, parent, facts, fault, health
        )
        self.subjects.append(view)
        self.columns.append(values)
        self.ticks.append(self.time_ms)
        self.stale.append(False)
        return slot

    def snapshot(self) -> Snapshot:
        """The fleet as it is now."""
        rows = {m.id: i for i, m in enumerate(catalog.metrics())}
        values = np.full((len(rows), len(self.subjects)), np.nan)
        for slot, column in enumerate(self.columns):
            for name, value in column.items():
                values[rows[catalog.BY_NAME[name].id], slot] = value
        return Snapshot(
            version=self.version,
            time_ms=self.time_ms,
            rows=rows,
            values=values,
            tick_ms=np.array(self.ticks, np.int64),
            stale=np.array(self.stale, np.bool_),
            subjects=tuple(self.subjects),
            nodes=dict(self.nodes),
            slots={s.key: s.slot for s in self.subjects if s.kind != "node"},
            processes={node: tuple(found) for node, found in self.processes.items()},
            processes_time_ms=dict.fromkeys(self.processes, self.time_ms),
        )


def large_fleet(nodes: int = 1000, gpus: int = 8, seed: int = 1) -> Snapshot:
    """A fleet of ``nodes`` × ``gpus`` with 30 metrics on every GPU."""
    builder = FleetBuilder()
    usual = {m.name: 0.0 for m in list(catalog.metrics(catalog.SubjectKind.GPU))[:30]}
    for n in range(nodes):
        node = builder.node(f"node{n}", labels={"rack": f"r{n % 40}"})
        for i in range(gpus):
            builder.gpu(node, i, usual, uuid=f"GPU-{n:08x}-0000-4000-8000-{i:012x}")
    return vary(builder.snapshot(), seed)


def vary(snapshot: Snapshot, seed: int) -> Snapshot:
    """The next version, with other values wherever there is one."""
    random = np.random.default_rng(seed)
    values = snapshot.values.copy()
    for metric in catalog.metrics():
        row = values[snapshot.rows[metric.id]]
        present = ~np.isnan(row)
        raw = random.integers(0, 1000, present.sum())
        row[present] = raw * metric.multiplier / metric.divisor
    return replace(
        snapshot,
        values=values,
        version=snapshot.version + 1,
        time_ms=snapshot.time_ms + 1000,
        tick_ms=snapshot.tick_ms + 1000,
    )


class PublishedHub:
    """A hub's state for the HTTP side: whatever snapshot was published last."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.registry = CollectorRegistry()
        Gauge("gpufleet_hub_test", "A number of the hub.", registry=self.registry).set(7)
        self.is_ready = True
        self.asked: list[Any] = []
        self.page = EventPage((), None)
        self.error: Exception | None = None
        self.collected: dict[tuple[str, str], Any] = {}
        self.load = LoadTrend()
        self._snapshot = snapshot
        self._changed = asyncio.Event()
        self._closing = False

    def publish(self, snapshot: Snapshot) -> None:
        """Make this the newest version."""
        self._snapshot = snapshot
        self._wake()

    def close(self) -> None:
        """Begin to stop."""
        self._closing = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def trend(self) -> Trend:
        return self.load.view

    async def wait_change(self, version: int) -> int:
        while not self._closing and self._snapshot.version == version:
            await self._changed.wait()
        if self._closing:
            raise HubClosing
        return self._snapshot.version

    async def history(
        self, requests: Sequence[Request], start_ms: int, end_ms: int, points: int
    ) -> History:
        """Three samples of each metric: 1, absent, 3 of its smallest steps."""
        self.asked.append((tuple(requests), start_ms, end_ms, points))
        if self.error is not None:
            raise self.error
        ticks = np.array([NOW_MS, NOW_MS + 1000, NOW_MS + 2000], np.int64)
        present = np.array([True, False, True])
        series = tuple(
            Series(
                r.subject_id,
                r.metric,
                single_samples(
                    r.metric, Values(ticks, np.array([1, 0, 3], np.int64), present), 1000
                ),
            )
            for r in requests
        )
        return History(start_ms, end_ms, 1000, True, series)

    async def collect(self, node: str, method: str) -> Any:
        """What a test said that this node collects."""
        try:
            return self.collected[node, method]
        except KeyError:
            raise CannotCollect(f"Node {node} cannot.") from None

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
        self.asked.append((subject_ids, node_id, start_ms, end_ms, kinds, limit, cursor))
        if self.error is not None:
            raise self.error
        return self.page

    def ready(self) -> tuple[bool, str]:
        return self.is_ready, "The hub is ready." if self.is_ready else "The hub is starting."

    def info(self) -> Mapping[str, Any]:
        return {"version": "0.1.0", "database": "sqlite"}


def event(subject_id: int, time_ms: int = NOW_MS, **more: Any) -> EventRow:
    """An Xid of a subject; ``more`` replaces fields."""
    row = EventRow(
        subject_id=subject_id,
        time_ms=time_ms,
        node_id=1,
        epoch=1,
        seq=1,
        ordinal=0,
        kind="xid",
        severity="critical",
        message="Xid 79: the GPU fell off the bus.",
        code=79,
    )
    return replace(row, **more)
