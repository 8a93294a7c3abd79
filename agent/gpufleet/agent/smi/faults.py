"""Which GPU nvidia-smi cannot read, and why: from its log's leaves and the lines beside the log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gpufleet.agent.model import Fault, FaultState
from gpufleet.agent.smi.answers import Leaves, failure, pci_bus_id
from gpufleet.agent.smi.values import CORE

_LOST, _RESET_REQUIRED, _NO_PERMISSION, _UNKNOWN = 15, 16, 4, 999  # nvmlReturn_t

_COMPLAINT = re.compile(
    r"unable to determine the device handle for gpu\s*"
    r"(?:(?P<index>\d{1,3})\s*:\s+)?"
    r"(?:(?P<bus>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\s*:\s*)?"
    r"(?P<why>.{1,200})",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """A GPU of which nvidia-smi says no more than that it cannot open it."""

    index: int | None
    bus_id: str | None
    fault: Fault


def complaints(aside: str) -> tuple[Complaint, ...]:
    """The lines about single GPUs, each GPU once; they stand before the log or on stderr."""
    found: dict[tuple[int | None, str | None], Complaint] = {}
    for line in aside.splitlines():
        match = _COMPLAINT.search(line)
        if match is None:
            continue
        index = None if match["index"] is None else int(match["index"])
        bus_id = pci_bus_id(match["bus"] or "")
        if index is None and bus_id is None:
            continue
        label = _label(index, bus_id)
        found.setdefault(
            (index, bus_id), Complaint(index, bus_id, _fault(match["why"].strip(" ."), label))
        )
    return tuple(found.values())


def _label(index: int | None, bus_id: str | None) -> str:
    if index is None:
        return f"The GPU at {bus_id}"
    return f"GPU {index} ({bus_id})" if bus_id else f"GPU {index}"


def leaf_fault(
    leaves: Leaves, values: Mapping[int, int], index: int, bus_id: str | None
) -> Fault | None:
    """The fault of a GPU in the log.

    A lost GPU says so in each reading. Another error in one leaf loses that field only: it is the
    GPU's when nothing of what every GPU answers could be read.
    """
    errors = Counter(words for text in leaves.values() if (words := failure(text)) is not None)
    label = _label(index, bus_id)
    for words in ("gpu is lost", "gpu requires reset"):
        if errors[words]:
            return _fault(words, label)
    if not errors or not CORE.isdisjoint(values):
        return None
    return _fault(errors.most_common(1)[0][0], label)


def _fault(why: str, label: str) -> Fault:
    plain = why.lower()
    if "is lost" in plain:
        return Fault(
            FaultState.LOST,
            f"{label} is lost: it fell off the bus; drain the node and restart it.",
            _LOST,
        )
    if "reset" in plain:
        return Fault(
            FaultState.RESET_REQUIRED,
            f"{label} requires a reset: drain it and run nvidia-smi --gpu-reset.",
            _RESET_REQUIRED,
        )
    if "permission" in plain:
        return Fault(
            FaultState.NO_PERMISSION,
            f"{label} may not be opened by this user: allow access to its /dev/nvidia device.",
            _NO_PERMISSION,
        )
    return Fault(
        FaultState.ERROR,
        f"{label} cannot be read: nvidia-smi says {why!r}; see dmesg.",
        _UNKNOWN if "unknown error" in plain else 0,
    )
