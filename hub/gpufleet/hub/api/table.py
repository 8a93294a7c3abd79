"""One snapshot as columns: what lists, filters, totals and the exposition read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.client.fields import Field, FieldKind
from gpufleet.hub.api.natural import natural_key
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.api.values import Floats, bit_names, json_values, numbers
from gpufleet.hub.views import (
    Allocation,
    NodeView,
    ProcessView,
    Snapshot,
    SubjectView,
    allocation_of,
)
from gpufleet.proto.catalog import BY_NAME, HEALTH_STATES, Metric, SubjectKind

Texts = list[str | None]
Sets = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Group:
    """Subjects of one kind by node, index and key, with their columns in the snapshot."""

    subjects: tuple[SubjectView, ...]
    slots: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    """False where the newest value is old (Snapshot.stale)."""

    def column(self, snapshot: Snapshot, metric: Metric) -> Floats:
        """A metric's fresh values in base units, NaN where absent."""
        row = snapshot.rows.get(metric.id)
        if row is None:
            return np.full(len(self.subjects), np.nan)
        return np.where(self.fresh, snapshot.values[row, self.slots], np.nan)

    def of_node(self, node: str) -> Group:
        """The part of one node."""
        keep = [i for i, subject in enumerate(self.subjects) if subject.node == node]
        return Group(tuple(self.subjects[i] for i in keep), self.slots[keep], self.fresh[keep])


class Table:
    """A snapshot's GPUs as columns, each made when it is first asked for. Threads may share it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._numbers: dict[str, Floats] = {}
        self._texts: dict[str, Texts] = {}
        self._sets: dict[str, Sets] = {}
        self._ranks: dict[str, Floats] = {}
        self._json: dict[str, list[Any]] = {}

    def group(self, kind: SubjectKind) -> Group:
        """Every subject of a kind."""
        return self._groups[kind.value]

    @property
    def gpus(self) -> Group:
        """Every GPU."""
        return self._groups["gpu"]

    def __len__(self) -> int:
        return len(self.gpus.subjects)

    @cached_property
    def _groups(self) -> Mapping[str, Group]:
        found: dict[str, list[SubjectView]] = {kind.value: [] for kind in SubjectKind}
        for subject in self.snapshot.subjects:
            if subject is not None and subject.kind in found:
                found[subject.kind].append(subject)
        groups = {}
        for kind, subjects in found.items():
            subjects.sort(key=lambda s: (natural_key(s.node), s.index, s.key))
            slots = np.array([s.slot for s in subjects], np.int64)
            groups[kind] = Group(tuple(subjects), slots, ~self.snapshot.stale[slots])
        return groups

    @cached_property
    def processes(self) -> Mapping[str, tuple[ProcessView, ...]]:
        """Processes by the UUID of the GPU or MIG device that they use."""
        found: dict[str, list[ProcessView]] = {}
        for processes in self.snapshot.processes.values():
            for process in processes:
                found.setdefault(process.gpu, []).append(process)
        return {uuid: tuple(processes) for uuid, processes in found.items()}

    @cached_property
    def children(self) -> Mapping[str, tuple[SubjectView, ...]]:
        """MIG devices by the UUID of their GPU."""
        found: dict[str, list[SubjectView]] = {}
        for child in self._groups["mig"].subjects:
            found.setdefault(child.parent, []).append(child)
        return {uuid: tuple(children) for uuid, children in found.items()}

    @cached_property
    def names_of_ids(self) -> Mapping[int, SubjectView]:
        """Subjects by their id in the store."""
        return {s.subject_id: s for s in self.snapshot.subjects if s is not None}

    @cached_property
    def node_names(self) -> Mapping[int, str]:
        """Nodes' names by their id in the store."""
        return {node.node_id: node.name for node in self.snapshot.nodes.values()}

    def node_of(self, subject: SubjectView) -> NodeView | None:
        """The node of a subject; ``None`` where it is not known any more."""
        return self.snapshot.nodes.get(subject.node)

    def processes_of(self, uuid: str) -> tuple[ProcessView, ...]:
        """Processes on a GPU and on its MIG devices."""
        mine = self.processes.get(uuid, ())
        for child in self.children.get(uuid, ()):
            mine += self.processes.get(child.key, ())
        return mine

    # Columns of the GPUs, by the names of gpufleet.client.fields

    def numbers(self, name: str) -> Floats:
        """A NUMBER field, or a FLAG as 0 and 1; NaN where absent."""
        if name not in self._numbers:
            self._numbers[name] = self._make_numbers(name)
        return self._numbers[name]

    def _make_numbers(self, name: str) -> Floats:
        subjects = self.gpus.subjects
        if name == "health":
            return _floats(s.health.level for s in subjects)
        if name == "index":
            return np.array([s.index for s in subjects], np.float64)
        if name == "stale":
            return (~self.gpus.fresh).astype(np.float64)
        if name == "node_up":
            up = {node.name: float(node.up) for node in self.snapshot.nodes.values()}
            return _floats(up.get(s.node) for s in subjects)
        if name == "process_count":
            known = self.snapshot.processes
            return _floats(
                len(self.processes_of(s.key)) if fresh and s.node in known else None
                for s, fresh in zip(subjects, self.gpus.fresh.tolist(), strict=True)
            )
        return self.gpus.column(self.snapshot, BY_NAME[name])

    def texts(self, name: str) -> Texts:
        """A TEXT field, ``label.*`` included."""
        if name not in self._texts:
            label = Field(name, FieldKind.TEXT).label
            read = _TEXTS[name] if label is None else _label(label)
            self._texts[name] = [read(self, subject) for subject in self.gpus.subjects]
        return self._texts[name]

    def sets(self, name: str) -> Sets:
        """A SET field; an empty one is absent."""
        if name not in self._sets:
            self._sets[name] = self._make_sets(name)
        return self._sets[name]

    def _make_sets(self, name: str) -> Sets:
        subjects = self.gpus.subjects
        if name == "health_reasons":
            return [s.health.reasons for s in subjects]
        if name == "alerts":
            firing: dict[str, list[str]] = {}
            for one in self.snapshot.alerts:
                if one.id:
                    firing.setdefault(one.subject_key, []).append(one.alertname)
            return [tuple(firing.get(s.key, ())) for s in subjects]
        if name in _PROCESS_TEXTS:
            return [
                self._of_processes(name, s) if fresh else ()
                for s, fresh in zip(subjects, self.gpus.fresh.tolist(), strict=True)
            ]
        bits = self.gpus.column(self.snapshot, BY_NAME[name])
        names = {b: tuple(bit_names(b)) for b in np.unique(bits[np.isfinite(bits)]).tolist()}
        return [names.get(b, ()) for b in bits.tolist()]

    def _of_processes(self, name: str, subject: SubjectView) -> tuple[str, ...]:
        """Also of the job that the GPU was given to: it need not run anything yet."""
        read = _PROCESS_TEXTS[name]
        found = [t for p in self.processes_of(subject.key) if (t := read(p))]
        given = allocation_of(self.snapshot.details.get(subject.slot))
        if given is not None and name in _ALLOCATION_TEXTS:
            found.append(_ALLOCATION_TEXTS[name](given) or "")
        return tuple(dict.fromkeys(filter(None, found)))

    @cached_property
    def allocated(self) -> NDArray[np.bool_]:
        """GPUs that a job was given, whether or not it runs anything there."""
        details = self.snapshot.details
        return np.array(
            [allocation_of(details.get(s.slot)) is not None for s in self.gpus.subjects], np.bool_
        )

    def ranks(self, field: Field) -> Floats:
        """Numbers that sort as the field does, NaN where it is absent."""
        if field.kind in (FieldKind.NUMBER, FieldKind.FLAG):
            return self.numbers(field.name)
        if field.name not in self._ranks:
            texts = self.sort_texts(field)
            known = sorted({t for t in texts if t is not None}, key=natural_key)
            rank: dict[str | None, float] = {text: float(i) for i, text in enumerate(known)}
            rank[None] = np.nan
            self._ranks[field.name] = np.array([rank[t] for t in texts], np.float64)
        return self._ranks[field.name]

    def sort_texts(self, field: Field) -> Texts:
        """The texts by which a TEXT or SET field is sorted."""
        if field.kind is FieldKind.SET:
            return [", ".join(texts) or None for texts in self.sets(field.name)]
        return self.texts(field.name)

    def json(self, name: str) -> list[Any]:
        """Any field as JSON has it."""
        if name not in self._json:
            self._json[name] = self._make_json(name)
        return self._json[name]

    def _make_json(self, name: str) -> list[Any]:
        subjects = self.gpus.subjects
        if name == "labels":
            labels = {node.name: dict(node.labels) for node in self.snapshot.nodes.values()}
            return [labels.get(subject.node, {}) for subject in subjects]
        if name in ("stale", "node_up"):
            return [None if v != v else v == 1 for v in self.numbers(name).tolist()]
        if name in ("health", "index", "process_count"):
            return numbers(BY_NAME["health"], self.numbers(name))
        if name in _TEXTS or name not in BY_NAME:
            if name in _PROCESS_TEXTS or name in ("health_reasons", "alerts"):
                return self.sets(name)
            return self.texts(name)
        return json_values(BY_NAME[name], self.numbers(name))


