"""Nodes and subjects: who has which id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select, update

from gpufleet.hub.store.dialect import batches, upsert
from gpufleet.hub.store.tables import nodes, subjects


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says of itself when it connects; its name is its identity."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    machine_id: str = ""
    boot_id: str = ""
    agent_version: str = ""
    method: str = ""
    interval_ms: int = 1000
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A stored node. (epoch, seq) is its watermark; (0, 0): nothing committed yet."""

    id: int
    node: NodeFacts
    epoch: int
    seq: int
    first_seen_ms: int
    last_seen_ms: int


@dataclass(frozen=True, slots=True)
class SubjectFacts:
    """A subject as its node describes it; (kind, key) is its identity.

    ``parent`` is the key of the GPU of a MIG device, or "". ``present``: an inventory lists it; an
    old record may name one that none lists any more.
    """

    kind: str
    key: str
    node_id: int
    index: int = 0
    name: str = ""
    parent: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    present: bool = True


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    """A stored subject. Its id never changes, whichever node it is in."""

    id: int
    kind: str
    key: str
    node_id: int
    parent_id: int | None
    index: int
    name: str
    facts: Mapping[str, Any]
    first_seen_ms: int
    last_seen_ms: int
    present: bool


def load_nodes(connection: Connection) -> list[NodeRecord]:
    """Every node, by id."""
    return [_node(row) for row in connection.execute(select(nodes).order_by(nodes.c.id))]


def load_subjects(connection: Connection) -> list[SubjectRecord]:
    """Every subject, by id."""
    return [_subject(row) for row in connection.execute(select(subjects).order_by(subjects.c.id))]


def register_nodes(
    connection: Connection, facts: Sequence[NodeFacts], now_ms: int
) -> list[NodeRecord]:
    """Make or refresh nodes; their records in the order of ``facts``. Watermarks stay."""
    rows = {
        node.name: {
            "name": node.name,
            "labels": dict(node.labels),
            "machine_id": node.machine_id,
            "boot_id": node.boot_id,
            "agent_version": node.agent_version,
            "method": node.method,
            "interval_ms": node.interval_ms,
            "facts": dict(node.facts),
            "epoch": 0,
            "seq": 0,
            "first_seen_ms": now_ms,
            "last_seen_ms": now_ms,
        }
        for node in facts
    }
    if not rows:
        return []
    kept = ("epoch", "seq", "first_seen_ms", "name")
    changed = [column.name for column in nodes.c if column.name not in ("id", *kept)]
    connection.execute(upsert(connection, nodes, ("name",), changed), list(rows.values()))
    found: dict[str, NodeRecord] = {}
    for names in batches(rows):
        for row in connection.execute(select(nodes).where(nodes.c.name.in_(names))):
            found[row.name] = _node(row)
    return [found[node.name] for node in facts]


def register_subjects(
    connection: Connection, facts: Sequence[SubjectFacts], now_ms: int
) -> list[SubjectRecord]:
    """Make or refresh subjects, also of several nodes; records in the order of ``facts``.

    A subject that was another node's is this one's afterwards. Parents come in the same call or
    are stored already; one that is not known is left out.
    """
    own = [subject for subject in facts if not subject.parent]
    children = [subject for subject in facts if subject.parent]
    found = _register(connection, own, {}, now_ms)
    if children:
        known = {key: record.id for (kind, key), record in found.items() if kind == "gpu"}
        known.update(
            _gpu_ids(connection, {child.parent for child in children if child.parent not in known})
        )
        found.update(_register(connection, children, known, now_ms))
    return [found[subject.kind, subject.key] for subject in facts]


def leave(connection: Connection, subject_ids: Iterable[int]) -> None:
    """These are in no inventory any more; everything else known of them stays."""
    for some in batches(sorted(subject_ids)):
        connection.execute(update(subjects).where(subjects.c.id.in_(some)).values(present=False))


def _register(
    connection: Connection,
    facts: Sequence[SubjectFacts],
    parents: Mapping[str, int],
    now_ms: int,
) -> dict[tuple[str, str], SubjectRecord]:
    rows = {
        (subject.kind, subject.key): {
            "kind": subject.kind,
            "key": subject.key,
            "node_id": subject.node_id,
            "parent_id": parents.get(subject.parent),
            "subject_index": subject.index,
            "name": subject.name,
            "facts": dict(subject.facts),
            "first_seen_ms": now_ms,
            "last_seen_ms": now_ms,
            "present": subject.present,
        }
        for subject in facts
    }
    if not rows:
        return {}
    kept = ("id", "kind", "key", "first_seen_ms")
    changed = [column.name for column in subjects.c if column.name not in kept]
    connection.execute(upsert(connection, subjects, ("kind", "key"), changed), list(rows.values()))
    found: dict[tuple[str, str], SubjectRecord] = {}
    for kind in {kind for kind, _ in rows}:
        for keys in batches(key for k, key in rows if k == kind):
            query = select(subjects).where(subjects.c.kind == kind, subjects.c.key.in_(keys))
            for row in connection.execute(query):
                found[row.kind, row.key] = _subject(row)
    return found


def _gpu_ids(connection: Connection, keys: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for some in batches(sorted(keys)):
        query = select(subjects.c.key, subjects.c.id).where(
            subjects.c.kind == "gpu", subjects.c.key.in_(some)
        )
        found.update({row.key: row.id for row in connection.execute(query)})
    return found


def _node(row: Row[Any]) -> NodeRecord:
    return NodeRecord(
        id=row.id,
        node=NodeFacts(
            name=row.name,
            labels=row.labels,
            machine_id=row.machine_id,
            boot_id=row.boot_id,
            agent_version=row.agent_version,
            method=row.method,
            interval_ms=row.interval_ms,
            facts=row.facts,
        ),
        epoch=row.epoch,
        seq=row.seq,
        first_seen_ms=row.first_seen_ms,
        last_seen_ms=row.last_seen_ms,
    )


def _subject(row: Row[Any]) -> SubjectRecord:
    return SubjectRecord(
        id=row.id,
        kind=row.kind,
        key=row.key,
        node_id=row.node_id,
        parent_id=row.parent_id,
        index=row.subject_index,
        name=row.name,
        facts=row.facts,
        first_seen_ms=row.first_seen_ms,
        last_seen_ms=row.last_seen_ms,
        present=row.present,
    )
