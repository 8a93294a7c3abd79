"""Which subjects a node speaks for: inventories, claims, ids, and what is known beside metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gpufleet.alerting.health_extras import extras_of
from gpufleet.hub.fleet import CLAIM_MS, Fleet, Node, SubjectEntry
from gpufleet.hub.health import FleetHealth
from gpufleet.hub.health_memory import HealthMemory
from gpufleet.hub.judge import NoteEvent
from gpufleet.hub.registrar import Registrar

MAX_REFUSED = 10_000
"""Refused claims remembered, so that each is recorded once in ten minutes."""


class Subjects:
    """Keeps the live fleet, the registrar and health of one mind on who has what."""

    def __init__(
        self,
        fleet: Fleet,
        health: FleetHealth,
        memory: HealthMemory,
        registrar: Registrar,
        note: NoteEvent,
        now: Callable[[], int],
        mono: Callable[[], int],
        changed: Callable[[Node, Iterable[int]], None],
    ) -> None:
        """``changed`` is told of each inventory, with the slots that the node has no more."""
        self._fleet = fleet
        self._health = health
        self._memory = memory
        self._registrar = registrar
        self._note = note
        self._now = now
        self._mono = mono
        self._changed = changed
        self._rebooted: set[str] = set()
        self._refused_at: dict[tuple[int, str, str], int] = {}
        """When (node id, kind, key) was last recorded as a refused claim."""
        self._nodes: dict[int, Node] = {}

    def rebooted(self, name: str) -> None:
        """The node booted since it was last registered: its GPUs begin anew at its inventory."""
        self._rebooted.add(name)

    async def inventory(
        self, node: Node, entries: Sequence[SubjectEntry], said: Mapping[str, Any]
    ) -> bool:
        """Replace a node's subjects; those that another node owns are refused and recorded.

        ``said`` are the facts of the node's hello. True if all are this node's now.
        """
        accepted = []
        for entry in entries:
            owner = self._owner_before(node, entry.kind, entry.key)
            if owner is None:
                accepted.append(entry)
            else:
                await self._claim_refused(node, entry.kind, entry.key, owner)
        whole = len(accepted) == len(entries)
        own = next((entry.facts for entry in accepted if entry.kind == "node"), None)
        if own is None:
            accepted.insert(0, SubjectEntry(0, "node", node.name, 0, node.name, "", {}))
        else:
            await self._learn(node, {**said, **own})
        moved = [
            (entry, self._registrar.owner(entry.kind, entry.key))
            for entry in accepted
            if entry.kind == "gpu"
        ]
        ids = await self._registrar.subjects(
            node.node_id, accepted, left=self._left_by(node, accepted)
        )
        self._set(
            node,
            [replace(entry, subject_id=ids[(entry.kind, entry.key)]) for entry in accepted],
        )
        node.inventoried = True
        if node.name in self._rebooted:
            self._rebooted.discard(node.name)
            self.note_resets(node, self._now())
        for entry, owner_id in moved:
            if owner_id is not None and owner_id != node.node_id:
                name = self._registrar.name_of(owner_id)
                self._note(
                    node.node_id,
                    ids[(entry.kind, entry.key)],
                    "gpu_moved",
                    "info",
                    f"GPU {entry.key} moved from node {name} to {node.name}.",
                )
        return whole

    def load(self, node: Node, entries: Sequence[SubjectEntry]) -> None:
        """What the database says a node has: shown, silent, until its agent tells it anew."""
        self._set(node, entries)

    def forget(self, node: Node) -> None:
        """Nothing of the node is live any more; its subjects may come back with any node."""
        left = [*node.slots, *(() if node.own_slot is None else (node.own_slot,))]
        self._fleet.remove(node)
        self._nodes = {}
        for slot in left:
            self._health.remove(slot)
        self._changed(node, left)

    def _left_by(self, node: Node, entries: Sequence[SubjectEntry]) -> list[int]:
        """Ids of what the node has now and these do not list."""
        listed = {(entry.kind, entry.key) for entry in entries}
        had = (self._fleet.subjects[slot] for slot in node.slots)
        return [s.subject_id for s in had if s is not None and (s.kind, s.key) not in listed]

    def _set(self, node: Node, entries: Sequence[SubjectEntry]) -> None:
        """Make the live fleet and health know that a node has these, with their ids."""
        before = set(node.slots)
        self._fleet.set_inventory(node, entries)
        for slot in before.difference(node.slots):
            self._health.remove(slot)
        for slot in node.slots:
            subject = self._fleet.subjects[slot]
            if subject is not None and subject.kind == "gpu":
                interval = node.interval_ms
                self._health.set_subject(slot, subject.key, subject.facts, interval_ms=interval)
                self._memory.restore(slot, subject.subject_id)
        self._changed(node, before.difference(node.slots))

    def _owner_before(self, node: Node, kind: str, key: str) -> str | None:
        """The other node that this subject is still kept for.

        After a start of the hub, for the node that the database names until its first inventory.
        """
        slot = self._fleet.slots.get((kind, key))
        owner = self._fleet.owner.get(slot) if slot is not None else None
        if slot is None:
            owner = self._node_of(self._registrar.owner(kind, key))
        if owner is None or owner is node:
            return None
        if owner.inventoried:
            return self._fleet.refused_claim(kind, key, node, self._mono())
        seen_ms = owner.last_receipt_ms
        return owner.name if seen_ms is not None and self._now() - seen_ms < CLAIM_MS else None

    def _node_of(self, node_id: int | None) -> Node | None:
        if len(self._nodes) != len(self._fleet.nodes):  # nodes come, and go by ``forget`` only
            self._nodes = {node.node_id: node for node in self._fleet.nodes.values()}
        return None if node_id is None else self._nodes.get(node_id)

    async def _learn(self, node: Node, facts: Mapping[str, Any]) -> None:
        """Keep what an inventory says of the node: its driver may have opened after the hello."""
        known = self._registrar.known_node(node.name)
        learnt = {**facts, "machine_id": node.facts.get("machine_id", "")}
        if known is not None and learnt != node.facts:
            await self._registrar.node(replace(known.node, facts=learnt))
            node.facts = learnt

    def detail(self, slot: int, detail: Mapping[str, Any]) -> None:
        """What is known of a subject beside metrics; some of it counts for its health."""
        self._fleet.set_detail(slot, detail)
        if self._fleet.is_gpu[slot]:
            self._health.set_extras(slot, extras_of(detail))

    async def _claim_refused(self, node: Node, kind: str, key: str, owner: str) -> None:
        now, claim = self._mono(), (node.node_id, kind, key)
        if now - self._refused_at.get(claim, now - CLAIM_MS) < CLAIM_MS:
            return
        if len(self._refused_at) >= MAX_REFUSED:
            self._refused_at = {c: at for c, at in self._refused_at.items() if now - at < CLAIM_MS}
            if len(self._refused_at) >= MAX_REFUSED:
                return
        self._refused_at[claim] = now
        ids = await self._registrar.subjects(
            node.node_id, [SubjectEntry(0, "node", node.name, 0, node.name, "", {})]
        )
        self._note(
            node.node_id,
            ids[("node", node.name)],
            "gpu_claim_refused",
            "warning",
            f"Node {node.name} claims {kind} {key}, which node {owner} owns and sent within"
            " the last 10 minutes.",
        )

    async def ids(self, node: Node, keys: Sequence[tuple[str, str]]) -> list[int | None]:
        """Surrogate ids of what a node names; ``None`` for what is another node's.

        A subject that no inventory ever listed (an old record in a spool) is registered bare.
        """
        result: list[int | None] = []
        unknown = []
        for kind, key in keys:
            refused = self._owner_before(node, kind, key) is not None
            refused = refused or (kind == "node" and key != node.name)
            subject_id = None if refused else self._registrar.subject_id(kind, key)
            if subject_id is None and not refused:
                unknown.append(SubjectEntry(0, kind, key, 0, "", "", {}))
            result.append(subject_id)
        if unknown:
            ids = await self._registrar.subjects(node.node_id, unknown, present=False)
            result = [
                ids.get((kind, key), known) for (kind, key), known in zip(keys, result, strict=True)
            ]
        return result

    def note_resets(self, node: Node, time_ms: int) -> None:
        """The node booted or its driver was loaded: its GPUs begin anew."""
        for slot in node.slots:
            if self._fleet.is_gpu[slot]:
                self._health.note_reset(slot, time_ms)
