"""The newest values of every subject, in numpy. Owned by the event loop's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.incident import Incident
from gpufleet.hub.views import (
    FaultView,
    HealthView,
    NodeView,
    ProcessView,
    Snapshot,
    SubjectView,
    XidView,
)
from gpufleet.hub.wire import Layout, Samples
from gpufleet.proto import catalog

CLAIM_MS = 600_000
"""A GPU stays with a node that sent within this time; another node's claim is refused."""

_USED = catalog.BY_NAME["memory_used_bytes"].id
_TOTAL = catalog.BY_NAME["memory_total_bytes"].id
_RATIO = catalog.BY_NAME["memory_used_ratio"].id
_HEALTH = catalog.BY_NAME["health"].id
_SKEW = catalog.BY_NAME["clock_skew_seconds"].id


@dataclass(slots=True)
class Node:
    """What the hub knows of a node. Times in ms: ``*_mono`` monotonic, the others wall clock."""

    node_id: int
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    methods: tuple[str, ...] = ()
    interval_ms: int = 1000
    agent_version: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    epoch: int = 0
    connected: bool = False
    up: bool = False
    last_tick_ms: int | None = None
    last_receipt_ms: int | None = None
    last_receipt_mono: int | None = None
    skew_ms: int | None = None
    hung_since_ms: int | None = None
    sentence: str = ""
    dropped_ticks: int = 0
    inventoried: bool = False
    """Its agent told what it has; until then it has what the database says."""
    own_slot: int | None = None
    slots: tuple[int, ...] = ()
    places: int = 0
    """Grows when its subjects' slots changed, so that bindings are made again."""

    def silence_ms(self) -> int:
        """After this long without a message the node counts as down."""
        return max(3 * self.interval_ms, 5000)

    def view(self) -> NodeView:
        return NodeView(
            node_id=self.node_id,
            name=self.name,
            labels=self.labels,
            method=self.method,
            methods=self.methods,
            interval_ms=self.interval_ms,
            agent_version=self.agent_version,
            facts=self.facts,
            epoch=self.epoch,
            connected=self.connected,
            up=self.up,
            last_tick_ms=self.last_tick_ms,
            last_receipt_ms=self.last_receipt_ms,
            skew_ms=self.skew_ms,
            hung_since_ms=self.hung_since_ms,
            sentence=self.sentence,
            dropped_ticks=self.dropped_ticks,
            slot=self.own_slot,
            subjects=self.slots,
        )


@dataclass(frozen=True, slots=True)
class SubjectEntry:
    """A subject of an inventory with its surrogate id."""

    subject_id: int
    kind: str
    key: str
    index: int
    name: str
    parent: str
    facts: Mapping[str, Any]


@dataclass(slots=True)
class Binding:
    """A layout on one node's stream: where its columns go.

    ``subject_ids[s]`` is ``None`` for a subject that this node may not speak for.
    """

    node: Node
    layout: Layout
    subject_ids: tuple[int | None, ...]
    slots: NDArray[np.int64]
    """Slot a subject, -1 where refused."""
    columns: NDArray[np.int64]
    """Columns whose metric the catalogue knows and whose subject has a slot."""
    index: NDArray[np.int64]
    """For each of ``columns``: row * capacity + slot."""
    column_subject: NDArray[np.int64]
    """For each of ``columns``: its subject's place in the layout."""
    multiplier: NDArray[np.float64]
    divisor: NDArray[np.float64]
    capacity: int
    places: int
    live_slots: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


