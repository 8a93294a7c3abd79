"""What an agent's messages mean: each is checked, applied to the live fleet and logged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gpufleet.hub import door
from gpufleet.hub.core import Core
from gpufleet.hub.fleet import Binding, SubjectEntry
from gpufleet.hub.recorder import EventBatch, Position, SampleBatch, Verdict
from gpufleet.hub.store.write import EventRow
from gpufleet.hub.streams import AgentStream
from gpufleet.hub.views import FaultView, ProcessView
from gpufleet.hub.wire import (
    MAX_SUBJECTS,
    Layout,
    Samples,
    WireError,
    decode_layout,
    decode_samples,
    part_of,
    unpack_samples,
)
from gpufleet.hub.xids import described
from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto.version import PROTOCOL_MINOR

FUTURE_MS = 3_600_000
"""A tick this far ahead of the hub's clock is refused."""
MAX_EVENTS = 256
MAX_PROCESSES = 4096
MAX_LAYOUTS = 64
ASK_AGAIN_MS = 5_000
CLAIM_AGAIN_MS = 15_000
MAX_FOREIGN_METRICS = 1024
"""Metrics that the catalogue does not know, of one node while this hub runs."""
_SEVERITIES = frozenset({"info", "warning", "critical"})
_FAULTS = frozenset({"lost", "hung", "no_permission", "reset_required", "missing", "error"})