def _floats(values: Any) -> Floats:
    return np.array([np.nan if v is None else v for v in values], np.float64)


def _label(label: str) -> Callable[[Table, SubjectView], str | None]:
    def read(table: Table, subject: SubjectView) -> str | None:
        node = table.node_of(subject)
        return None if node is None else node.labels.get(label)

    return read


def _method(table: Table, subject: SubjectView) -> str | None:
    node = table.node_of(subject)
    return None if node is None else node.method or None


def _sample_time(table: Table, subject: SubjectView) -> str | None:
    return format_ms(int(table.snapshot.tick_ms[subject.slot]) or None)


def health_state(level: int | None) -> str | None:
    """The name of a health level."""
    return HEALTH_STATES[level] if level is not None and 0 <= level < len(HEALTH_STATES) else None


_TEXTS: Mapping[str, Callable[[Table, SubjectView], str | None]] = {
    "uuid": lambda table, s: s.key,
    "node": lambda table, s: s.node,
    "name": lambda table, s: s.name or None,
    "method": _method,
    "sample_time": _sample_time,
    "health_state": lambda table, s: health_state(s.health.level),
    "fault": lambda table, s: None if s.fault is None else s.fault.state,
}

_PROCESS_TEXTS: Mapping[str, Callable[[ProcessView], str | None]] = {
    "users": lambda p: p.user,
    "programs": lambda p: p.program,
    "jobs": lambda p: p.job,
    "pods": lambda p: p.pod,
}
_ALLOCATION_TEXTS: Mapping[str, Callable[[Allocation], str | None]] = {
    "users": lambda given: given.user,
    "jobs": lambda given: given.job,
}


class Tables:
    """The table of the newest snapshot, made once a version."""

    def __init__(self) -> None:
        self._table: Table | None = None

    def of(self, snapshot: Snapshot) -> Table:
        """The table of this snapshot."""
        if self._table is None or self._table.snapshot is not snapshot:
            self._table = Table(snapshot)
        return self._table
