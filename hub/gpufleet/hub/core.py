"""The hub's state and the few operations on it: nodes, sessions, claims, events, readers' waits."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from gpufleet.alerting.rules.rule import RuleSet
from gpufleet.hub import recorder
from gpufleet.hub.alerts.alerting import Alerting, Stored
from gpufleet.hub.fleet import Fleet, Node
from gpufleet.hub.health import FleetHealth
from gpufleet.hub.health_memory import HealthMemory
from gpufleet.hub.hello import Refused, Registration
from gpufleet.hub.judge import Judge
from gpufleet.hub.on_demand import OnDemand
from gpufleet.hub.recorder import EventBatch, NodeLog, Position, SampleBatch
from gpufleet.hub.registrar import Registrar
from gpufleet.hub.store.email import OutboxView
from gpufleet.hub.store.registry import NodeFacts
from gpufleet.hub.store.write import EventRow
from gpufleet.hub.streams import AgentStream
from gpufleet.hub.subjects import Subjects
from gpufleet.hub.trend import LoadTrend
from gpufleet.hub.usage import Reading, UsageMeter
from gpufleet.hub.views import ProcessView, Snapshot
from gpufleet.hub.xids import XidCounts
from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto.catalog import BY_NAME
from gpufleet.proto.logline import said

SLOT_MS = 250
"""All live messages come this long after their tick: in one burst they cost the least."""
MAX_EVENTS = 20_000
"""Events of the hub's own that wait for the database; further ones are dropped, and it is said."""
PROCESSES_MS = 5000
"""Agents list processes this often, or each tick where ticks are rarer."""
LISTS_MISSED = 3
"""What was held is counted over so many lists that did not come, not over longer silence."""

_UTILIZATION = BY_NAME["utilization_ratio"].id
_POWER = BY_NAME["power_watts"].id

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Stats:
    """What the hub counts of itself, for ``gpufleet_hub_*``."""

    records: int = 0
    values: int = 0
    messages: int = 0
    known_records: int = 0
    refused_streams: int = 0
    commits: int = 0
    commit_failures: int = 0
    chunks: int = 0