class Fleet:
    """Live state of all nodes and subjects. Not thread-safe; readers take a Snapshot."""

    def __init__(self, capacity: int = 256) -> None:
        self.rows: dict[int, int] = {m.id: i for i, m in enumerate(catalog.metrics())}
        self._frozen_rows = MappingProxyType(self.rows)
        self._agent_rows = np.array(
            [self.rows[m.id] for m in catalog.metrics() if m.source is catalog.Source.AGENT]
        )
        self.capacity = capacity
        self.values = np.full((len(self.rows), capacity), np.nan)
        self.tick_ms = np.zeros(capacity, np.int64)
        self.receipt_mono = np.full(capacity, -(1 << 60), np.int64)
        self.silence_ms = np.full(capacity, 5000, np.int64)
        self.stale = np.ones(capacity, np.bool_)
        self.is_gpu = np.zeros(capacity, np.bool_)
        self.nodes: dict[str, Node] = {}
        self.subjects: list[SubjectView | None] = []
        self.slots: dict[tuple[str, str], int] = {}
        self.owner: dict[int, Node] = {}
        """Slot → the node that speaks for it."""
        self.faults: dict[int, str] = {}
        """Slot → state of its fault."""
        self.details: dict[int, Mapping[str, Any]] = {}
        """Slot → its detail document."""
        self.slot_of_id: dict[int, int] = {}
        self.processes: dict[str, tuple[ProcessView, ...]] = {}
        self.processes_time_ms: dict[str, int] = {}
        self.version = 0
        self.generation = 0
        self.xids: Mapping[int, Mapping[int, XidView]] = {}
        """Subject id → Xid → how often and when; replaced whole."""
        """Grows when any subject's view changed."""
        self.alerts: tuple[Incident, ...] = ()
        """Alerts that are not well; replaced whole."""
        self.dirty = False
        self._snapshot: Snapshot | None = None
        self._subjects_tuple: tuple[int, tuple[SubjectView | None, ...]] = (-1, ())
        self._slot_map: tuple[int, Mapping[str, int]] = (-1, {})

    # Inventory

    def refused_claim(self, kind: str, key: str, node: Node, now_mono: int) -> str | None:
        """The node that owns this subject and sent within CLAIM_MS, unless it is this node."""
        slot = self.slots.get((kind, key))
        owner = self.owner.get(slot) if slot is not None else None
        if owner is None or owner is node or owner.last_receipt_mono is None:
            return None
        return owner.name if now_mono - owner.last_receipt_mono < CLAIM_MS else None

    def set_inventory(self, node: Node, entries: Sequence[SubjectEntry]) -> None:
        """Replace what a node has. Subjects that left keep their slot, but not their values."""
        slots = []
        own: int | None = None
        for entry in entries:
            slot = self._slot(entry.kind, entry.key)
            before = self.subjects[slot]
            self.subjects[slot] = SubjectView(
                slot=slot,
                subject_id=entry.subject_id,
                kind=entry.kind,
                key=entry.key,
                node=node.name,
                index=entry.index,
                name=entry.name,
                parent=entry.parent,
                facts=MappingProxyType(dict(entry.facts)),
                fault=before.fault if before else None,
                health=before.health if before else HealthView(None),
            )
            previous = self.owner.get(slot)
            if previous is not None and previous is not node:
                previous.slots = tuple(s for s in previous.slots if s != slot)
                previous.places += 1
            self.owner[slot] = node
            self.slot_of_id[entry.subject_id] = slot
            self.silence_ms[slot] = node.silence_ms()
            self.is_gpu[slot] = entry.kind == "gpu"
            if entry.kind == "node":
                own = slot
            else:
                slots.append((entry.index, entry.kind != "gpu", slot))
        node.own_slot = own
        kept = {slot for _, _, slot in slots} | {own}
        for slot in set(node.slots) - kept:
            self._forget(slot)
        node.slots = tuple(slot for _, _, slot in sorted(slots))
        node.places += 1
        self._changed()

    def remove(self, node: Node) -> None:
        """The node is forgotten: nothing of it is shown."""
        own = node.own_slot
        self.set_inventory(node, ())
        if own is not None:
            self._forget(own)
        del self.nodes[node.name]
        self.processes.pop(node.name, None)
        self.processes_time_ms.pop(node.name, None)

    def _slot(self, kind: str, key: str) -> int:
        slot = self.slots.get((kind, key))
        if slot is None:
            slot = len(self.subjects)
            if slot == self.capacity:
                self._grow()
            self.subjects.append(None)
            self.slots[(kind, key)] = slot
        return slot

    def _forget(self, slot: int) -> None:
        """A subject left its node's inventory: no values, no view; the slot stays its own."""
        self.values[:, slot] = np.nan
        self.receipt_mono[slot] = -(1 << 60)
        self.subjects[slot] = None
        self.is_gpu[slot] = False
        self.owner.pop(slot, None)
        self.faults.pop(slot, None)
        self.details.pop(slot, None)

    def _grow(self) -> None:
        extra = self.capacity
        self.values = np.hstack([self.values, np.full((len(self.rows), extra), np.nan)])
        self.tick_ms = np.append(self.tick_ms, np.zeros(extra, np.int64))
        self.receipt_mono = np.append(self.receipt_mono, np.full(extra, -(1 << 60), np.int64))
        self.silence_ms = np.append(self.silence_ms, np.full(extra, 5000, np.int64))
        self.stale = np.append(self.stale, np.ones(extra, np.bool_))
        self.is_gpu = np.append(self.is_gpu, np.zeros(extra, np.bool_))
        self.capacity += extra

    def _changed(self) -> None:
        self.generation += 1
        self.dirty = True

    # Samples

    def bind(self, node: Node, layout: Layout, subject_ids: Sequence[int | None]) -> Binding:
        """Where a layout's columns go. Bind again after an inventory (see ``fits``)."""
        slots = np.full(len(layout.subjects), -1, np.int64)
        for i, ((kind, key), subject_id) in enumerate(
            zip(layout.subjects, subject_ids, strict=True)
        ):
            slot = self.slots.get((kind, key))
            if slot is not None and subject_id is not None and self.owner.get(slot) is node:
                slots[i] = slot
        columns, index, owner, multiplier, divisor = [], [], [], [], []
        column = 0
        for s, ids in enumerate(layout.metrics):
            for metric_id in ids:
                row = self.rows.get(metric_id)
                if row is not None and slots[s] >= 0:
                    metric = catalog.BY_ID[metric_id]
                    columns.append(column)
                    index.append(row * self.capacity + int(slots[s]))
                    owner.append(s)
                    multiplier.append(float(metric.multiplier))
                    divisor.append(float(metric.divisor))
                column += 1
        return Binding(
            node=node,
            layout=layout,
            subject_ids=tuple(subject_ids),
            slots=slots,
            columns=np.array(columns, np.int64),
            index=np.array(index, np.int64),
            column_subject=np.array(owner, np.int64),
            multiplier=np.array(multiplier),
            divisor=np.array(divisor),
            capacity=self.capacity,
            places=node.places,
            live_slots=slots[slots >= 0],
        )

    def fits(self, binding: Binding) -> bool:
        """False when the binding's places moved: the fleet grew, or an inventory came."""
        return binding.capacity == self.capacity and binding.places == binding.node.places

    def start_layout(self, binding: Binding) -> None:
        """A node's samples now come in this layout: columns it has no more become absent."""
        self.values[np.ix_(self._agent_rows, binding.live_slots)] = np.nan

    def apply(self, binding: Binding, samples: Samples, now_mono: int, now_ms: int) -> None:
        """Take the last tick of a message as the newest values of its subjects."""
        tick = int(samples.ticks[-1])
        raw = samples.values[-1]
        if len(binding.columns) != binding.layout.columns:
            raw = raw[binding.columns]
        values = raw * binding.multiplier
        values /= binding.divisor
        slots = binding.live_slots
        index = binding.index
        if samples.present is not None:
            values[~samples.present[-1][binding.columns]] = np.nan
        if samples.taken is not None and not samples.taken[-1].all():
            taken = samples.taken[-1]
            keep = taken[binding.column_subject]
            values, index = values[keep], index[keep]
            slots = binding.slots[taken & (binding.slots >= 0)]
        self.values.reshape(-1)[index] = values
        self.tick_ms[slots] = tick
        self.receipt_mono[slots] = now_mono
        node = binding.node
        node.last_tick_ms = tick
        node.last_receipt_ms = now_ms
        node.last_receipt_mono = now_mono
        self.dirty = True

    # Faults, processes

    def set_faults(self, node: Node, faults: Mapping[tuple[str, str], FaultView]) -> None:
        """Replace the faults of a node's subjects, by (kind, key)."""
        for slot in node.slots:
            subject = self.subjects[slot]
            if subject is not None:
                fault = faults.get((subject.kind, subject.key))
                if fault is None:
                    self.faults.pop(slot, None)
                else:
                    self.faults[slot] = fault.state
                if fault != subject.fault:
                    self.subjects[slot] = replace(subject, fault=fault)
                    self._changed()
        self.dirty = True

    def set_health(self, slot: int, health: HealthView) -> None:
        """The verdict on one subject. Bindings stay valid: no place moved."""
        subject = self.subjects[slot]
        if subject is not None:
            self.subjects[slot] = replace(subject, health=health)
            self._subjects_tuple = (-1, ())
            row = self.rows[_HEALTH]
            self.values[row, slot] = np.nan if health.level is None else health.level
            self.dirty = True

    def set_detail(self, slot: int, detail: Mapping[str, Any]) -> None:
        """Replace what is known of a subject beside metrics."""
        self.details[slot] = detail
        self.dirty = True

    def set_processes(self, node: Node, processes: Iterable[ProcessView], time_ms: int) -> None:
        """Replace a node's process list."""
        self.processes[node.name] = tuple(processes)
        self.processes_time_ms[node.name] = time_ms
        self.dirty = True

    # Publishing

    def settle(self, now_mono: int) -> tuple[list[Node], list[Node]]:
        """Derive what the hub derives and judge silence; returns nodes that came up, went down."""
        used, total = self.values[self.rows[_USED]], self.values[self.rows[_TOTAL]]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = used / total
        ratio[~np.isfinite(ratio)] = np.nan
        self.values[self.rows[_RATIO]] = ratio
        stale = now_mono - self.receipt_mono > self.silence_ms
        if not np.array_equal(stale, self.stale):
            self.stale = stale
            self.dirty = True
        came: list[Node] = []
        went: list[Node] = []
        for node in self.nodes.values():
            up = (
                node.last_receipt_mono is not None
                and node.own_slot is not None
                and now_mono - node.last_receipt_mono <= node.silence_ms()
            )
            if up != node.up:
                node.up = up
                (came if up else went).append(node)
                self.dirty = True
            if node.own_slot is not None and node.skew_ms is not None:
                self.values[self.rows[_SKEW], node.own_slot] = node.skew_ms / 1000
        return came, went

    def fresh(self, metric_id: int) -> NDArray[np.float64]:
        """A metric's newest values by slot, NaN where absent or stale."""
        return np.where(self.stale, np.nan, self.values[self.rows[metric_id]])

    def publish(self) -> None:
        """Make the present state the next version, if anything changed."""
        if self.dirty:
            self.dirty = False
            self.version += 1

    def snapshot(self, now: Callable[[], int]) -> Snapshot:
        """The newest published version; the same object until the next."""
        if self._snapshot is not None and self._snapshot.version == self.version:
            return self._snapshot
        count = len(self.subjects)
        if self._subjects_tuple[0] != self.generation:
            self._subjects_tuple = (self.generation, tuple(self.subjects))
        if self._slot_map[0] != self.generation:
            self._slot_map = (
                self.generation,
                MappingProxyType(
                    {s.key: s.slot for s in self.subjects if s is not None and s.kind != "node"}
                ),
            )
        self._snapshot = Snapshot(
            version=self.version,
            time_ms=now(),
            rows=self._frozen_rows,
            values=self.values[:, :count].copy(),
            tick_ms=self.tick_ms[:count].copy(),
            stale=self.stale[:count].copy(),
            subjects=self._subjects_tuple[1],
            nodes=MappingProxyType({name: node.view() for name, node in self.nodes.items()}),
            slots=self._slot_map[1],
            processes=MappingProxyType(dict(self.processes)),
            processes_time_ms=MappingProxyType(dict(self.processes_time_ms)),
            xids=self.xids,
            alerts=self.alerts,
            details=MappingProxyType(dict(self.details)),
        )
        return self._snapshot
