"""Surrogate ids of nodes and subjects: known in memory, new ones written in groups."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gpufleet.hub.fleet import SubjectEntry
from gpufleet.hub.store import registry
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import StoreError
from gpufleet.hub.store.registry import NodeFacts, NodeRecord, SubjectFacts, SubjectRecord
from gpufleet.hub.wire import WireError

MAX_NODES = 20_000
"""Twice of what one hub is meant for."""
MAX_NEW_SUBJECTS = 16_384
"""Of one node while this hub runs: 8 GPUs of 7 MIG devices, repartitioned 290 times."""


@dataclass(slots=True)
class _Wish:
    """What one caller wants registered, and where it waits."""

    node: NodeFacts | None
    subjects: Sequence[SubjectFacts]
    left: Sequence[int]
    """Ids of subjects that are in no inventory any more."""
    done: asyncio.Future[NodeRecord | None]


def _digest(
    node_id: int, index: int, name: str, parent_id: int | None, facts: Mapping[str, Any]
) -> bytes:
    plain = [node_id, index, name, parent_id, dict(facts)]
    return hashlib.blake2b(
        orjson.dumps(plain, option=orjson.OPT_SORT_KEYS), digest_size=16
    ).digest()


@dataclass(frozen=True, slots=True)
class _Known:
    """A subject as it is stored; its facts only as a digest, to see whether they changed."""

    id: int
    node_id: int
    digest: bytes
    present: bool

    @classmethod
    def of(cls, record: SubjectRecord) -> _Known:
        digest = _digest(record.node_id, record.index, record.name, record.parent_id, record.facts)
        return cls(record.id, record.node_id, digest, record.present)


class Registrar:
    """Call from the event loop; writes happen in the writer thread, many callers' at once.

    A fleet of 1,000 agents that reconnects costs a few transactions, not 2,000.
    """

    def __init__(self, database: Database, writer: Executor) -> None:
        self._database = database
        self._writer = writer
        self._wishes: list[_Wish] = []
        self._task: asyncio.Task[None] | None = None
        with database.reading() as connection:
            self._nodes = {record.node.name: record for record in registry.load_nodes(connection)}
            records = registry.load_subjects(connection)
        self._subjects = {(record.kind, record.key): _Known.of(record) for record in records}
        self._inventories = _inventories(records)
        self._new_of_node: Counter[int] = Counter()

    def nodes(self) -> list[NodeRecord]:
        """Every node known."""
        return list(self._nodes.values())

    def take_inventories(self) -> Mapping[int, Sequence[SubjectEntry]]:
        """What each node had when the hub ended, by the node's id; told once."""
        taken, self._inventories = self._inventories, {}
        return taken

    def known_node(self, name: str) -> NodeRecord | None:
        """A node's record as it was last registered."""
        return self._nodes.get(name)

    def name_of(self, node_id: int) -> str:
        """The name of a node that is registered, ``?`` if none has this id."""
        return next((n for n, record in self._nodes.items() if record.id == node_id), "?")

    def forgotten(self, name: str) -> bool:
        """Whether the node was forgotten and has not come back."""
        own = self._subjects.get(("node", name))
        return own is not None and not own.present

    def subject_id(self, kind: str, key: str) -> int | None:
        """The id of a subject, ``None`` for one never registered."""
        record = self._subjects.get((kind, key))
        return record.id if record else None

    def owner(self, kind: str, key: str) -> int | None:
        """The id of the node that a subject is registered with."""
        record = self._subjects.get((kind, key))
        return record.node_id if record else None

    async def node(self, facts: NodeFacts) -> NodeRecord:
        """The record of a node, made or refreshed as ``facts`` say; StoreError if it cannot be.

        WireError if there are too many nodes.
        """
        known = self._nodes.get(facts.name)
        if known is not None and known.node == facts:
            return known
        if known is None and len(self._nodes) >= MAX_NODES:
            raise WireError(f"This hub knows {MAX_NODES} nodes and takes no more.")
        record = await self._wish(facts, ())
        assert record is not None
        return record

    async def subjects(
        self,
        node_id: int,
        entries: Sequence[SubjectEntry],
        *,
        left: Sequence[int] = (),
        present: bool = True,
    ) -> Mapping[tuple[str, str], int]:
        """Ids by (kind, key), registered with this node from now on; StoreError if it cannot be.

        ``left`` are ids of what the node had and has no more; ``present`` tells whether the entries
        are of an inventory.
        WireError if it brought too many new ones already.
        """
        wanted = [
            SubjectFacts(e.kind, e.key, node_id, e.index, e.name, e.parent, e.facts, present)
            for e in entries
        ]
        changed = [facts for facts in wanted if not self._unchanged(facts)]
        new = sum(self.subject_id(facts.kind, facts.key) is None for facts in changed)
        if self._new_of_node[node_id] + new > MAX_NEW_SUBJECTS:
            raise WireError(
                f"This node named more than {MAX_NEW_SUBJECTS} new subjects: no more are taken"
                " until the hub is started again."
            )
        if changed or left:
            await self._wish(None, changed, left)
        self._new_of_node[node_id] += new
        return {(e.kind, e.key): self._subjects[(e.kind, e.key)].id for e in entries}

    async def forget(self, node_id: int, name: str, subject_ids: Sequence[int]) -> None:
        """The node and its subjects are in no inventory any more; StoreError if not written."""
        own = [SubjectFacts("node", name, node_id, name=name, present=False)]
        known = self.subject_id("node", name) is not None
        await self._wish(None, () if known else own, subject_ids)

    def _unchanged(self, facts: SubjectFacts) -> bool:
        known = self._subjects.get((facts.kind, facts.key))
        if known is None or known.present != facts.present:
            return False
        parent = self._subjects.get(("gpu", facts.parent)) if facts.parent else None
        return known.digest == _digest(
            facts.node_id, facts.index, facts.name, parent.id if parent else None, facts.facts
        )

    async def _wish(
        self,
        node: NodeFacts | None,
        subjects: Sequence[SubjectFacts],
        left: Sequence[int] = (),
    ) -> NodeRecord | None:
        loop = asyncio.get_running_loop()
        wish = _Wish(node, subjects, left, loop.create_future())
        self._wishes.append(wish)
        if self._task is None:
            self._task = loop.create_task(self._grant())
        return await wish.done

    async def _grant(self) -> None:
        """Write what has been wished for until nothing is."""
        try:
            while self._wishes:
                wishes, self._wishes = self._wishes, []
                await self._grant_together(wishes)
        finally:
            self._task = None

    async def _grant_together(self, wishes: Sequence[_Wish]) -> None:
        """One transaction; where one wish is at fault, each gets its own."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._write, wishes)
        except Exception as error:
            if len(wishes) > 1 and not isinstance(error, StoreError):
                for wish in wishes:
                    await self._grant_together([wish])
                return
            for wish in wishes:
                if not wish.done.done():
                    wish.done.set_exception(error)
            return
        for wish in wishes:
            if not wish.done.done():
                wish.done.set_result(self._nodes[wish.node.name] if wish.node else None)

    def _write(self, wishes: Sequence[_Wish]) -> None:
        """In the writer thread. The caches change by whole entries, after the commit."""
        nodes = {wish.node.name: wish.node for wish in wishes if wish.node}
        subjects = {(s.kind, s.key): s for wish in wishes for s in wish.subjects}
        left = {subject_id for wish in wishes for subject_id in wish.left}
        now_ms = time.time_ns() // 1_000_000
        with self._database.writing() as connection:
            node_records = registry.register_nodes(connection, list(nodes.values()), now_ms)
            registry.leave(connection, left)
            subject_records = registry.register_subjects(
                connection, list(subjects.values()), now_ms
            )
        for node_record in node_records:
            self._nodes[node_record.node.name] = node_record
        for key, known in list(self._subjects.items()) if left else ():
            if known.id in left:
                self._subjects[key] = replace(known, present=False)
        for record in subject_records:
            self._subjects[(record.kind, record.key)] = _Known.of(record)


def _inventories(records: Sequence[SubjectRecord]) -> dict[int, list[SubjectEntry]]:
    """By node: what its newest inventory listed."""
    keys = {record.id: record.key for record in records}
    found: dict[int, list[SubjectEntry]] = {}
    for r in records:
        if r.present:
            parent = "" if r.parent_id is None else keys.get(r.parent_id, "")
            entry = SubjectEntry(r.id, r.kind, r.key, r.index, r.name, parent, r.facts)
            found.setdefault(r.node_id, []).append(entry)
    return found
