"""What is known of the hub and what is wanted, between the threads that ask and the screen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gpufleet.client.fields import Fields
from gpufleet.client.lines import Row
from gpufleet.tui.asking import Wants
from gpufleet.tui.picture import Alert, Past
from gpufleet.tui.state import Effect

TROUBLE_SECONDS = 2.0
"""So long whoever asks waits after a question without an answer."""


@dataclass(frozen=True, slots=True)
class Known:
    """The newest answers. Numbers count answers, so that one sees which part is new."""

    version: int = 0
    list_version: int = 0
    taken_ms: int | None = None
    trouble: str = ""
    fleet: Mapping[str, Any] | None = None
    rows: Sequence[Row] = ()
    fresh: Mapping[str, Row] = field(default_factory=dict)
    """Rows with all fields, of the GPUs that are seen, where ``rows`` are sparse."""
    filter: str = ""
    """The filter that ``rows`` passed."""
    gpu: Mapping[str, Any] | None = None
    gpu_trouble: str = ""
    past: Past | None = None
    events: Sequence[Mapping[str, Any]] = ()
    loads: Mapping[str, Sequence[tuple[int, float | None]]] = field(default_factory=dict)
    """Past loads that were asked for, by line."""
    fleet_past: Mapping[str, Sequence[tuple[int, float | None]]] | None = None
    alerts: Sequence[Alert] | None = None
    alerts_trouble: str = ""
    note: str = ""
    filter_trouble: str = ""
    """Why the hub refused the filter."""
    fields: Fields | None = None
    """The names that filters may use."""


class Board:
    """What is wanted and what is known, for several threads."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._changed = threading.Condition()
        self._known = Known()
        self._wants = Wants()
        self._orders: list[Effect] = []
        self._wake = wake
        self.ended = False

    def known(self) -> Known:
        """The newest of everything."""
        with self._changed:
            return self._known

    def learn(self, **news: Any) -> None:
        """Replaces fields of what is known, and wakes the screen."""
        with self._changed:
            self._known = replace(self._known, version=self._known.version + 1, **news)
        self._wake()

    def wants(self) -> Wants:
        """What the screen wants now."""
        with self._changed:
            return self._wants

    def want(self, wants: Wants) -> None:
        """The screen wants something else; those who ask begin at once."""
        with self._changed:
            if wants != self._wants:
                self._wants = wants
                self._changed.notify_all()

    def order(self, effect: Effect) -> None:
        """Something to be told to the hub."""
        with self._changed:
            self._orders.append(effect)
            self._changed.notify_all()

    def take_order(self) -> Effect | None:
        """The next order, if there is one."""
        with self._changed:
            return self._orders.pop(0) if self._orders else None

    def end(self) -> None:
        """Whoever waits goes home."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait(self, seconds: float, enough: Callable[[Wants], bool]) -> None:
        """Until the time is over, or what is wanted is so that it is ``enough`` reason to go on."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.ended or bool(self._orders) or enough(self._wants), max(seconds, 0.0)
            )
