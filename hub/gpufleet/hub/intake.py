"""What an agent's messages mean: each is checked, applied to the live fleet and logged."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from gpufleet.hub.fleet import Binding, Node, SubjectEntry
from gpufleet.hub.recorder import EventBatch, NodeLog, Position, SampleBatch, Verdict
from gpufleet.hub.store.write import EventRow
from gpufleet.hub.views import FaultView, ProcessView
from gpufleet.hub.wire import (
    MAX_SUBJECTS,
    Layout,
    Samples,
    WireError,
    decode_layout,
    decode_samples,
    unpack_samples,
)
from gpufleet.hub.xids import described
from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto.version import INTERVALS_MS, OLDEST_PROTOCOL_MINOR, PROTOCOL_MINOR

if TYPE_CHECKING:
    from gpufleet.hub.core import Core

FUTURE_MS = 3_600_000
"""A tick this far ahead of the hub's clock is refused."""
MAX_EVENTS = 256
MAX_PROCESSES = 4096
MAX_LAYOUTS = 64
MAX_JSON = 65_536
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_METHODS = frozenset({"nvml", "bash", "sim"})
_SEVERITIES = frozenset({"info", "warning", "critical"})
_FAULTS = frozenset({"lost", "hung", "no_permission", "reset_required", "missing", "error"})


class Refused(WireError):
    """The stream is refused for what stands against it here, not for what it says."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a hello says of a node, checked."""

    name: str
    labels: Mapping[str, str]
    machine_id: str
    boot_id: str
    agent_version: str
    method: str
    methods: tuple[str, ...]
    interval_ms: int
    facts: Mapping[str, Any]
    epoch: int
    clock_ms: int


def _text(value: str, limit: int, what: str) -> str:
    if len(value) > limit:
        raise WireError(f"{what} is {len(value)} characters long; {limit} are allowed.")
    return value.replace("\0", "")


def _object(text: str, what: str) -> dict[str, Any]:
    if len(text) > MAX_JSON:
        raise WireError(f"{what} is {len(text)} bytes long; {MAX_JSON} are allowed.")
    if not text:
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise WireError(f"{what} is not JSON.") from None
    if not isinstance(value, dict):
        raise WireError(f"{what} is not a JSON object.")
    return value


