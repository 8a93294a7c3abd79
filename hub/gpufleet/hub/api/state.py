"""What the HTTP side asks of the hub: one protocol, so that it knows nothing else of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from gpufleet.hub.store.events import EventPage
from gpufleet.hub.store.export import Plan, Resolution
from gpufleet.hub.store.groups import By, Groups, Top
from gpufleet.hub.store.history import History, Request
from gpufleet.hub.store.usage import Usage, UsageBy
from gpufleet.hub.trend import Trend
from gpufleet.hub.views import Snapshot
from gpufleet.proto.catalog import Metric


class HubClosing(Exception):
    """The hub ends: streams end as well."""


class CannotCollect(Exception):
    """A node cannot be asked to collect with a method, or did not answer; the text says why."""

    def __init__(self, sentence: str, *, timed_out: bool = False) -> None:
        super().__init__(sentence)
        self.timed_out = timed_out


class CannotForget(Exception):
    """A node cannot be forgotten now; the text says why."""


class HubState(Protocol):
    """The live fleet and its history. Called on the event loop's thread only."""

    @property
    def registry(self) -> CollectorRegistry:
        """What the hub counts of itself (``gpufleet_hub_*``)."""

    def snapshot(self) -> Snapshot:
        """The newest version of the fleet: the same object until the next version."""

    def trend(self) -> Trend:
        """The recent load of every GPU: the same object until the next step."""

    async def wait_change(self, version: int) -> int:
        """The newest version, once it is another than ``version``.

        HubClosing as soon as the hub begins to stop, so that no stream holds it up.
        """

    async def history(
        self, requests: Sequence[Request], start_ms: int, end_ms: int, points: int
    ) -> History:
        """Stored and not yet stored samples; HistoryError and StoreError as the store has them."""

    async def groups(
        self,
        metric: Metric,
        by: By,
        start_ms: int,
        end_ms: int,
        points: int,
        *,
        label: str = "",
        subject_ids: Collection[int] | None = None,
    ) -> Groups:
        """Groups of GPUs over time, of what is committed; errors as the store has them."""

    async def top(
        self,
        metric: Metric,
        column: str,
        start_ms: int,
        end_ms: int,
        limit: int,
        *,
        by: By,
        label: str = "",
        lowest: bool = False,
        subject_ids: Collection[int] | None = None,
    ) -> Sequence[Top]:
        """Groups in order of a column over the range; errors as the store has them."""

    async def usage(
        self,
        by: UsageBy,
        start_ms: int,
        end_ms: int,
        *,
        node_ids: Collection[int] | None = None,
        limit: int = 1000,
    ) -> Sequence[Usage]:
        """Who held the fleet's GPUs, of what is committed; errors as the store has them."""

    async def plan_export(
        self,
        start_ms: int,
        end_ms: int,
        *,
        resolution: Resolution,
        gpus: Collection[str] = (),
        node: str | None = None,
        names: Sequence[str] = (),
    ) -> Plan:
        """An export of what is committed; errors as the store has them."""

    async def events(
        self,
        *,
        subject_ids: Collection[int] | None = None,
        node_id: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        kinds: Collection[str] | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> EventPage:
        """A page of events, newest first; HistoryError and StoreError as the store has them."""

    async def collect(self, node: str, method: str) -> Mapping[str, Any]:
        """The snapshot document of a node's GPUs, collected now; CannotCollect says why not."""

    async def forget(self, node: str) -> int | None:
        """Forget a node that is down; how many GPUs it had, ``None`` where there is no such node.

        CannotForget says why not; StoreError as the store has it.
        """

    def ready(self) -> tuple[bool, str]:
        """Whether the hub takes samples and answers, and one sentence that says so."""

    def info(self) -> Mapping[str, Any]:
        """Facts of the hub for ``/info``: its version, what it runs on, what it is doing."""
