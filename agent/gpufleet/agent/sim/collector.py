"""Collector ``sim``: believable GPUs where there is no driver, for demonstrations and tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from gpufleet.agent.faults.sighting import Sighting
from gpufleet.agent.model import Fault, FaultState, Json, Process, Reading, Subject
from gpufleet.agent.sim.boards import board_of
from gpufleet.agent.sim.gpu import SimGpu
from gpufleet.agent.sim.scenario import Injection, ScenarioError, check_board, parse

__all__ = ["ScenarioError", "SimCollector"]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class SimCollector:
    """GPUs that are a function of (seed, node, index) and of the clock, which may be in the past.

    A scenario begins at the first ``open`` or, given one, at ``since_ms``; before that time the
    same GPUs are well, so history can be asked for afterwards. ScenarioError (a ValueError) says
    in a sentence what is wrong with a scenario.
    """

    method = "sim"

    def __init__(
        self,
        node: str,
        gpus: int = 3,
        seed: int = 1,
        scenario: str = "",
        clock: Callable[[], int] = _now_ms,
        since_ms: int | None = None,
    ) -> None:
        self._node = node
        self._seed = seed
        self._clock = clock
        self._since_ms = since_ms
        injections = parse(scenario, gpus)
        self._injections: list[Injection | None] = []
        for index in range(gpus):
            hits = [i for i in injections if i.hits(index)]
            for hit in hits:
                check_board(hit, board_of(seed, node, index), index)
            # A scenario that names its GPUs goes before one that takes those it finds.
            hits.sort(key=lambda hit: (hit.gpus is None, hit.name == "idle"))
            self._injections.append(hits[0] if hits else None)
        self._gpus: dict[str, SimGpu] = {}
        self._said_missing: frozenset[str] = frozenset()
        self._told_xids_ms = 0
        self._ended = threading.Event()

    def open(self) -> None:
        """Make the GPUs; the scenario's time runs from the first call."""
        self._ended.clear()
        if self._gpus:
            return
        if self._since_ms is None:
            self._since_ms = self._clock()
        for index, injection in enumerate(self._injections):
            gpu = SimGpu(self._seed, self._node, index, injection, self._since_ms)
            self._gpus[gpu.uuid] = gpu

    def close(self) -> None:
        """Let reads that hang return."""
        self._ended.set()

    def node_facts(self) -> Mapping[str, Json]:
        """A driver of our making, named as drivers are."""
        return {
            "driver_version": "570.133.20",
            "nvml_version": "12.570.133.20",
            "cuda_version": "12.8",
        }

    def _missing(self) -> frozenset[str]:
        now = self._clock()
        faults = ((uuid, gpu.fault(now)) for uuid, gpu in self._gpus.items())
        return frozenset(u for u, fault in faults if fault and fault.state is FaultState.MISSING)

    def subjects(self) -> Sequence[Subject]:
        """Every GPU that is still there."""
        self._said_missing = self._missing()
        now = self._clock()
        return [
            gpu.subject(self._standing(gpu.fault(now)))
            for uuid, gpu in self._gpus.items()
            if uuid not in self._said_missing
        ]

    @staticmethod
    def _standing(fault: Fault | None) -> Fault | None:
        """Listing the GPUs does not reveal that one hangs: only a read of it does."""
        return None if fault is None or fault.state is FaultState.HUNG else fault

    def stale(self) -> bool:
        """True when a GPU vanished (or came back) since ``subjects`` was asked."""
        return self._missing() != self._said_missing

    def read(self, subject: Subject, *, slow: bool) -> Reading:
        """All values at the clock's time; a GPU that hangs blocks until ``close``."""
        gpu = self._gpus[subject.key]
        now = self._clock()
        fault = gpu.fault(now)
        if fault is None:
            return Reading(gpu.values(now), detail=gpu.detail(now))
        if fault.state is FaultState.HUNG:
            self._ended.wait()
        return Reading(None, fault)

    def sightings(self) -> Sequence[Sighting]:
        """Xids of scenarios, each once."""
        now, told = self._clock(), self._told_xids_ms
        self._told_xids_ms = max(now, told)
        return [seen for gpu in self._gpus.values() for seen in gpu.sightings(told, now)]

    def processes(self, subject: Subject) -> Sequence[Process]:
        """The programs on a GPU at the clock's time; those of a GPU that hangs: blocks too."""
        gpu = self._gpus[subject.key]
        now = self._clock()
        fault = gpu.fault(now)
        if fault is None:
            return gpu.processes(now)
        if fault.state is FaultState.HUNG:
            self._ended.wait()
        return ()
