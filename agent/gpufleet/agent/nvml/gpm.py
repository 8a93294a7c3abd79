"""Activity of SMs, tensor cores and device memory by GPM: averages between two samples (Hopper+).

A sample is a buffer of the library's own; each GPU or GPU instance has two of them, and the last
one taken is kept until the next tick. GPM of nvml.h: intervals under 100 ms give nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpufleet.agent.nvml.calls import Nvml, NvmlFailure
from gpufleet.agent.nvml.device import Look, Source
from gpufleet.proto.catalog import BY_NAME

ACTIVITY = {
    2: BY_NAME["sm_active_ratio"].id,  # NVML_GPM_METRIC_SM_UTIL
    5: BY_NAME["tensor_active_ratio"].id,  # NVML_GPM_METRIC_ANY_TENSOR_UTIL
    10: BY_NAME["dram_active_ratio"].id,  # NVML_GPM_METRIC_DRAM_BW_UTIL
}
"""nvmlGpmMetricId_t → catalogue id."""

SHORTEST_SECONDS = 0.1
LONGEST_SECONDS = 90.0
"""An average over more is told to nobody: the look before it was too long ago."""

_SUPPORT = Source("nvmlGpmQueryDeviceSupport")
_SAMPLE = Source("nvmlGpmSampleGet", (), tuple(ACTIVITY.values()))
_INSTANCE_SAMPLE = Source("nvmlGpmMigSampleGet", (), tuple(ACTIVITY.values()))
_METRICS = Source("nvmlGpmMetricsGet")
_VERSION = 1  # NVML_GPM_METRICS_GET_VERSION


class Turn:
    """One device at a time; whoever is stuck in the driver loses its turn after a moment."""

    def __init__(self, patience_seconds: float = 0.1) -> None:
        self._patience = patience_seconds
        self._lock = threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        lock = self._lock
        while not lock.acquire(timeout=self._patience):
            if lock is self._lock:
                self._lock = threading.Lock()
            lock = self._lock
        try:
            yield
        finally:
            lock.release()


class Gpm:
    """The two samples of one GPU, or of one of its GPU instances."""

    def __init__(self, turn: Turn, instance: int | None = None) -> None:
        self._turn = turn
        self._instance = instance
        self._use = threading.Lock()
        self._ended = False
        self._samples: list[Any] = []  # the one taken last is the first
        self._metrics: Any = None
        self._taken_at: float | None = None
        self._values: dict[int, int] = {}

    def supported(self, look: Look) -> bool:
        """Asked of the GPU once; for a MIG device it is its GPU that answers."""
        answer = look.ask(_SUPPORT)
        return answer is not None and bool(answer.isSupportedDevice)

    def answers(self, look: Look) -> bool:
        """False once the driver said that it has no such samples."""
        return look.supports(self._source()) and look.supports(_METRICS)

    def _source(self) -> Source:
        return _SAMPLE if self._instance is None else _INSTANCE_SAMPLE

    def read(self, look: Look, now: float) -> dict[int, int]:
        """Activity since the look before; nothing at the first. ``look`` is at the GPU."""
        try:
            with self._use:
                if self._ended or not self.answers(look):
                    return {}
                with self._turn.taken():
                    return self._read(look, now)
        finally:
            if self._ended:
                self.free(look.nvml)

    def _read(self, look: Look, now: float) -> dict[int, int]:
        since = None if self._taken_at is None else now - self._taken_at
        if since is not None and 0 <= since < SHORTEST_SECONDS:
            return self._values
        self._values, self._taken_at = {}, None
        try:
            while len(self._samples) < 2:
                self._samples.append(look.nvml.call("nvmlGpmSampleAlloc"))
        except NvmlFailure as failure:
            look.failed(self._source(), failure)
            return {}
        before, after = self._samples
        extra = () if self._instance is None else (self._instance,)
        if look.ask(self._source(), *extra, after) is None:
            return {}
        self._samples = [after, before]
        self._taken_at = now
        if since is not None and 0 < since <= LONGEST_SECONDS:
            self._values = self._between(look, before, after)
        return self._values

    def _between(self, look: Look, before: Any, after: Any) -> dict[int, int]:
        if self._metrics is None:
            self._metrics = look.nvml.make("c_nvmlGpmMetricsGet_t")
        asked = self._metrics
        asked.version, asked.numMetrics = _VERSION, len(ACTIVITY)
        asked.sample1, asked.sample2 = before, after
        for place, metric in enumerate(ACTIVITY):
            asked.metrics[place].metricId = metric
        try:
            look.nvml.call(_METRICS.call, asked)
        except NvmlFailure as failure:
            look.failed(_METRICS, failure)
            return {}
        values = {}
        for place, metric in enumerate(ACTIVITY.values()):
            answer = asked.metrics[place]
            if answer.nvmlReturn == 0 and -0.05 < answer.value < 100.05:
                values[metric] = round(max(0.0, min(100.0, answer.value)) * 10)
        return values

    def free(self, nvml: Nvml) -> None:
        """Give the buffers back; while a call is stuck in one of them, when it comes back."""
        self._ended = True
        if not self._use.acquire(blocking=False):
            return
        try:
            samples, self._samples = self._samples, []
            for sample in samples:
                try:
                    nvml.call("nvmlGpmSampleFree", sample)
                except NvmlFailure:
                    continue  # a library without the function gave no sample either
        finally:
            self._use.release()