class Session:
    """What is remembered of one stream's messages. They are handled one after another."""

    def __init__(self, core: Core, stream: AgentStream) -> None:
        self.core = core
        self.node = stream.node
        self.log = stream.log
        self._say = stream.say
        self._said = stream.registration.facts
        self._layouts: dict[int, Layout] = {}
        self._bindings: dict[int, Binding] = {}
        self._live_layout: int | None = None
        self._asked_after: Position | None = None
        self._asked_at = 0
        self._skew_best: int | None = None
        self._skew_since = 0
        self._future_told = False
        self._claims: Sequence[SubjectEntry] = ()
        self._claimed_at = 0

    async def handle(self, message: pb.AgentMessage) -> None:
        """Apply one message; WireError refuses the stream."""
        self.node.last_receipt_mono = self.core.mono()
        self.node.last_receipt_ms = self.core.now()
        if self._claims and self.core.mono() - self._claimed_at >= CLAIM_AGAIN_MS:
            await self._claim(self._claims)
        await self._apply(message)
        if message.seq:
            await self.core.admit()

    async def _apply(self, message: pb.AgentMessage) -> None:
        match message.WhichOneof("body"):
            case "samples":
                await self._samples(message, message.samples, live=True)
            case "packed_samples":
                samples = unpack_samples(message.packed_samples)
                await self._samples(message, samples, live=False)
            case "layout":
                self._layout(decode_layout(message.layout))
            case "inventory":
                await self._inventory(message.inventory)
            case "events":
                await self._events(message)
            case "status":
                self._status(message.status)
            case "processes":
                self._processes(message.processes)
            case "details":
                self._details(message.details)
            case "result":
                self.core.on_demand.answered(self.node.name, message.result)
            case "hello":
                raise WireError("A second hello came on one stream.")
            case None:
                raise WireError(
                    "The hub does not understand a message of this agent, which seems newer:"
                    f" upgrade the hub (it speaks gpufleet.v1 minor {PROTOCOL_MINOR})."
                )

    # Samples

    def _layout(self, layout: Layout) -> None:
        foreign = self.log.foreign_metrics
        foreign.update(i for ids in layout.metrics for i in ids if i not in self.core.fleet.rows)
        if len(foreign) > MAX_FOREIGN_METRICS:
            raise WireError(
                f"Node {self.node.name} sends more than {MAX_FOREIGN_METRICS} metrics"
                " that this hub does not know."
            )
        if len(self._layouts) >= MAX_LAYOUTS:
            oldest = next(iter(self._layouts))
            del self._layouts[oldest]
            self._bindings.pop(oldest, None)
        self._layouts[layout.id] = layout
        self._bindings.pop(layout.id, None)

    async def _binding(self, layout_id: int) -> Binding:
        binding = self._bindings.get(layout_id)
        if binding is not None and self.core.fleet.fits(binding):
            return binding
        layout = self._layouts.get(layout_id)
        if layout is None:
            raise WireError("Samples name a layout that was not announced on this stream.")
        ids = await self.core.subjects.ids(self.node, layout.subjects)
        binding = self.core.fleet.bind(self.node, layout, ids)
        self._bindings[layout_id] = binding
        return binding

    async def _samples(self, message: pb.AgentMessage, wire: pb.Samples, *, live: bool) -> None:
        binding = await self._binding(wire.layout)
        samples = decode_samples(wire, binding.layout)
        door.ticks(samples.ticks)
        if message.seq:
            door.epoch(message.epoch, self.node.name, self.core.now())
            door.count(message.count, message.seq, len(samples.ticks))
        now = self.core.now()
        whole = len(samples.ticks)
        kept = whole
        if int(samples.ticks[-1]) > now + FUTURE_MS:
            kept = int(np.searchsorted(samples.ticks, now + FUTURE_MS, side="right"))
            samples = part_of(samples, 0, kept)
        if kept:
            if message.seq:
                self._record(message, wire, binding, samples, message.seq - (whole - kept))
            if live:
                self._show(message, wire, binding, samples, now)
        if kept < whole:
            await self._refuse_future(message)

    def _show(
        self,
        message: pb.AgentMessage,
        wire: pb.Samples,
        binding: Binding,
        samples: Samples,
        now: int,
    ) -> None:
        """Move the live view, unless these records are older than what it shows."""
        if self._live_layout != wire.layout:
            self._live_layout = wire.layout
            self.core.fleet.start_layout(binding)
        last = int(samples.ticks[-1])
        if (message.epoch, last) > (self.node.epoch, self.node.last_tick_ms or 0):
            self.node.epoch = message.epoch
            self.core.fleet.apply(binding, samples, self.core.mono(), now)
            self._skew(last, now)
            if not message.seq:
                self.core.alerts.live_copy(self.node, binding, last)

    async def _refuse_future(self, message: pb.AgentMessage) -> None:
        """Pass over records of the future, so that those behind them are not held up."""
        if not message.seq:
            return
        (own,) = await self.core.subjects.ids(self.node, [("node", self.node.name)])
        count = max(1, message.count)
        verdict, _ = self.log.judge(message.epoch, message.seq, count, message.gap)
        if verdict is Verdict.JUMP:
            self._ask_again()
        if verdict is not Verdict.TAKE:
            return
        rows: tuple[EventRow, ...] = ()
        if not self._future_told and own is not None:
            self._future_told = True
            text = (
                f"A sample of node {self.node.name} lies more than {FUTURE_MS // 1000} s in the"
                " future and is refused, as are those after it that do: set the node's clock."
            )
            rows = (
                EventRow(
                    subject_id=own,
                    time_ms=self.core.now(),
                    node_id=self.node.node_id,
                    epoch=message.epoch,
                    seq=message.seq,
                    ordinal=0,
                    kind="future_ticks_refused",
                    severity="warning",
                    message=text,
                ),
            )
        self._accept(EventBatch(Position(message.epoch, message.seq), rows), 0)

    def _record(
        self,
        message: pb.AgentMessage,
        wire: pb.Samples,
        binding: Binding,
        samples: Samples,
        seq: int,
    ) -> None:
        """Take samples that end with record ``seq``; they are the first ones of ``wire``."""
        count = len(samples.ticks)
        verdict, known = self.log.judge(message.epoch, seq, count, message.gap)
        if verdict is Verdict.KNOWN:
            self.core.stats.known_records += count
            return
        if verdict is Verdict.JUMP:
            self._ask_again()
            return
        same_epoch = message.epoch == self.log.received.epoch
        if same_epoch and int(samples.ticks[known]) <= self.log.last_tick:
            raise WireError(f"Ticks of node {self.node.name} do not increase within an epoch.")
        batch = SampleBatch(
            position=Position(message.epoch, seq),
            binding=binding,
            wire=wire.SerializeToString(),
            count=count - known,
            skip=known,
            last_tick=int(samples.ticks[-1]),
            whole=samples.taken is None or bool(samples.taken.all()),
        )
        self._accept(batch, batch.count)

    def _accept(self, batch: SampleBatch | EventBatch, count: int) -> None:
        self._asked_after = None
        if not self.log.pending:
            self.log.waiting_since = self.core.mono()
        self.log.add(batch)
        self.log.last_receipt_ms = self.core.now()
        self.core.received(self.node, batch, count)

    def _ask_again(self) -> None:
        at, now = self.log.received, self.core.mono()
        if self._asked_after != at or now - self._asked_at >= ASK_AGAIN_MS:
            self._asked_after, self._asked_at = at, now
            command = pb.Command(
                id=self.core.on_demand.next_number(),
                resend_after=pb.Position(epoch=at.epoch, seq=at.seq),
            )
            self._say(pb.HubMessage(command=command))

    def _skew(self, tick: int, now: int) -> None:
        """Clock skew: the least delayed of a minute's live messages bounds it from below."""
        seen = tick + self.core.slot_ms - now
        if self._skew_best is None or now - self._skew_since > 60_000 or seen > self._skew_best:
            if self._skew_best is None or now - self._skew_since > 60_000:
                self._skew_since = now
            self._skew_best = seen
            self.node.skew_ms = seen

    # Everything else

    async def _inventory(self, inventory: pb.Inventory) -> None:
        if len(inventory.subjects) > MAX_SUBJECTS:
            raise WireError(f"An inventory lists more than {MAX_SUBJECTS} subjects.")
        entries = []
        seen = set()
        for subject in inventory.subjects:
            door.subject(subject.kind, subject.key)
            if subject.kind == "node" and subject.key != self.node.name:
                raise WireError("An inventory speaks for another node.")
            if (subject.kind, subject.key) in seen:
                raise WireError(f"An inventory lists {subject.key[:64]} twice.")
            seen.add((subject.kind, subject.key))
            entries.append(
                SubjectEntry(
                    subject_id=0,
                    kind=subject.kind,
                    key=subject.key,
                    index=_index(subject.index),
                    name=door.text(subject.name, 256, "A GPU's name"),
                    parent=door.text(subject.parent, 256, "A parent's UUID"),
                    facts=door.json_object(subject.facts_json, f"The facts of {subject.key[:64]}"),
                )
            )
        await self._claim(entries)

    async def _claim(self, entries: Sequence[SubjectEntry]) -> None:
        """Take an inventory; what is refused of it is claimed again later (a node renamed, a GPU
        moved): the agent says its inventory only once."""
        self._claimed_at = self.core.mono()
        whole = await self.core.subjects.inventory(self.node, entries, self._said)
        self._claims = () if whole else entries

    async def _events(self, message: pb.AgentMessage) -> None:
        if len(message.events.events) > MAX_EVENTS:
            raise WireError(f"A message has more than {MAX_EVENTS} events.")
        if not message.seq:
            return
        door.epoch(message.epoch, self.node.name, self.core.now())
        count = door.count(message.count, message.seq, len(message.events.events))
        keys = [
            door.subject(event.subject_kind or "node", event.subject_key or self.node.name)
            for event in message.events.events
        ]
        *ids, own = await self.core.subjects.ids(self.node, [*keys, ("node", self.node.name)])
        # Judged only now: while this stream waited, a newer one may have brought the same records.
        verdict, known = self.log.judge(message.epoch, message.seq, count, message.gap)
        if verdict is Verdict.JUMP:
            self._ask_again()
        if verdict is not Verdict.TAKE:
            return
        first = message.seq - count + 1
        rows = tuple(
            self._event_row(event, subject_id if subject_id is not None else own, at)
            for at, event, subject_id in zip(
                (Position(message.epoch, first + i) for i in range(count)),
                message.events.events,
                ids,
                strict=True,
            )
        )
        self._accept(EventBatch(Position(message.epoch, message.seq), rows[known:]), count - known)

    def _event_row(self, event: pb.Event, subject_id: int | None, at: Position) -> EventRow:
        """The row of one event: each is a record of its own, however many came in one message."""
        if event.severity not in _SEVERITIES:
            raise WireError(f"An event has the unknown severity {event.severity[:32]!r}.")
        assert subject_id is not None  # a node may always speak for itself
        row = EventRow(
            subject_id=subject_id,
            time_ms=door.time_ms(event.time_ms, "An event"),
            node_id=self.node.node_id,
            epoch=at.epoch,
            seq=at.seq,
            ordinal=0,
            kind=door.text(event.kind, 64, "An event's kind"),
            severity=event.severity,
            code=event.code,
            message=door.shortened(event.message, 2048),
            data=door.json_object(event.data_json, "An event's data"),
        )
        return described(row)

    def _status(self, status: pb.CollectorStatus) -> None:
        faults = {}
        for fault in status.faults[:MAX_SUBJECTS]:
            if fault.state not in _FAULTS:
                raise WireError(f"A fault has the unknown state {fault.state[:32]!r}.")
            faults[(fault.subject_kind, fault.subject_key)] = FaultView(
                fault.state, fault.since_ms, door.shortened(fault.sentence, 1024)
            )
        self.core.fleet.set_faults(self.node, faults)
        self.node.hung_since_ms = status.hung_since_ms or None
        self.node.sentence = door.shortened(status.sentence, 1024)
        self.node.dropped_ticks = status.dropped_ticks

    def _details(self, message: pb.Details) -> None:
        for entry in message.details[:MAX_SUBJECTS]:
            slot = self.core.fleet.slots.get((entry.subject_kind, entry.subject_key))
            if slot is None or self.core.fleet.owner.get(slot) is not self.node:
                continue
            detail = door.json_object(entry.json, f"The detail of {entry.subject_key[:64]}")
            self.core.subjects.detail(slot, detail)

    def _processes(self, message: pb.Processes) -> None:
        if len(message.processes) > MAX_PROCESSES:
            raise WireError(f"A process list has more than {MAX_PROCESSES} processes.")
        listed = [process_view(p) for p in message.processes]
        self.core.processes(self.node, listed, message.time_ms)


def process_view(process: pb.Process) -> ProcessView:
    """One process as readers see it; empty texts mean not known."""
    optional: Callable[[str], str | None] = lambda text: door.plain(text[:256]) or None  # noqa: E731
    memory = process.memory_bytes  # drivers say all ones for what they do not know
    return ProcessView(
        gpu=door.plain(process.subject_key[:256]),
        pid=process.pid,
        type=door.plain(process.type[:8]),
        start_ms=process.start_ms or None,
        user=optional(process.user),
        program=optional(process.program),
        memory_bytes=memory if process.HasField("memory_bytes") and memory < 1 << 50 else None,
        utilization_ratio=(
            process.utilization_permille / 1000
            if process.HasField("utilization_permille")
            else None
        ),
        container=optional(process.container),
        pod=optional(process.pod),
        job=optional(process.job),
        arguments=door.plain(process.arguments[:4096]) or None,
    )


def _index(index: int) -> int:
    if index > door.MAX_INDEX:
        raise WireError(f"An inventory lists a subject with index {index}.")
    return index
