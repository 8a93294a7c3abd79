"""Carries orders to the hub, and asks for alerts, past loads and the names of fields."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpufleet.client.errors import HubError, Refused
from gpufleet.client.fields import Fields
from gpufleet.tui import alerts_asking, asking
from gpufleet.tui.asking import Hub, Wants
from gpufleet.tui.board import Board
from gpufleet.tui.state import Acknowledge, Effect, Silence

ALERTS_SECONDS = 5.0
FLEET_SECONDS = 600.0
LOADS_AT_ONCE = 120
"""Past loads of so many lines are asked for in one round: more are not seen at once."""
FLEET_POINTS = 240
SUMMED_GPUS, SUMMED_POINTS = 64, 120
"""Up to so many GPUs the fleet's past is summed up here: the hub's own sums end minutes ago."""


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
            self._fleet_due = now + FLEET_SECONDS
            self._fleet_past()
        if self.board.known().taken_ms is None:
            return 0.2
        return max(self._alerts_due - time.monotonic(), 0.1)

    @property
    def _every_ms(self) -> int:
        return int(self.spark_seconds * 1000)

    def _carry(self, order: Effect) -> str:
        known = self.board.known().alerts
        try:
            if isinstance(order, Acknowledge):
                of = alerts_asking.named(known, order.alert)
                return alerts_asking.acknowledge(self.hub, of, order.comment)
            if isinstance(order, Silence):
                of = alerts_asking.named(known, order.alert)
                return alerts_asking.silence(self.hub, of, order.seconds, order.comment)
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
            found = alerts_asking.alerts(self.hub)
        except Refused as error:
            self.board.learn(alerts=None, alerts_trouble=str(error))
        except HubError as error:
            self.board.learn(alerts_trouble=str(error))
        else:
            self.board.learn(alerts=found, alerts_trouble="")

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
