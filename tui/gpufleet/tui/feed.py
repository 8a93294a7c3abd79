"""Threads that ask the hub for what the screen wants, so that a slow hub never holds up a key.

Three ask side by side: for the list, for the GPU in detail, and for the rest (past loads, alerts,
orders). Each puts what it learnt onto the board; the screen takes the newest from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gpufleet.client.fields import Fields
from gpufleet.client.request import HubError
from gpufleet.tui import asking
from gpufleet.tui.asking import Wants
from gpufleet.tui.calls import Hub, Refused
from gpufleet.tui.lines import Row
from gpufleet.tui.picture import Alert, Past
from gpufleet.tui.sparks import BUCKET_SECONDS
from gpufleet.tui.state import Acknowledge, Effect, Silence

SPARSE_SECONDS = 5.0
COST_SHARE = 0.05
"""At most this share of the time goes into asking for all rows of a large fleet."""
TROUBLE_SECONDS = 2.0
DETAIL_SECONDS = 1.0
EVENTS_SECONDS = 10.0
LOADS_AT_ONCE = 120
"""Past loads of so many lines are asked for in one round: more are not seen at once."""
ALERTS_SECONDS = 5.0
FLEET_POINTS = 240
SUMMED_GPUS, SUMMED_POINTS = 64, 120
"""Up to so many GPUs the fleet's past is summed up here: the hub's own sums end minutes ago."""


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


@dataclass(slots=True)
class ListAsker:
    """Asks for totals and rows. ``step`` asks once and says how long to wait then."""

    hub: Hub
    board: Board
    interval: float
    now_ms: Callable[[], int]
    _sparse_due: float = 0.0
    _asked: tuple[str, bool, tuple[str, ...]] | None = None

    def step(self) -> float:
        """One round of questions."""
        wants = self.board.wants()
        began = time.monotonic()
        try:
            fleet = self.hub.get("/api/v1/fleet")
            news = self._rows(wants, fleet, began)
        except Refused as error:
            self._asked = (wants.filter, wants.users, wants.more)
            self.board.learn(filter_trouble=str(error), trouble="", taken_ms=self.now_ms())
            return TROUBLE_SECONDS
        except HubError as error:
            self.board.learn(trouble=str(error))
            return min(TROUBLE_SECONDS, max(self.interval, 0.5))
        news["filter_trouble"] = ""
        news |= {"fleet": fleet, "trouble": "", "taken_ms": self.now_ms(), "filter": wants.filter}
        known = self.board.known()
        self.board.learn(list_version=known.list_version + 1, **news)
        return self.interval - (time.monotonic() - began)

    def _rows(self, wants: Wants, fleet: Mapping[str, Any], began: float) -> dict[str, Any]:
        asked = (wants.filter, wants.users, wants.more)
        total = int((fleet.get("gpus") or {}).get("total") or 0)
        whole = asking.all_fields(wants)
        if total <= asking.WHOLE_GPUS:
            rows, _ = asking.rows(self.hub, wants.filter, whole, asking.MOST_ROWS)
            self._asked = asked
            return {"rows": rows, "fresh": {}}
        news: dict[str, Any] = {}
        if asked != self._asked or began >= self._sparse_due:
            fields = asking.sparse_fields(wants)
            rows, _ = asking.rows(self.hub, wants.filter, fields, asking.MOST_ROWS)
            cost = time.monotonic() - began
            self._sparse_due = began + max(SPARSE_SECONDS, self.interval, cost / COST_SHARE)
            self._asked = asked
            news["rows"] = rows
        news["fresh"] = asking.rows_of(self.hub, wants.visible, whole) if wants.visible else {}
        return news

    def hurry(self, wants: Wants) -> bool:
        """Whether another filter is wanted than was asked for, or rows that are not there."""
        if (wants.filter, wants.users, wants.more) != self._asked:
            return True
        known = self.board.known()
        sparse = len(known.rows) > asking.WHOLE_GPUS or bool(known.fresh)
        return sparse and any(uuid not in known.fresh for uuid in wants.visible)


@dataclass(slots=True)
class DetailAsker:
    """Asks for the GPU in detail and its past."""

    hub: Hub
    board: Board
    now_ms: Callable[[], int]
    _done: tuple[str, int, int] | None = None
    _past_due: float = 0.0
    _events_due: float = 0.0

    def step(self) -> float:
        """One round of questions."""
        wants = self.board.wants()
        uuid = wants.detail
        if not uuid:
            self._done = None
            return 3600.0
        now = time.monotonic()
        moved = self._done is None or not self._same(wants)
        try:
            news: dict[str, Any] = {"gpu_trouble": ""}
            news["gpu"] = self.hub.get(f"/api/v1/gpus/{asking.path_part(uuid)}")
            if moved or now >= self._past_due:
                end = self.now_ms() if wants.live else wants.end_ms
                start = end - (wants.end_ms - wants.start_ms)
                news["past"] = asking.past(self.hub, uuid, start, end, wants.columns)
                a_column = (end - start) / 1000 / max(wants.columns, 1)
                self._past_due = now + max(2.0, a_column, 20 * (time.monotonic() - now))
                self._done = (uuid, wants.end_ms - wants.start_ms, 0 if wants.live else end)
            if moved or now >= self._events_due:
                path = f"/api/v1/gpus/{asking.path_part(uuid)}/events"
                news["events"] = self.hub.get(path, {"limit": "20"})["events"]
                self._events_due = now + EVENTS_SECONDS
            self.board.learn(**news)
        except HubError as error:
            self.board.learn(gpu_trouble=str(error))
            self._done = (uuid, wants.end_ms - wants.start_ms, 0 if wants.live else wants.end_ms)
            return TROUBLE_SECONDS
        return DETAIL_SECONDS

    def _same(self, wants: Wants) -> bool:
        span = wants.end_ms - wants.start_ms
        return self._done == (wants.detail, span, 0 if wants.live else wants.end_ms)

    def hurry(self, wants: Wants) -> bool:
        """Whether another GPU or another time is wanted than was asked for."""
        return bool(wants.detail) and not self._same(wants)


@dataclass(slots=True)
class SideAsker:
    """Carries orders to the hub, and asks for alerts and past loads."""

    hub: Hub
    board: Board
    now_ms: Callable[[], int]
    spark_seconds: float
    _alerts_due: float = 0.0
    _fleet_due: float = 0.0
    _tried: frozenset[str] = frozenset()

    def step(self) -> float:
        """One round."""
        wants = self.board.wants()
        while (order := self.board.take_order()) is not None:
            self.board.learn(note=self._carry(order))
            self._alerts_due = 0.0
        self._past_loads(wants)
        if self.board.known().fields is None:
            self._names()
        now = time.monotonic()
        if now >= self._alerts_due:
            self._alerts_due = now + ALERTS_SECONDS
            self._alerts()
        if now >= self._fleet_due and self.board.known().taken_ms is not None:
            self._fleet_due = now + 600
            self._fleet_past()
        if self.board.known().taken_ms is None:
            return 0.2
        return max(self._alerts_due - time.monotonic(), 0.1)

    @property
    def _every_ms(self) -> int:
        return int(self.spark_seconds * 1000)

    def _carry(self, order: Effect) -> str:
        try:
            if isinstance(order, Acknowledge):
                path = f"/api/v1/incidents/{asking.path_part(order.incident)}/ack"
                self.hub.post(path, {"comment": order.comment})
                return "Acknowledged: its notices are not repeated."
            if isinstance(order, Silence):
                body = {"incident": order.incident, "seconds": order.seconds}
                self.hub.post("/api/v1/silences", {**body, "comment": order.comment})
                return "Silenced."
        except HubError as error:
            return str(error)
        return ""

    def _names(self) -> None:
        try:
            metrics = self.hub.get("/api/v1/metrics-catalog")["metrics"]
        except HubError:
            return  # filters are then judged by the hub alone
        of_gpus = (m for m in metrics if "gpu" in m["subjects"])
        fields = Fields((m["name"], m["kind"], m["words"] or {}) for m in of_gpus)
        self.board.learn(fields=fields)

    def _alerts(self) -> None:
        try:
            document = self.hub.get("/api/v1/alerts")
        except Refused as error:
            self.board.learn(alerts=None, alerts_trouble=str(error))
        except HubError as error:
            self.board.learn(alerts_trouble=str(error))
        else:
            self.board.learn(alerts=asking.alerts(document), alerts_trouble="")

    def _past_loads(self, wants: Wants) -> None:
        uuids = [uuid for uuid in wants.histories if uuid not in self._tried][:LOADS_AT_ONCE]
        nodes = [node for node in wants.nodes if f"node:{node}" not in self._tried]
        self._tried = frozenset((*wants.histories, *(f"node:{node}" for node in wants.nodes)))
        count = int((self.now_ms() - wants.spark_start_ms) / 1000 / self.spark_seconds)
        for node in nodes[:LOADS_AT_ONCE]:
            try:
                load = asking.recent_node_load(
                    self.hub, node, wants.spark_start_ms, max(count, 1), self._every_ms
                )
            except HubError:
                continue
            self.board.learn(loads={**self.board.known().loads, f"node:{node}": load})
        if not uuids:
            return
        try:
            loads = asking.recent_loads(
                self.hub, uuids, wants.spark_start_ms, max(count, 1), self._every_ms
            )
        except HubError:
            return  # sparklines then begin now; the list says what is wrong
        empty: dict[str, Any] = {uuid: [] for uuid in uuids}
        self.board.learn(loads={**self.board.known().loads, **empty, **loads})

    def _fleet_past(self) -> None:
        known = self.board.known()
        uuids = [str(row["uuid"]) for row in known.rows]
        start = self.now_ms() - int(FLEET_POINTS * self.spark_seconds * 1000)
        try:
            if 0 < len(uuids) <= SUMMED_GPUS and not known.filter:
                found = asking.fleet_past_of(self.hub, uuids, start, SUMMED_POINTS, self._every_ms)
            else:
                found = asking.fleet_past(self.hub, start, FLEET_POINTS, self._every_ms)
        except HubError:
            return  # the fleet's charts then begin now
        self.board.learn(fleet_past=found)

    def hurry(self, wants: Wants) -> bool:
        """Whether there are GPUs whose past load nobody asked for yet."""
        keys = (*wants.histories, *(f"node:{node}" for node in wants.nodes))
        return any(key not in self._tried for key in keys)


Asker = ListAsker | DetailAsker | SideAsker


class Feed:
    """The three threads. A context: they end with it, or soon after where a question hangs."""

    def __init__(self, make: Callable[[], Hub], board: Board, interval: float) -> None:
        self.board = board
        hubs = [make() for _ in range(3)]
        self._hubs = hubs
        self._askers: list[Asker] = [
            ListAsker(hubs[0], board, interval, now_ms),
            DetailAsker(hubs[1], board, now_ms),
            SideAsker(hubs[2], board, now_ms, BUCKET_SECONDS),
        ]

    def __enter__(self) -> Feed:
        for asker in self._askers:
            name = f"asks for {type(asker).__name__}"
            threading.Thread(target=self._run, args=(asker,), name=name, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.board.end()

    def _run(self, asker: Asker) -> None:
        while not self.board.ended:
            try:
                pause = asker.step()
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                strange = f"{type(error).__name__} {error}"
                self.board.learn(
                    trouble="The hub's answer is not understood: is it another version than this"
                    f" client? ({strange[:200]})"
                )
                pause = TROUBLE_SECONDS
            self.board.wait(pause, asker.hurry)
        asker.hub.close()


def now_ms() -> int:
    """This machine's wall clock."""
    return time.time_ns() // 1_000_000
