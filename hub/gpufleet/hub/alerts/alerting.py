"""Alerting of one turn of the hub: the engine, its feed and its book, put together.

Everything here happens on the event loop's thread. ``take`` gives what a flush writes in its
transaction; it may be ahead of the watermark (gpufleet.alerting.engine ignores what comes again),
but never behind, since only evaluated records are committed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gpufleet.alerting.engine.engine import Engine
from gpufleet.alerting.engine.running import Standing, Subject, Transition
from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.power.latch import Memory
from gpufleet.alerting.rules.rule import RuleSet
from gpufleet.alerting.state import OPEN, Scope, State
from gpufleet.hub.alert_names import JOB_COUNT, PROCESS_COUNT, alert_schema
from gpufleet.hub.alerts import facts
from gpufleet.hub.alerts.book import Book
from gpufleet.hub.alerts.feed import Feed
from gpufleet.hub.fleet import Binding, Fleet, Node
from gpufleet.hub.health import FleetHealth
from gpufleet.hub.recorder import NodeLog
from gpufleet.hub.store.alerts import AlertWrite, StateRow
from gpufleet.hub.store.write import EventRow
from gpufleet.proto.logline import said

_log = logging.getLogger(__name__)

SECOND_MS = 1000
SETTLE_MS = 60_000
RULE_GONE = "Its rule was removed, has another condition, or is not for it any more."


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database knows of alerts when a turn begins."""

    states: Sequence[tuple[int, Standing]] = ()
    """(subject id, where it stands)."""
    incidents: Sequence[Incident] = ()
    memories: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """Subject id → what the detector of power steps remembers."""


