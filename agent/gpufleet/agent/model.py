"""What collectors say: subjects, readings and faults; values are scaled integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

Values = Mapping[int, int]
"""Catalogue id → scaled integer. An id that is not there is absent: never 0, never None."""

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]


UNKNOWN_PREFIX = "unknown-"
"""Begins the key of a GPU whose UUID nobody could read: a place in the node, no identity."""


class FaultState(Enum):
    """Why a subject cannot be read. The value is its name on the wire and in REST."""

    LOST = "lost"
    HUNG = "hung"
    NO_PERMISSION = "no_permission"
    RESET_REQUIRED = "reset_required"
    MISSING = "missing"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Fault:
    """A subject's fault as the driver gave it: ``code`` is the nvmlReturn_t, 0 where none was."""

    state: FaultState
    sentence: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """One GPU, MIG device or node with its static facts.

    ``key`` is the UUID (the node's name for kind ``node``); ``columns`` the catalogue ids that
    it can answer, in ascending order; ``facts`` the names of docs/facts.md in base units.
    """

    kind: str
    key: str
    index: int
    name: str
    columns: tuple[int, ...]
    parent: str = ""
    facts: Mapping[str, Json] = field(default_factory=dict)
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """One process on one GPU; identity is (pid, start_ms). ``None``: not known."""

    subject_key: str
    pid: int
    type: str
    start_ms: int | None = None
    user: str | None = None
    program: str | None = None
    memory_bytes: int | None = None
    utilization_permille: int | None = None
    container: str | None = None
    pod: str | None = None
    job: str | None = None
    arguments: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at a subject gave: values, or the fault that stood in their way.

    ``detail`` holds what is no scalar (per fan, per link), for the detail document.
    """

    values: Values | None
    fault: Fault | None = None
    detail: Mapping[str, Json] | None = None


class CollectorUnavailable(Exception):
    """The method cannot run here (no driver, no permission). The text is one sentence for people.

    ``permanent`` is True where only a new process can help (a driver upgrade): `agent run` then
    becomes one.
    """

    def __init__(self, sentence: str, *, permanent: bool = False) -> None:
        super().__init__(sentence)
        self.permanent = permanent


class Collector(Protocol):
    """One way to read the GPUs of this machine.

    Every method may block for as long as the driver likes and is called from worker threads that
    the sampler may leave behind; two calls for the same subject never overlap, calls for two
    subjects may. Nothing but CollectorUnavailable is raised.
    """

    method: str

    def open(self) -> None:
        """Start (again); CollectorUnavailable says why it cannot."""

    def close(self) -> None:
        """Let the driver go. Never raises."""

    def node_facts(self) -> Mapping[str, Json]:
        """Facts of the node: driver_version, nvml_version, cuda_version, ..."""

    def subjects(self) -> Sequence[Subject]:
        """Every GPU, one with a fault included; called after open and after ``stale`` said so."""

    def stale(self) -> bool:
        """True when ``subjects`` should be asked again (driver reload, a GPU came or went)."""

    def read(self, subject: Subject, *, slow: bool) -> Reading:
        """The newest values of one subject; with ``slow`` the slow tier is read as well.

        Without ``slow`` the reading still carries the slow values last read (docs/design.md).
        """

    def processes(self, subject: Subject) -> Sequence[Process]:
        """Processes on one GPU, empty where there are none or the driver does not say."""
