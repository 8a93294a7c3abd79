"""The list of GPUs as it changes, kept up by a thread; the screen looks at it and never waits."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from gpufleet.client.body import document
from gpufleet.client.errors import Broken, HubError, Refused, Unreachable
from gpufleet.client.hub import Hub
from gpufleet.client.query import ListQuery
from gpufleet.client.sse import EventParser, ServerEvent
from gpufleet.client.table import Table, changed, opened

HEARTBEAT_SECONDS = 15.0
"""The hub says something at least this often."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0
REFUSED_PAUSE_SECONDS = 30.0


class Link(Enum):
    """How things stand with the hub."""

    IDLE = "idle"
    """Nothing is asked."""
    CONNECTING = "connecting"
    """Asked, and nothing came yet."""
    LIVE = "live"
    LOST = "lost"
    """No answer; it is tried again."""
    REFUSED = "refused"
    """The hub says no to this question, for its filter or the like."""


@dataclass(frozen=True, slots=True)
class Live:
    """What a stream knows. Times are ``time.monotonic()`` of this machine."""

    link: Link = Link.IDLE
    since: float = 0.0
    """Since when the link is so."""
    sentence: str = ""
    """Why it is lost or refused."""
    query: ListQuery | None = None
    """The question that ``table`` answers: an older one until the newest is answered."""
    table: Table | None = None
    heard: float | None = None
    """When the hub last said something, a heartbeat included."""
    number: int = 0
    """Counts up with every change."""


class Stream:
    """``ask`` a question, ``poll`` for the newest; ``ring`` is called when there is something new.

    A change of the question is told to the hub at once; what was last seen stays until the answer.
    Where the hub goes, the last picture stays too, and it is asked again after jittered pauses.
    """

    def __init__(
        self,
        hub: Hub,
        ring: Callable[[], None],
        *,
        first_pause: float = FIRST_PAUSE_SECONDS,
        longest_pause: float = LONGEST_PAUSE_SECONDS,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._hub = hub.another()
        self._ring = ring
        self._first_pause, self._longest_pause = first_pause, longest_pause
        self._quiet = heartbeat * 1.5
        self._turn = threading.Condition()
        self._live = Live()
        self._wanted: ListQuery | None = None
        self._asked = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="gpufleet stream", daemon=True)
        self._thread.start()

    def ask(self, query: ListQuery | None) -> None:
        """From now on the answers to this question; ``None``: nothing, the picture stays."""
        with self._turn:
            if query == self._wanted:
                return
            self._wanted = query
            self._again()

    def retry(self) -> None:
        """Asks once more at once, without the rest of a pause."""
        with self._turn:
            if self._live.link is not Link.LIVE:
                self._again()

    def poll(self) -> Live:
        """The newest of everything; never waits for the hub."""
        with self._turn:
            return self._live

    def close(self) -> None:
        """Ends the thread; one that hangs in the network ends when that lets it go."""
        with self._turn:
            self._closed = True
            self._again()
        self._thread.join(1.0)

    def _again(self) -> None:
        self._asked += 1
        self._hub.cancel()
        self._turn.notify_all()

    def _run(self) -> None:
        pause = self._first_pause
        while True:
            with self._turn:
                self._hub.uncancel()
                asked, query = self._asked, self._wanted
                if self._closed:
                    break
            if query is None:
                self._tell(asked, link=Link.IDLE, sentence="")
                self._wait(asked, None)
                continue
            if self.poll().link is not Link.LOST:
                self._tell(asked, link=Link.CONNECTING, sentence="")
            try:
                self._follow(asked, query)
                rest = self._first_pause
            except Refused as error:
                link = Link.LOST if error.passing else Link.REFUSED
                self._tell(asked, link=link, sentence=str(error))
                rest = pause if error.passing else REFUSED_PAUSE_SECONDS
            except HubError as error:
                self._tell(asked, link=Link.LOST, sentence=str(error))
                rest = pause
            if self._asked != asked or self.poll().link is not Link.LOST:
                pause = self._first_pause
            else:
                pause = min(2 * pause, self._longest_pause)
            self._wait(asked, rest * random.uniform(0.5, 1.0))
        self._hub.close()

    def _wait(self, asked: int, seconds: float | None) -> None:
        """Until the time is over or something else is asked."""
        with self._turn:
            self._turn.wait_for(lambda: self._asked != asked, seconds)

    def _follow(self, asked: int, query: ListQuery) -> None:
        """Reads one stream to its end, which is always an error or another question."""
        table: Table | None = None
        parser = EventParser()
        with self._hub.open(
            "/api/v1/stream",
            query.stream(),
            accept="text/event-stream",
            timeout=max(self._quiet, 1.5 * query.interval + self._quiet),
        ) as pieces:
            for piece in pieces:
                told = False
                for event in parser.feed(piece):
                    table, told = _after(table, event), True
                if self._asked != asked:
                    return
                if told and table is not None:
                    self._tell(asked, link=Link.LIVE, sentence="", query=query, table=table)
        raise Unreachable("The hub ended the stream: it is stopping.")

    def _tell(
        self,
        asked: int,
        *,
        link: Link,
        sentence: str,
        query: ListQuery | None = None,
        table: Table | None = None,
    ) -> None:
        """Makes the newest known, unless another question was asked meanwhile."""
        now = time.monotonic()
        with self._turn:
            if self._asked != asked:
                return
            before = self._live
            same = before.link is link
            live = replace(
                before,
                link=link,
                sentence=sentence,
                since=before.since if same else now,
            )
            if table is not None:
                live = replace(live, query=query, table=table, heard=now)
            if live == before:
                return
            self._live = replace(live, number=before.number + 1)
        self._ring()


def _after(table: Table | None, event: ServerEvent) -> Table | None:
    """The table after an event. Events of names that are not known are passed over."""
    if event.name == "snapshot":
        return opened(document(event.data))
    if event.name == "change":
        if table is None:
            raise Broken("The hub's stream tells a change before anything else.")
        return changed(table, document(event.data))
    return table
