"""What a source says of one driver fault: an Xid, an SXid, a GPU that fell off the bus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable


class FaultKind(Enum):
    """What was seen. The value is the kind of its event (docs/events.md)."""

    XID = "xid"
    SXID = "sxid"
    OFF_BUS = "gpu_off_bus"


class Source(Enum):
    """Who saw it."""

    NVML = "nvml"
    KERNEL_LOG = "kernel_log"
    SIM = "sim"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One fault as one source told it; ``None`` and "": not told.

    ``pci`` has the form ``00000000:1A:00.0``; ``line`` is the kernel's, printable and bounded.
    ``continued`` marks a further line about a fault that had its own line.
    """

    kind: FaultKind
    code: int
    source: Source
    time_ms: int
    gpu: str = ""
    pci: str = ""
    gpu_instance: int | None = None
    pid: int | None = None
    process: str | None = None
    device: str = ""
    fatal: bool | None = None
    continued: bool = False
    line: str = ""


@runtime_checkable
class SeesFaults(Protocol):
    """A collector that hears of driver faults by itself: an optional part of ``Collector``."""

    def sightings(self) -> Sequence[Sighting]:
        """What was seen since the last call. Never blocks and never raises."""