def check_hello(hello: pb.Hello, now_ms: int) -> Registration:
    """A hello within bounds; WireError names what is not."""
    if hello.protocol_minor < OLDEST_PROTOCOL_MINOR:
        raise WireError(
            f"The agent speaks gpufleet.v1 minor {hello.protocol_minor}, this hub"
            f" {OLDEST_PROTOCOL_MINOR} to {PROTOCOL_MINOR}: upgrade the agent."
        )
    if not _NAME.fullmatch(hello.node):
        raise WireError(
            f"The node name {hello.node[:64]!r} must be 1 to 128 letters, digits and . _ : @ -,"
            " beginning with a letter or digit."
        )
    if len(hello.labels) > 16:
        raise WireError(f"Node {hello.node} has {len(hello.labels)} labels; 16 are allowed.")
    for key, value in hello.labels.items():
        if not _LABEL.fullmatch(key) or len(value) > 256 or not value.isprintable():
            raise WireError(f"Label {key[:64]!r} of node {hello.node} cannot be used.")
    if hello.interval_ms not in INTERVALS_MS:
        allowed = ", ".join(str(ms // 1000) for ms in INTERVALS_MS)
        raise WireError(f"The interval must be one of {allowed} s, not {hello.interval_ms} ms.")
    if hello.method not in _METHODS:
        raise WireError(f"The method {hello.method[:32]!r} is not one of nvml, bash, sim.")
    if not 0 < hello.epoch < now_ms + (1 << 42):
        raise WireError(f"The epoch {hello.epoch} of node {hello.node} is no time in milliseconds.")
    return Registration(
        name=hello.node,
        labels=dict(hello.labels),
        machine_id=_text(hello.machine_id, 128, "The machine id"),
        boot_id=_text(hello.boot_id, 128, "The boot id"),
        agent_version=_text(hello.agent_version, 64, "The agent's version"),
        method=hello.method,
        methods=tuple(m for m in hello.methods if m in _METHODS) or (hello.method,),
        interval_ms=hello.interval_ms,
        facts=_object(hello.facts_json, "The host's facts"),
        epoch=hello.epoch,
        clock_ms=hello.clock_ms,
    )


class Session:
    """One agent's stream, from hello on. Messages are handled one after another."""

    def __init__(self, core: Core, registration: Registration, node: Node, log: NodeLog) -> None:
        self.core = core
        self.registration = registration
        self.node = node
        self.log = log
        self.outgoing: asyncio.Queue[pb.HubMessage | None] = asyncio.Queue()
        """What the hub says; ``None`` ends the stream."""
        self.superseded = False
        self._layouts: dict[int, Layout] = {}
        self._bindings: dict[int, Binding] = {}
        self._live_layout: int | None = None
        self._asked_after: Position | None = None
        self._skew_best: int | None = None
        self._skew_since = 0
        self._future_told = False

    async def handle(self, message: pb.AgentMessage) -> None:
        """Apply one message; WireError refuses the stream."""
        now_mono = self.core.mono()
        self.node.last_receipt_mono = now_mono
        self.node.last_receipt_ms = self.core.now()
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
                self.core.on_demand.answered(message.result)
            case "hello":
                raise WireError("A second hello came on one stream.")
            case None:
                raise WireError(
                    "The hub does not understand a message of this agent, which seems newer:"
                    f" upgrade the hub (it speaks gpufleet.v1 minor {PROTOCOL_MINOR})."
                )

    # Samples

    def _layout(self, layout: Layout) -> None:
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
        ids = await self.core.subject_ids(self.node, layout.subjects)
        binding = self.core.fleet.bind(self.node, layout, ids)
        self._bindings[layout_id] = binding
        return binding

    async def _samples(self, message: pb.AgentMessage, wire: pb.Samples, *, live: bool) -> None:
        binding = await self._binding(wire.layout)
        samples = decode_samples(wire, binding.layout)
        last = int(samples.ticks[-1])
        now = self.core.now()
        if last > now + FUTURE_MS:
            await self._refuse_future(message, last - now)
            return
        if message.seq:
            await self._record(message, wire, binding, samples)
        if live:
            if self._live_layout != wire.layout:
                self._live_layout = wire.layout
                self.core.fleet.start_layout(binding)
            if last > (self.node.last_tick_ms or 0) or self.node.epoch != message.epoch:
                self.node.epoch = message.epoch
                self.core.fleet.apply(binding, samples, self.core.mono(), now)
            self._skew(last, now)

    async def _refuse_future(self, message: pb.AgentMessage, ahead_ms: int) -> None:
        """Pass over records of the future, so that those behind them are not held up."""
        count = max(1, message.count)
        verdict, _ = self.log.judge(message.epoch, message.seq, count, message.gap)
        if not message.seq or verdict is not Verdict.TAKE:
            return
        rows: tuple[EventRow, ...] = ()
        if not self._future_told:
            self._future_told = True
            ids = await self.core.subject_ids(self.node, [("node", self.node.name)])
            text = (
                f"A sample of node {self.node.name} lies {ahead_ms // 1000} s in the future and is"
                " refused, as are those after it that do: set the node's clock."
            )
            rows = tuple(
                EventRow(
                    subject_id=subject_id,
                    time_ms=self.core.now(),
                    node_id=self.node.node_id,
                    epoch=message.epoch,
                    seq=message.seq,
                    ordinal=0,
                    kind="future_ticks_refused",
                    severity="warning",
                    message=text,
                )
                for subject_id in ids
                if subject_id is not None
            )
        self._accept(EventBatch(Position(message.epoch, message.seq), rows), 0)

    async def _record(
        self, message: pb.AgentMessage, wire: pb.Samples, binding: Binding, samples: Samples
    ) -> None:
        count = max(1, message.count)
        if count != len(samples.ticks):
            raise WireError(f"A message of {count} records holds {len(samples.ticks)} ticks.")
        verdict, known = self.log.judge(message.epoch, message.seq, count, message.gap)
        if verdict is Verdict.KNOWN:
            self.core.stats.known_records += count
            return
        if verdict is Verdict.JUMP:
            self._ask_again()
            return
        same_epoch = message.epoch == self.log.received.epoch
        if same_epoch and int(samples.ticks[known]) <= self.log.last_tick:
            raise WireError(f"Ticks of node {self.node.name} do not increase within an epoch.")
        position = Position(message.epoch, message.seq)
        batch = SampleBatch(
            position=position,
            binding=binding,
            wire=wire.SerializeToString(),
            count=count - known,
            skip=known,
            last_tick=int(samples.ticks[-1]),
        )
        self._accept(batch, batch.count)
        await self.core.admit()

    def _accept(self, batch: SampleBatch | EventBatch, count: int) -> None:
        self._asked_after = None
        self.log.add(batch)
        self.log.last_receipt_ms = self.core.now()
        self.core.received(self.node, batch, count)

    def _ask_again(self) -> None:
        at = self.log.received
        if self._asked_after != at:
            self._asked_after = at
            command = pb.Command(
                id=self.core.on_demand.next_number(),
                resend_after=pb.Position(epoch=at.epoch, seq=at.seq),
            )
            self.outgoing.put_nowait(pb.HubMessage(command=command))

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
            if subject.kind not in ("gpu", "mig", "node") or not 0 < len(subject.key) <= 256:
                raise WireError("An inventory lists a subject without a kind and a key.")
            if not subject.key.isprintable():
                raise WireError("An inventory lists a key with control characters.")
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
                    index=subject.index,
                    name=_text(subject.name, 256, "A GPU's name"),
                    parent=_text(subject.parent, 256, "A parent's UUID"),
                    facts=_object(subject.facts_json, f"The facts of {subject.key[:64]}"),
                )
            )
        await self.core.inventory(self.node, entries)

    async def _events(self, message: pb.AgentMessage) -> None:
        if len(message.events.events) > MAX_EVENTS:
            raise WireError(f"A message has more than {MAX_EVENTS} events.")
        count = max(1, message.count)
        verdict, _ = self.log.judge(message.epoch, message.seq, count, message.gap)
        if verdict is Verdict.JUMP:
            self._ask_again()
        if verdict is not Verdict.TAKE or not message.seq:
            return
        keys = [
            (event.subject_kind or "node", event.subject_key or self.node.name)
            for event in message.events.events
        ]
        ids = await self.core.subject_ids(self.node, keys)
        own = await self.core.subject_ids(self.node, [("node", self.node.name)])
        rows = []
        for ordinal, (event, subject_id) in enumerate(zip(message.events.events, ids, strict=True)):
            if event.severity not in _SEVERITIES:
                raise WireError(f"An event has the unknown severity {event.severity[:32]!r}.")
            owner = subject_id if subject_id is not None else own[0]
            if owner is None:
                continue
            row = EventRow(
                subject_id=owner,
                time_ms=event.time_ms,
                node_id=self.node.node_id,
                epoch=message.epoch,
                seq=message.seq,
                ordinal=ordinal,
                kind=_text(event.kind, 64, "An event's kind"),
                severity=event.severity,
                code=event.code,
                message=_text(event.message, 2048, "An event's message"),
                data=_object(event.data_json, "An event's data"),
            )
            rows.append(described(row))
        position = Position(message.epoch, message.seq)
        self._accept(EventBatch(position, tuple(rows)), count)

    def _status(self, status: pb.CollectorStatus) -> None:
        faults = {}
        for fault in status.faults[:MAX_SUBJECTS]:
            if fault.state not in _FAULTS:
                raise WireError(f"A fault has the unknown state {fault.state[:32]!r}.")
            faults[(fault.subject_kind, fault.subject_key)] = FaultView(
                fault.state, fault.since_ms, _text(fault.sentence, 1024, "A fault's sentence")
            )
        self.core.fleet.set_faults(self.node, faults)
        self.node.hung_since_ms = status.hung_since_ms or None
        self.node.sentence = _text(status.sentence, 1024, "The collector's sentence")
        self.node.dropped_ticks = status.dropped_ticks

    def _details(self, message: pb.Details) -> None:
        for entry in message.details[:MAX_SUBJECTS]:
            slot = self.core.fleet.slots.get((entry.subject_kind, entry.subject_key))
            if slot is None or self.core.fleet.owner.get(slot) is not self.node:
                continue
            detail = _object(entry.json, f"The detail of {entry.subject_key[:64]}")
            self.core.detail(slot, detail)

    def _processes(self, message: pb.Processes) -> None:
        if len(message.processes) > MAX_PROCESSES:
            raise WireError(f"A process list has more than {MAX_PROCESSES} processes.")
        self.core.fleet.set_processes(
            self.node, (process_view(p) for p in message.processes), message.time_ms
        )


def process_view(process: pb.Process) -> ProcessView:
    """One process as readers see it; empty texts mean not known."""
    optional: Callable[[str], str | None] = lambda text: text[:256] or None  # noqa: E731
    return ProcessView(
        gpu=process.subject_key,
        pid=process.pid,
        type=process.type[:8],
        start_ms=process.start_ms or None,
        user=optional(process.user),
        program=optional(process.program),
        memory_bytes=process.memory_bytes if process.HasField("memory_bytes") else None,
        utilization_ratio=(
            process.utilization_permille / 1000
            if process.HasField("utilization_permille")
            else None
        ),
        container=optional(process.container),
        pod=optional(process.pod),
        job=optional(process.job),
        arguments=process.arguments[:4096] or None,
    )
