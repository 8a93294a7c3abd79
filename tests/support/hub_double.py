"""A hub for the agent's tests: receives as telemetry.proto says, dies and comes back."""

from __future__ import annotations

import queue
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto.telemetry_pb2_grpc import TelemetryServicer, add_TelemetryServicer_to_server
from support.samples_oracle import decode_samples

Position = tuple[int, int]
Sample = tuple[str, str, int]


class HubDouble(TelemetryServicer):  # type: ignore[misc]  # generated, untyped
    """What was committed is in ``samples`` and ``events``; the rest dies with ``crash``."""

    def __init__(self, *, slot_ms: int = 0, commit_each: bool = True) -> None:
        self.slot_ms = slot_ms
        self.commit_each = commit_each
        self.refuse: tuple[grpc.StatusCode, str] | None = None
        self.silent = False
        self.lock = threading.RLock()
        self.samples: dict[Sample, dict[int, int]] = {}
        self.events: dict[Position, pb.Event] = {}
        self.received: Position = (0, 0)
        self.committed: Position = (0, 0)
        self.pending: list[tuple[Position, Any]] = []
        self.layouts: dict[int, pb.Layout] = {}
        self.messages: list[pb.AgentMessage] = []
        self.stored_twice: list[Any] = []
        self.jumps: list[tuple[Position, Position]] = []
        self.gaps: list[Position] = []
        self.live_ticks: list[int] = []
        self.lateness_ms: list[int] = []
        self.streams = 0
        self.cuts = 0
        self.errors: list[Exception] = []
        self._queues: list[queue.SimpleQueue[pb.HubMessage | None]] = []
        self._server: Any = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> HubDouble:
        self._server = grpc.server(
            ThreadPoolExecutor(8),
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
            ),
        )
        add_TelemetryServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()
        return self

    def stop(self) -> None:
        """Cut every stream."""
        for waiting in list(self._queues):
            waiting.put(None)
        self._server.stop(None).wait()

    def crash(self) -> None:
        """Stop, and forget what was not committed."""
        self.stop()
        with self.lock:
            self.pending.clear()
            self.received = self.committed

    def of_kind(self, kind: str) -> list[pb.AgentMessage]:
        with self.lock:
            return [m for m in self.messages if m.WhichOneof("body") == kind]

    def order(self, command: pb.Command) -> None:
        with self.lock:
            self._queues[-1].put(pb.HubMessage(command=command))

    def commit(self) -> None:
        """Store all that is pending and acknowledge it."""
        with self.lock:
            for key, value in self.pending:
                store: dict[Any, Any] = self.samples if len(key) == 3 else self.events
                if key in store:
                    self.stored_twice.append(key)
                store[key] = value
            self.pending.clear()
            self.committed = self.received
            ack = pb.HubMessage(ack=pb.Ack(committed=_message(self.committed)))
            for waiting in self._queues:
                waiting.put(ack)

    def Stream(
        self, requests: Iterator[pb.AgentMessage], context: grpc.ServicerContext
    ) -> Iterator[pb.HubMessage]:
        if self.refuse is not None:
            context.abort(*self.refuse)
        out: queue.SimpleQueue[pb.HubMessage | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(requests, out), daemon=True).start()
        while (message := out.get()) is not None:
            yield message

    def _read(
        self,
        requests: Iterator[pb.AgentMessage],
        out: queue.SimpleQueue[pb.HubMessage | None],
    ) -> None:
        try:
            for message in requests:
                with self.lock:
                    self.messages.append(message)
                    self._take(message, out)
        except grpc.RpcError:
            self.cuts += 1
        except Exception as error:
            self.errors.append(error)
        with self.lock:
            if out in self._queues:
                self._queues.remove(out)
        out.put(None)

    def _take(self, message: pb.AgentMessage, out: queue.SimpleQueue[pb.HubMessage | None]) -> None:
        body = message.WhichOneof("body")
        if body == "hello":
            self.streams += 1
            self._queues.append(out)
            self.layouts = {}
            if not self.silent:
                welcome = pb.Welcome(
                    committed=_message(self.committed),
                    received=_message(self.received),
                    slot_ms=self.slot_ms,
                    hub_version="double",
                )
                out.put(pb.HubMessage(welcome=welcome))
        elif body == "layout":
            self.layouts[message.layout.id] = message.layout
        elif body in ("samples", "packed_samples", "events"):
            self._take_records(message, out)

    def _take_records(
        self, message: pb.AgentMessage, out: queue.SimpleQueue[pb.HubMessage | None]
    ) -> None:
        records = self._records(message)
        if message.WhichOneof("body") == "samples":
            self.lateness_ms.append(time.time_ns() // 1_000_000 - message.samples.ticks[0])
        if message.seq == 0:
            self.live_ticks += [tick for (_, _, tick), _ in records[0]] if records else []
            return
        last = (message.epoch, message.seq)
        count = message.count or 1
        assert count == len(records), f"{count} records announced, {len(records)} sent"
        first = (message.epoch, message.seq - count + 1)
        known = self.received
        expected = known[1] + 1 if known[0] == first[0] else 1
        if message.gap:
            self.gaps.append(first)
        elif first > known and first[1] > expected and known != (0, 0):
            self.jumps.append((known, first))
            out.put(pb.HubMessage(command=pb.Command(id=1, resend_after=_message(known))))
            return
        for offset, cells in enumerate(records):
            if (first[0], first[1] + offset) > known:
                self.pending.extend(cells)
        self.received = max(known, last)
        if self.commit_each:
            self.commit()

    def _records(self, message: pb.AgentMessage) -> list[list[tuple[Any, Any]]]:
        """For each record what it stores, by key."""
        if message.WhichOneof("body") == "events":
            first = message.seq - (message.count or 1) + 1
            return [
                [((message.epoch, first + i), event)]
                for i, event in enumerate(message.events.events)
            ]
        samples = message.samples
        if message.WhichOneof("body") == "packed_samples":
            samples = pb.Samples.FromString(zlib.decompress(message.packed_samples))
        layout = self.layouts[samples.layout]
        return [
            [
                ((subject.kind, subject.key, tick), cells)
                for subject, cells in zip(layout.subjects, rows, strict=True)
                if cells is not None
            ]
            for tick, rows in decode_samples(layout, samples)
        ]


def _message(position: Position) -> pb.Position:
    return pb.Position(epoch=position[0], seq=position[1])
