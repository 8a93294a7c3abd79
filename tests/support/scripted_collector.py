"""A collector that does what a test says: values, faults, hanging calls, an absent driver."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from gpufleet.agent.model import (
    CollectorUnavailable,
    Fault,
    Json,
    Process,
    Reading,
    Subject,
)

COLUMNS = (1, 20, 23)


class ScriptedCollector:
    """``hang`` names calls that block until ``release``: a GPU's key, or open, subjects, stale."""

    method = "scripted"

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)
        self.driver = "570.1"
        self.unavailable: str | None = None
        self.faults: dict[str, Fault] = {}
        self.raising: dict[str, Exception] = {}
        self.stale_now = False
        self.reads: list[tuple[str, bool]] = []
        self.opened = 0
        self.blocked = 0
        self.listed: dict[str, tuple[Process, ...]] = {}
        self.values: Mapping[int, int] | None = None
        self._gates: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._count = 0

    def hang(self, *names: str) -> None:
        for name in names:
            self._gates[name] = threading.Event()

    def release(self, *names: str) -> None:
        for name in names:
            self._gates.pop(name).set()

    def _gate(self, name: str) -> None:
        gate = self._gates.get(name)
        if gate is not None:
            with self._lock:
                self.blocked += 1
            gate.wait()
            with self._lock:
                self.blocked -= 1

    def open(self) -> None:
        self._gate("open")
        self.opened += 1
        if self.unavailable is not None:
            raise CollectorUnavailable(self.unavailable)

    def close(self) -> None:
        pass

    def node_facts(self) -> Mapping[str, Json]:
        return {"driver_version": self.driver}

    def subjects(self) -> Sequence[Subject]:
        self._gate("subjects")
        return [
            Subject("gpu", key, index, f"GPU {index}", COLUMNS)
            for index, key in enumerate(self.keys)
        ]

    def stale(self) -> bool:
        self._gate("stale")
        stale, self.stale_now = self.stale_now, False
        return stale

    def read(self, subject: Subject, *, slow: bool) -> Reading:
        self._gate(subject.key)
        with self._lock:
            self.reads.append((subject.key, slow))
            self._count += 1
            count = self._count
        if subject.key in self.raising:
            raise self.raising[subject.key]
        if subject.key in self.faults:
            return Reading(None, self.faults[subject.key])
        if self.values is not None:
            return Reading(self.values)
        return Reading({1: count % 1000, 20: 40 + count % 7, 23: 100_000 + count})

    def processes(self, subject: Subject) -> Sequence[Process]:
        return self.listed.get(subject.key, ())