class Alerting:
    """Rules over the live fleet. ``rules`` without any cost next to nothing."""

    def __init__(
        self,
        fleet: Fleet,
        health: FleetHealth,
        rules: RuleSet,
        now: Callable[[], int],
        mono: Callable[[], int],
        stored: Stored | None = None,
    ) -> None:
        stored = stored or Stored()
        self._fleet, self._health = fleet, health
        self._now, self._mono = now, mono
        self.engine = Engine(rules, alert_schema(), fleet.capacity)
        self.book = Book(fleet, stored.incidents)
        self.feed = Feed(fleet, self.engine, now, mono)
        self._to_restore: dict[int, list[Standing]] = {}
        for subject_id, standing in stored.states:
            self._to_restore.setdefault(subject_id, []).append(standing)
        self._memories = dict(stored.memories)
        self._saved: dict[int, Memory | None] = dict.fromkeys(stored.memories)
        self._forgotten: list[StateRow] = []
        self._slot_ids: dict[int, int] = {}
        self._listening_since: int | None = None
        self._looked_ms = 0
        self._settled_ms = mono()
        self._process_lists: dict[str, int] = {}
        self._work: dict[int, facts.Work] = {}
        """Slot → what ran on it when its node last told."""
        self._counts = np.full((2, fleet.capacity), np.nan)
        """Of processes, of jobs."""
        self._moved = True

    # What happens in the fleet

    def listen(self) -> None:
        """The hub is ready: from now on silence can be told."""
        self._listening_since = self._mono()

    @property
    def listened_ms(self) -> int:
        """For how long the hub has listened."""
        return 0 if self._listening_since is None else self._mono() - self._listening_since

    def node_changed(self, node: Node, left: Iterable[int]) -> None:
        """A node's inventory was set; ``left`` are slots that it has no more."""
        known = node.name in self._fleet.nodes
        why = "It left its node's inventory." if known else "Its node was forgotten."
        for slot in left:
            self._decommission(slot, why)
        own = () if node.own_slot is None else (node.own_slot,)
        for slot in (*own, *node.slots):
            view = self._fleet.subjects[slot]
            if view is None:
                continue
            subject = Subject(
                Scope(view.kind),
                view.key,
                node.name,
                view.name,
                node.labels,
                view.facts,
                node.interval_ms,
                node.own_slot,
            )
            before = self.engine.subjects.get(slot)
            if before != subject:
                for standing in self.engine.set_subject(slot, subject):
                    self._end(standing, view.subject_id, "Its rule is not for it any more.")
                if before is not None and _mig_mode(before) != _mig_mode(subject):
                    self._work_changed([slot], self._now())
            self._slot_ids[slot] = view.subject_id
            self._remember(slot, view.subject_id)
            for standing in self._to_restore.pop(view.subject_id, ()):
                self._restore(view.subject_id, replace(standing, key=view.key))

    def _restore(self, subject_id: int, standing: Standing) -> None:
        self._moved = True
        for dropped in self.engine.restore([standing]):
            self._end(dropped, subject_id, RULE_GONE)

    def _remember(self, slot: int, subject_id: int) -> None:
        document = self._memories.pop(subject_id, None)
        if document is not None:
            try:
                self.engine.power.restore(slot, Memory.from_json(document))
            except (KeyError, TypeError, ValueError) as error:  # not of this program's making
                _log.error(
                    "what power steps remember is unreadable %s",
                    said(subject=subject_id, reason=repr(error)),
                )

    def _work_changed(self, slots: list[int], time_ms: int) -> None:
        """What runs on these GPUs changed."""
        self.engine.power.changed(np.array(slots, np.int64), np.full(len(slots), time_ms, np.int64))

    def _decommission(self, slot: int, why: str) -> None:
        self._moved = True
        self._work.pop(slot, None)
        self._counts[:, slot : slot + 1] = np.nan
        subject_id = self._slot_ids.pop(slot, None)
        standings = self.engine.remove(slot)
        if subject_id is None:
            return
        for standing in standings:
            self._end(standing, subject_id, why)

    def _end(self, standing: Standing, subject_id: int, why: str) -> None:
        """What stood of a subject stands no more."""
        self._moved = True
        self._forgotten.append(StateRow(standing.rule, subject_id, None))
        if standing.alert.state in OPEN:
            self.book.close((standing.rule, subject_id), self._now(), "gpufleet", why)

    def end_of_absent(self) -> None:
        """Alerts of subjects that no node has any more end; once what nodes have is loaded."""
        for subject_id, standings in self._to_restore.items():
            for standing in standings:
                self._end(standing, subject_id, "It is in no node's inventory any more.")
        self._to_restore = {}

    def remember_xids(self, events: Iterable[EventRow]) -> None:
        """Xids that the database holds: they count, but nothing new happened."""
        for event in events:
            slot = self._fleet.slot_of_id.get(event.subject_id)
            if slot is not None:
                self.engine.world.xids.setdefault(slot, {})[event.code] = event.time_ms

    def catch_up(self, seconds: float) -> None:
        """Evaluate what waits, for so long at most."""
        self._take(self.feed.turn(seconds))

    def received(self, node: Node, log: NodeLog) -> None:
        """Records were added to a node's log."""
        self.feed.waits(node, log)

    def handed_back(self, log: NodeLog) -> None:
        """The records of a node come again."""
        self.feed.forget(log.node_id)

    def live_copy(self, node: Node, binding: Binding, tick: int) -> None:
        """The newest sample of a node whose backlog drains."""
        self._take(self.feed.live_copy(node, binding, tick))

    def xid(self, slot: int, event: EventRow) -> None:
        """An Xid came to a GPU."""
        if slot in self.engine.subjects:
            self._take(self.engine.note_xid(slot, event.code, event.time_ms))

    # Time passes

    def look(self) -> None:
        """Evaluate what came, and once a second what only the hub knows. Call it at each pulse."""
        self._take(self.feed.turn())
        now_ms, mono = self._now(), self._mono()
        if mono - self._looked_ms < SECOND_MS:
            return
        self._looked_ms = mono
        self._count_processes()
        for name, values in facts.flags(self._fleet, self._health, self.listened_ms).items():
            self.engine.set_flag(name, values)
        self.engine.set_stale(self._fleet.stale)
        concluding = self.listened_ms >= facts.LISTENING_MS
        hub_values = facts.hub_values(self._fleet)
        self._take(self.engine.step_hub(now_ms, hub_values, concluding=concluding))
        if concluding:
            silent_ms = facts.silent_ms(self._fleet, mono, self.listened_ms)
            for node in self._fleet.nodes.values():
                if self.feed.draining(node):
                    own = () if node.own_slot is None else (node.own_slot,)
                    silent_ms[[*node.slots, *own]] = 0
            self._take(self.engine.silence(silent_ms, now_ms))
        for rule, slot, standing in self.engine.standings():
            self.book.refresh(rule, slot, standing.value, standing.peak)
        if self._moved:
            self._moved = False
            self._fleet.alerts = tuple(self.alerts())
            self._fleet.dirty = True
        if mono - self._settled_ms >= SETTLE_MS:
            self._settled_ms = mono
            self.engine.settle(now_ms)

    def _count_processes(self) -> None:
        more = self._fleet.capacity - self._counts.shape[1]
        if more > 0:
            self._counts = np.append(self._counts, np.full((2, more), np.nan), axis=1)
        for name, time_ms in self._fleet.processes_time_ms.items():
            node = self._fleet.nodes.get(name)
            if node is None or self._process_lists.get(name) == time_ms:
                continue
            self._process_lists[name] = time_ms
            work = facts.work_of(self._fleet, node)
            for slot, found in work.items():
                self._counts[:, slot] = len(found.pids), len(found.jobs)
            moved = [
                slot
                for slot, found in work.items()
                if (before := self._work.get(slot)) is not None and before.pids != found.pids
            ]
            self._work.update(work)
            self._work_changed(moved, time_ms)
        for name, counts in zip((PROCESS_COUNT, JOB_COUNT), self._counts, strict=True):
            self.engine.set_facts(name, counts[: self.engine.world.capacity])

    def _take(self, transitions: Iterable[Transition]) -> None:
        now_ms = self._now()
        for transition in transitions:
            self.book.note(transition, now_ms)
            self._moved = True

    # Rules and people

    def replace_rules(self, rules: RuleSet) -> None:
        """New rules are in force; incidents of rules that are gone end."""
        self._moved = True
        before = {rule.name: rule.scope for rule in self.engine.rules.rules}
        for standing in self.engine.replace_rules(rules):
            scope = before.get(standing.rule)
            slot = self._fleet.slots.get((scope.value, standing.key)) if scope else None
            subject_id = self._slot_ids.get(slot) if slot is not None else None
            if subject_id is not None:
                self._end(standing, subject_id, RULE_GONE)

    def acknowledge(self, incident_id: str, by: str, comment: str) -> Incident | None:
        """A person takes note of an open incident; None: there is no such open one."""
        self._moved = True
        found = self._open(incident_id)
        return self.book.acknowledge(found, self._now(), by, comment) if found else None

    def close(self, incident_id: str, by: str, comment: str) -> Incident | None:
        """A person ends an open incident; None: there is no such open one."""
        self._moved = True
        found = self._open(incident_id)
        if found is None:
            return None
        slot = self._fleet.slot_of_id.get(found.subject_id)
        transition = None
        if slot is not None:
            transition = self.engine.close(found.alertname, slot, self._now())
        if transition is not None:
            self.book.note(transition, self._now(), by=by, comment=comment)
        else:
            key = (found.alertname, found.subject_id)
            self.book.close(key, self._now(), by, comment)
        return self.book.changed.get(incident_id)

    def _open(self, incident_id: str) -> Incident | None:
        return next((one for one in self.book.open.values() if one.id == incident_id), None)

    # Readers

    def alerts(self) -> list[Incident]:
        """Every alert that is not well: open incidents, and pending ones, which have no id."""
        found = list(self.book.open.values())
        for rule, slot, standing in self.engine.standings():
            if standing.alert.state is State.PENDING:
                told = self.book.pending(rule, slot, standing)
                if told is not None:
                    found.append(told)
        return found

    # Writing

    def take(self, nodes: Iterable[Node]) -> AlertWrite:
        """What a flush of these nodes writes; give it back with ``not_written`` if it fails."""
        slots = [
            slot
            for node in nodes
            for slot in (*node.slots, *(() if node.own_slot is None else (node.own_slot,)))
        ]
        states = [*self._forgotten]
        self._forgotten = []
        for rule, slot, standing in self.engine.to_store(slots):
            subject_id = self._slot_ids.get(slot)
            if subject_id is not None:
                states.append(StateRow(rule.name, subject_id, standing))
        incidents, self.book.changed = list(self.book.changed.values()), {}
        notices, self.book.notices = self.book.notices, []
        return AlertWrite(states, incidents, notices, self._memories_of(slots))

    def _memories_of(self, slots: Iterable[int]) -> Mapping[int, Mapping[str, float] | None]:
        """What the detector of power steps remembers of these slots, where it is news."""
        found: dict[int, Mapping[str, float] | None] = {}
        wanted = [slot for slot in slots if slot in self._slot_ids]
        remembered = self.engine.power.memory(wanted)
        for slot in wanted:
            subject_id, memory = self._slot_ids[slot], remembered.get(slot)
            if memory != self._saved.get(subject_id):
                found[subject_id] = None if memory is None else memory.to_json()
                if memory is None:
                    del self._saved[subject_id]
                else:
                    self._saved[subject_id] = memory
            elif memory is None and subject_id in self._saved:
                found[subject_id] = None
                del self._saved[subject_id]
        return found

    def not_written(self, write: AlertWrite) -> None:
        """The database did not take it: it is due again."""
        for row in write.states:
            slot = self._fleet.slot_of_id.get(row.subject_id)
            if row.standing is None:
                self._forgotten.append(row)
            elif slot is not None:
                self.engine.not_stored(row.rule, slot)
        for subject_id in write.memories:
            self._saved[subject_id] = None
        self.book.changed = {**{one.id: one for one in write.incidents}, **self.book.changed}
        notices: list[Notice] = [*write.notices, *self.book.notices]
        self.book.notices = notices


def _mig_mode(subject: Subject) -> object:
    return subject.facts.get("mig_mode")