class Core:
    """Live fleet, uncommitted records and streams. Lives on the event loop's thread."""

    def __init__(
        self,
        registrar: Registrar,
        journal: TextIO | None = None,
        histories: Mapping[int, Mapping[str, Any]] | None = None,
        rules: RuleSet | None = None,
        alerts: Stored | None = None,
    ) -> None:
        self.fleet = Fleet()
        self.health = FleetHealth()
        self.alerts = Alerting(
            self.fleet, self.health, rules or RuleSet(()), self.now, self.mono, alerts
        )
        self.memory = HealthMemory(self.health, histories or {})
        self.xids = XidCounts()
        self.judge = Judge(self.fleet, self.health, self.memory, self.event)
        self.usage = UsageMeter(self.now())
        self.trend = LoadTrend()
        self.registrar = registrar
        self.subjects = Subjects(
            self.fleet,
            self.health,
            self.memory,
            registrar,
            self.event,
            self.now,
            self.mono,
            self.alerts.node_changed,
        )
        self.logs: dict[int, NodeLog] = {}
        self.streams: dict[str, AgentStream] = {}
        self.stats = Stats()
        self.on_demand = OnDemand(self.streams, self.mono)
        self.slot_ms = SLOT_MS
        self.started_ms = self.now()
        self.events: list[EventRow] = []
        """The hub's own events, not yet committed."""
        self.database_trouble = ""
        self.outbox: OutboxView | None = None
        """How the outbox of mails was last seen; ``None``: no mail is configured."""
        self.stopping = False
        self._journal = journal
        self._event_seq = 0
        self._events_dropped = False
        self._published = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        for record in registrar.nodes():
            facts = record.node
            at = Position(record.epoch, record.seq)
            self.logs[record.id] = NodeLog(record.id, received=at, committed=at)
            if registrar.forgotten(facts.name):
                continue
            self.fleet.nodes[facts.name] = Node(
                node_id=record.id,
                name=facts.name,
                labels=facts.labels,
                method=facts.method,
                methods=(facts.method,) if facts.method else (),
                interval_ms=facts.interval_ms,
                agent_version=facts.agent_version,
                facts=facts.facts,
                epoch=record.epoch,
                last_receipt_ms=record.last_seen_ms,
            )
        inventories = registrar.take_inventories()
        for node in self.fleet.nodes.values():
            if node.node_id in inventories:
                self.subjects.load(node, inventories[node.node_id])
        self.alerts.end_of_absent()

    def see_outbox(self, view: OutboxView) -> None:
        """Mail's own thread says how its outbox is."""
        self.outbox = view

    @staticmethod
    def now() -> int:
        """Wall clock in ms UTC."""
        return time.time_ns() // 1_000_000

    @staticmethod
    def mono() -> int:
        """Monotonic clock in ms, for ages and waits."""
        return time.monotonic_ns() // 1_000_000

    # Streams

    async def attach(self, registration: Registration) -> AgentStream:
        """The stream of an agent that said hello; an older one of the same node ends."""
        name = registration.name
        self._refuse_second_machine(registration)
        before = self.registrar.known_node(name)
        if before is not None and before.node.boot_id not in ("", registration.boot_id):
            self.subjects.rebooted(name)
        facts = {**registration.facts, "machine_id": registration.machine_id}
        record = await self.registrar.node(
            NodeFacts(
                name=name,
                labels=registration.labels,
                machine_id=registration.machine_id,
                boot_id=registration.boot_id,
                agent_version=registration.agent_version,
                method=registration.method,
                interval_ms=registration.interval_ms,
                facts=facts,
            )
        )
        node = self.fleet.nodes.get(name)
        if node is None:
            node = self.fleet.nodes[name] = Node(record.id, name)
            if record.id not in self.logs:  # else it was forgotten
                self.logs[record.id] = NodeLog(record.id, Position(0, 0), Position(0, 0))
        self._refuse_second_machine(registration)
        node.labels = registration.labels
        node.method = registration.method
        node.methods = registration.methods
        node.interval_ms = registration.interval_ms
        node.agent_version = registration.agent_version
        node.facts = facts
        node.skew_ms = registration.clock_ms - self.now()
        node.last_receipt_mono = self.mono()
        node.last_receipt_ms = self.now()
        node.connected = True
        stream = AgentStream(registration, node, self.logs[node.node_id])
        older = self.streams.get(name)
        if older is not None:
            older.end("ABORTED", "A newer stream of this node took over.")
        self.streams[name] = stream
        self.fleet.dirty = True
        return stream

    def _refuse_second_machine(self, registration: Registration) -> None:
        """Two machines with one name would push each other out for ever: the second is told."""
        older = self.streams.get(registration.name)
        if older is None or older.node.last_receipt_mono is None:
            return
        same = older.registration.machine_id == registration.machine_id
        silent = self.mono() - older.node.last_receipt_mono > older.node.silence_ms()
        if not same and not silent:
            raise Refused(
                f"The node name {registration.name} is in use by another machine:"
                " give this one its own with --node."
            )

    def welcome(self, stream: AgentStream, version: str) -> pb.HubMessage:
        """What the agent is told first: where the hub stands."""
        log = stream.log
        return pb.HubMessage(
            welcome=pb.Welcome(
                committed=_position(log.committed),
                received=_position(log.received),
                slot_ms=self.slot_ms,
                hub_version=version,
                clock_ms=self.now(),
            )
        )

    def detach(self, stream: AgentStream) -> None:
        """The stream ended. Its node is down only once it has been silent for long enough."""
        if self.streams.get(stream.node.name) is stream:
            del self.streams[stream.node.name]
            stream.node.connected = False
            self.fleet.dirty = True

    def acknowledge(self, log: NodeLog, name: str) -> None:
        """Tell the node what is committed."""
        stream = self.streams.get(name)
        if stream is not None and stream.log is log:
            message = pb.HubMessage(ack=pb.Ack(committed=_position(log.committed)))
            stream.say(message)

    def hand_back(self, log: NodeLog, name: str) -> None:
        """What is not committed of a node cannot be: its agent keeps it, and is told so."""
        log.give_back()
        self.alerts.handed_back(log)
        stream = self.streams.get(name)
        if stream is not None and stream.log is log:
            stream.end(
                "INTERNAL",
                "The hub cannot store what this agent sent (its log says why); the agent keeps"
                " them and tries again.",
            )

    # Processes

    def processes(self, node: Node, listed: Sequence[ProcessView], time_ms: int) -> None:
        """A node's processes now; those who held its GPUs since the last list are counted."""
        before_ms = self.fleet.processes_time_ms.get(node.name)
        self.fleet.set_processes(node, listed, time_ms)
        if before_ms is None:
            return
        of: dict[str, list[ProcessView]] = {}
        for process in listed:
            of.setdefault(process.gpu, []).append(process)
        gpus = []
        for slot in node.slots:
            subject = self.fleet.subjects[slot]
            if subject is not None and subject.key in of:
                gpus.append((self._reading(slot, subject.subject_id), of[subject.key]))
        longest = LISTS_MISSED * max(node.interval_ms, PROCESSES_MS)
        self.usage.note(node.node_id, max(before_ms, time_ms - longest), time_ms, gpus, self.now())

    def _reading(self, slot: int, subject_id: int) -> Reading:
        """What a GPU does now, as far as it is heard."""
        values = self.fleet.values[:, slot]
        utilization = float(values[self.fleet.rows[_UTILIZATION]])
        watts = float(values[self.fleet.rows[_POWER]])
        fresh = not self.fleet.stale[slot]
        return Reading(
            subject_id,
            utilization if fresh and not math.isnan(utilization) else None,
            watts if fresh and not math.isnan(watts) else None,
        )

    # Records

    def received(self, node: Node, batch: SampleBatch | EventBatch, count: int) -> None:
        """A batch was taken into the node's log."""
        self.stats.records += count
        if isinstance(batch, SampleBatch):
            self.stats.values += batch.size
        else:
            self._note_health_events(node, batch)
            self.count_xids(batch.events)
            self._alert_xids(batch.events)
        self.alerts.received(node, self.logs[node.node_id])
        if self._journal is not None:
            self._write_journal(self._journal, node.name, batch.position, count)

    def _write_journal(self, journal: TextIO, node: str, at: Position, count: int) -> None:
        line = {"node": node, "epoch": at.epoch, "seq": at.seq, "count": count}
        try:
            journal.write(json.dumps(line) + "\n")
            journal.flush()
        except OSError as error:  # a full disk: the records themselves are well
            self._journal = None
            _log.error("journal cannot be written and ends here %s", said(reason=error.strerror))

    def _note_health_events(self, node: Node, batch: EventBatch) -> None:
        for event in batch.events:
            slot = self.fleet.slot_of_id.get(event.subject_id)
            if event.kind == "xid" and slot is not None and self.fleet.is_gpu[slot]:
                self.health.note_xid(slot, event.code, event.time_ms)
            elif event.kind == "driver_changed":
                self.subjects.note_resets(node, event.time_ms)

    def _alert_xids(self, events: Iterable[EventRow]) -> None:
        for event in events:
            slot = self.fleet.slot_of_id.get(event.subject_id)
            if event.kind == "xid" and slot is not None:
                self.alerts.xid(slot, event)

    def count_xids(self, events: Iterable[EventRow]) -> None:
        """Count the Xids among events that were just taken, or that the database holds."""
        if self.xids.note(events):
            self.fleet.xids = self.xids.view()
            self.fleet.dirty = True

    async def admit(self) -> None:
        """Wait while more is uncommitted than memory allows."""
        if not self._room.is_set():
            await self._room.wait()

    def measure_room(self) -> None:
        """Open or close the door by what is uncommitted in all."""
        pending = sum(log.pending_values for log in self.logs.values())
        if pending > recorder.MAX_PENDING_VALUES:
            self._room.clear()
        else:
            self._room.set()

    def event(
        self,
        node_id: int,
        subject_id: int,
        kind: str,
        severity: str,
        message: str,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Note an event of the hub's own; it is written within a second."""
        if len(self.events) >= MAX_EVENTS:
            if not self._events_dropped:
                _log.error("events of the hub are dropped %s", said(waiting=len(self.events)))
            self._events_dropped = True
            return
        self._events_dropped = False
        self._event_seq += 1
        self.events.append(
            EventRow(
                subject_id=subject_id,
                time_ms=self.now(),
                node_id=node_id,
                epoch=self.started_ms,
                seq=self._event_seq,
                ordinal=0,
                kind=kind,
                severity=severity,
                code=0,
                message=message,
                data=data or {},
            )
        )

    # Readers

    def snapshot(self) -> Snapshot:
        """The newest published version of the fleet."""
        return self.fleet.snapshot(self.now)

    async def wait_change(self, version: int) -> int:
        """The newest version, once it is another than ``version`` or the hub stops."""
        while self.fleet.version == version and not self.stopping:
            await self._published.wait()
        return self.fleet.version

    def stop(self) -> None:
        """Take no more streams and let every reader that waits go."""
        self.stopping = True
        self._published.set()

    def pulse(self) -> None:
        """Judge silence and skew, then make the present state the next version."""
        self.judge.look(self.mono(), self.now())
        self.alerts.look()
        self.measure_room()
        self.trend.note(self.now(), self.fleet.fresh(_UTILIZATION))
        before = self.fleet.version
        self.fleet.publish()
        if self.fleet.version != before:
            self._published.set()
            self._published = asyncio.Event()


def _position(position: Position) -> pb.Position:
    return pb.Position(epoch=position.epoch, seq=position.seq)
