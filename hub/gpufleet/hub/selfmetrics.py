"""What the hub says of itself in /metrics: ``gpufleet_hub_*`` by prometheus-client."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gpufleet.hub.core import Core

_COUNTERS = (
    ("messages", "Messages received from agents."),
    ("records", "Records (ticks and events) taken in."),
    ("values", "Values taken in: one metric of one subject at one tick."),
    ("known_records", "Records received again that were known already."),
    ("refused_streams", "Streams of agents ended with a refusal."),
    ("commits", "Transactions committed."),
    ("commit_failures", "Transactions that failed; their samples are written again."),
    ("chunks", "Chunks of samples written."),
)


class HubCollector(Collector):
    """Reads the core's counts when it is scraped, on the event loop's thread."""

    def __init__(self, core: Core, version: str) -> None:
        self._core = core
        self._version = version

    def collect(self) -> Iterator[Metric]:
        stats = self._core.stats
        for name, text in _COUNTERS:
            value = getattr(stats, name)
            yield CounterMetricFamily(f"gpufleet_hub_{name}", text, value=value)
        yield InfoMetricFamily("gpufleet_hub_build", "This hub.", {"version": self._version})
        logs = self._core.logs.values()
        yield _gauge("streams", "Streams of agents open now.", len(self._core.streams))
        yield _gauge(
            "uncommitted_ticks",
            "Ticks received and not yet committed.",
            sum(log.pending_ticks for log in logs),
        )
        yield _gauge(
            "database_up",
            "1 while the last commit succeeded.",
            0 if self._core.database_trouble else 1,
        )
        outbox = self._core.outbox
        if outbox is not None:
            oldest = outbox.oldest_ms
            age = 0.0 if oldest is None else max(0, self._core.now() - oldest) / 1000
            yield _gauge("mails_waiting", "Mails that wait to be sent.", outbox.waiting)
            yield _gauge("mails_oldest_seconds", "Age of the oldest mail that waits.", age)
            yield _gauge("mails_held", "Mails that wait for a digest.", outbox.held)
            yield _gauge("mails_dead", "Mails that were given up and are kept.", outbox.dead)
        yield _gauge("start_time_seconds", "When the hub started.", self._core.started_ms / 1000)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gpufleet_hub_{name}", text, value=value)


def registry(core: Core, version: str) -> CollectorRegistry:
    """A registry of the hub's own metrics and its process's (``gpufleet_hub_process_*``)."""
    made = CollectorRegistry(auto_describe=False)
    made.register(HubCollector(core, version))
    ProcessCollector(namespace="gpufleet_hub", registry=made)
    return made
