"""One stream to a hub, from hello to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from gpufleet.agent.bell import Bell
from gpufleet.agent.clock import Clock
from gpufleet.agent.keeping.backlog import Backlog
from gpufleet.agent.records import Position
from gpufleet.agent.sending.board import Board
from gpufleet.agent.sending.orders import Orders
from gpufleet.agent.sending.outgoing import Outgoing
from gpufleet.agent.wire.messages import position_of
from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto.telemetry_pb2_grpc import TelemetryStub

OPTIONS = (
    # A dead peer is noticed in 8 s; a hub has to allow pings that often. Newer cores wait for a
    # keepalive's answer as long as for any ping's (60 s by default), older ones know only the
    # keepalive's own time-out.
    ("grpc.keepalive_time_ms", 4000),
    ("grpc.keepalive_timeout_ms", 4000),
    ("grpc.http2.ping_timeout_ms", 4000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.min_reconnect_backoff_ms", 5000),
    # Small memory, and nothing between us and the hub that nobody configured.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 65536),
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
)

WELCOME_SECONDS = 10.0
END_SECONDS = 2.0
"""How long the hub may take to end its side once we ended ours."""

REFUSALS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
)


_stub: Any = TelemetryStub  # generated, and so untyped


@dataclass(frozen=True, slots=True)
class Context:
    """What every stream of this agent works with.

    ``hello`` is given the oldest record held. ``on_known`` is told what the hub already has,
    before any of it is forgotten, and says True if the agent had to begin a new epoch.
    """

    backlog: Backlog
    board: Board
    bell: Bell
    clock: Clock
    orders: Orders
    hello: Callable[[Position | None], pb.Hello]
    on_known: Callable[[Position], bool]
    on_sent: Callable[[int], None]
    stopping: threading.Event


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stream ended: the hub's sentence or the transport's.

    ``welcomed_at`` is on the monotonic clock; ``again`` is True if we ended it to say hello anew.
    """

    sentence: str
    refused: bool = False
    welcomed_at: float | None = None
    again: bool = False


class Stream:
    """Used once: ``run`` blocks until the stream has ended, ``cancel`` ends it from elsewhere."""

    def __init__(
        self, context: Context, hub: str, on_welcome: Callable[[str, pb.Welcome], None]
    ) -> None:
        self._context = context
        self._hub = hub
        self._on_welcome = on_welcome
        self.outgoing = Outgoing(context.backlog, context.board)
        self._hello_of = context.board.current
        self._call: Any = None
        self._closed = False
        self._timed_out = False
        self._again = False
        self._welcomed_at: float | None = None

    def run(self) -> Ended:
        """Open the stream and hear the hub until it ends."""
        channel = grpc.insecure_channel(self._hub, options=OPTIONS)
        sentence, refused = "The hub ended the stream.", False
        try:
            call = _stub(channel).Stream(self._messages())
            self._call = call
            for message in call:
                self._hear(message)
        except grpc.RpcError as error:
            code = error.code()
            sentence, refused = error.details() or code.name, code in REFUSALS
            if self._timed_out:
                sentence = f"The hub did not answer hello within {WELCOME_SECONDS:.0f} s."
        finally:
            self._closed = True
            self._context.bell.ring()
            channel.close()
        return Ended(sentence, refused, self._welcomed_at, self._again)

    def cancel(self) -> None:
        """End it at once; what was sent and not acknowledged is sent again another time."""
        if self._call is not None:
            self._call.cancel()

    # Our side: runs on a thread of grpc's, which is blocked while the peer takes nothing in.

    def _messages(self) -> Iterator[pb.AgentMessage]:
        context = self._context
        self._hello_of = context.board.current
        yield self._counted(pb.AgentMessage(hello=context.hello(context.backlog.oldest())))
        deadline = context.clock.monotonic() + WELCOME_SECONDS
        while not self._closed:
            rings = context.bell.rings
            now = context.clock.monotonic()
            stopping = context.stopping.is_set()
            self._again = self._again or self._hello_is_old()
            found = self.outgoing.next(context.clock.wall_ms(), now, hurry=stopping)
            if isinstance(found, pb.AgentMessage):
                if self._again and not found.HasField("result"):
                    break
                yield self._counted(found)
                continue
            if self._again or (stopping and found.seconds is None):
                break
            seconds = found.seconds
            if self._welcomed_at is None:
                if now >= deadline:
                    self._timed_out = True
                    self.cancel()
                    return
                seconds = deadline - now
            context.bell.wait(rings, seconds)
        ending = threading.Timer(END_SECONDS, self.cancel)
        ending.daemon = True
        ending.start()

    def _hello_is_old(self) -> bool:
        then, now = self._hello_of, self._context.board.current
        return (then.epoch, then.interval_ms) != (now.epoch, now.interval_ms)

    def _counted(self, message: pb.AgentMessage) -> pb.AgentMessage:
        self._context.on_sent(message.ByteSize())
        return message

    # The hub's side

    def _hear(self, message: pb.HubMessage) -> None:
        body = message.WhichOneof("body")
        if body == "welcome":
            self._welcome(message.welcome)
        elif body == "ack":
            self._context.backlog.forget(position_of(message.ack.committed))
        elif body == "command":
            self._order(message.command)
        self._context.bell.ring()

    def _welcome(self, welcome: pb.Welcome) -> None:
        committed = position_of(welcome.committed)
        known = max(position_of(welcome.received), committed)
        self.outgoing.slot_ms = welcome.slot_ms
        self._welcomed_at = self._context.clock.monotonic()
        # If the agent had to begin a new epoch, this hello is old and the stream ends.
        if not self._context.on_known(known):
            self._context.backlog.forget(committed)
            self.outgoing.go_on_after(known)
        self._on_welcome(self._hub, welcome)

    def _order(self, command: pb.Command) -> None:
        what = command.WhichOneof("what")
        if what == "resend_after":
            self.outgoing.go_on_after(position_of(command.resend_after))
        else:
            self._context.orders.carry_out(command, self._answer)

    def _answer(self, result: pb.CommandResult) -> None:
        self.outgoing.answer(result)
        self._context.bell.ring()
