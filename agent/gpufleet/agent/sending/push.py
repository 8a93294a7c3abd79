"""Keeps one stream open to one of the hubs: addresses in turn, jittered back-off."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence

from gpufleet.agent.bell import Bell
from gpufleet.agent.clock import Clock
from gpufleet.agent.keeping.backlog import Backlog
from gpufleet.agent.log import Log
from gpufleet.agent.records import Position
from gpufleet.agent.sending.board import Board
from gpufleet.agent.sending.orders import Orders
from gpufleet.agent.sending.stream import Context, Ended, Stream
from gpufleet.proto import telemetry_pb2 as pb

BACKOFF_SECONDS = (0.5, 15.0)

STEADY_SECONDS = 10.0
"""A stream that lived so long after its welcome was a good one: back-off starts anew."""


class Pusher:
    """One thread, one stream at a time."""

    def __init__(
        self,
        hubs: Sequence[str],
        *,
        backlog: Backlog,
        board: Board,
        bell: Bell,
        orders: Orders,
        hello: Callable[[Position | None], pb.Hello],
        on_known: Callable[[Position], bool],
        clock: Clock,
        log: Log,
        rng: random.Random,
    ) -> None:
        """``hello`` and ``on_known`` are those of stream.Context."""
        self._hubs = tuple(hubs)
        self._bell = bell
        self._clock = clock
        self._log = log
        self._rng = rng
        self._stopping = threading.Event()
        self._context = Context(
            backlog, board, bell, clock, orders, hello, on_known, self._count, self._stopping
        )
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._run, name="push", daemon=True)
        self.sent_bytes = 0

    @property
    def draining(self) -> bool:
        """True while a backlog is being sent."""
        stream = self._stream
        return stream is not None and stream.outgoing.draining

    def start(self) -> None:
        """Begin; once only."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Send what is left and end the stream; returns after about so long at most."""
        self._stopping.set()
        self._bell.ring()
        if self._thread.ident is None:
            return
        self._thread.join(seconds)
        stream = self._stream
        if stream is not None:
            stream.cancel()
        self._thread.join(2.0)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            hub = self._hubs[failures % len(self._hubs)]
            self._stream = stream = Stream(self._context, hub, self._welcomed)
            try:
                ended = stream.run()
            except Exception as error:  # a defect here must not end the pushing unheard
                ended = Ended(f"The stream failed: {type(error).__name__}: {error}.")
            self._stream = None
            if ended.again or self._stopping.is_set():
                continue
            self._say(hub, ended)
            if self._was_steady(ended):
                # Its successor may be the next in the list; the count only starts anew.
                failures %= len(self._hubs)
            failures += 1
            self._clock.wait(self._stopping, self.backoff(failures))

    def backoff(self, failures: int) -> float:
        """Seconds to wait: jittered, since all agents lose a hub in the same moment."""
        low, high = BACKOFF_SECONDS
        rounds, within = divmod(failures, len(self._hubs))
        if within:
            return self._rng.uniform(0.0, low)
        return self._rng.uniform(low, max(low, min(high, low * 2.0 ** min(rounds, 10))))

    def _was_steady(self, ended: Ended) -> bool:
        since = ended.welcomed_at
        return since is not None and self._clock.monotonic() - since >= STEADY_SECONDS

    def _say(self, hub: str, ended: Ended) -> None:
        message = "the hub refuses this agent" if ended.refused else "no stream to a hub"
        self._log.changed(f"hub {hub}", message, hub=hub, reason=ended.sentence)

    def _welcomed(self, hub: str, welcome: pb.Welcome) -> None:
        self._log.info("stream to a hub", hub=hub, version=welcome.hub_version)
        self._log.forget(f"hub {hub}")

    def _count(self, size: int) -> None:
        self.sent_bytes += size
