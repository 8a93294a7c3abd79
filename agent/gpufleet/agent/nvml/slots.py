"""Which GPU is at which index of the driver, and its key when the driver does not tell the UUID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpufleet.agent.model import UNKNOWN_PREFIX, Subject
from gpufleet.agent.nvml.calls import Kind, Nvml, NvmlFailure
from gpufleet.agent.nvml.static import pci_bus_id


@dataclass(frozen=True, slots=True)
class Slot:
    """What the driver said about one index: a handle and a UUID, or why not."""

    index: int
    handle: Any = None
    uuid: str = ""
    pci: str = ""
    failure: NvmlFailure | None = None


def look_at(nvml: Nvml, index: int) -> Slot:
    """One index. NvmlFailure is raised only where the whole session is over."""
    handle, pci = None, ""
    try:
        handle = nvml.call("nvmlDeviceGetHandleByIndex", index)
        pci = pci_bus_id(nvml.call("nvmlDeviceGetPciInfo", handle).busId)
    except NvmlFailure as failure:
        if failure.kind is Kind.DRIVER_GONE:
            raise
        if handle is None:
            return Slot(index, failure=failure)
    try:
        return Slot(index, handle, nvml.call("nvmlDeviceGetUUID", handle), pci)
    except NvmlFailure as failure:
        if failure.kind is Kind.DRIVER_GONE:
            raise
        return Slot(index, handle, "", pci, failure)


def keys(slots: Sequence[Slot], known: Mapping[str, Subject], node: str) -> list[str]:
    """The UUID, else that of a known GPU seen nowhere else, by PCI address or index."""
    taken = {slot.uuid for slot in slots}
    free = {key: subject for key, subject in known.items() if key not in taken}
    found = []
    for slot in slots:
        key = slot.uuid or next((k for k, subject in free.items() if _same(subject, slot)), "")
        free.pop(key, None)
        found.append(key or f"{UNKNOWN_PREFIX}{node}-{slot.pci or slot.index}")
    return found


def _same(known: Subject, slot: Slot) -> bool:
    pci = known.facts.get("pci_bus_id")
    return pci == slot.pci if pci and slot.pci else known.index == slot.index
