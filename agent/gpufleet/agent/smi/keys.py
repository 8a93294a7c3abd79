"""Which GPU is which in nvidia-smi's logs: a key for each, and what became of those not in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpufleet.agent.model import Fault, FaultState, Subject
from gpufleet.agent.smi.log import SmiGpu, SmiLog
from gpufleet.agent.smi.mig import MigDevice, MigName


@dataclass(frozen=True, slots=True)
class Entry:
    """One GPU of a log and its MIG devices that have a UUID."""

    gpu: SmiGpu
    mig: tuple[tuple[MigDevice, MigName], ...]


@dataclass(frozen=True, slots=True)
class Document:
    """One log with keys for its GPUs; ``faults`` are those of GPUs that are not in it."""

    log: SmiLog
    entries: Mapping[str, Entry]
    faults: Mapping[str, tuple[int, Fault]]

    def signature(self) -> object:
        """What makes the subjects: a change of it makes them stale."""
        return (
            self.log.facts,
            self.log.attached,
            tuple(
                (
                    key,
                    entry.gpu.index,
                    entry.gpu.facts if entry.gpu.fault is None else entry.gpu.fault.state,
                    tuple((name, device.facts) for device, name in entry.mig),
                )
                for key, entry in self.entries.items()
            ),
            tuple((key, index, fault.state) for key, (index, fault) in self.faults.items()),
        )


def keyed(
    log: SmiLog,
    names: Mapping[tuple[str, int], MigName],
    known: Mapping[str, Subject],
    node: str,
) -> Document:
    """The log's GPUs by key; ``known`` are the GPUs that were seen before."""
    entries: dict[str, Entry] = {}
    for gpu in log.gpus:
        key = gpu.uuid or _key_at(known, node, gpu.bus_id, gpu.index)
        if key in entries:  # no UUID is there twice: this one is not that GPU's
            key = _unknown(node, gpu.bus_id, gpu.index)
        found = ((device, names.get((key, device.index))) for device in gpu.mig)
        entries[key] = Entry(gpu, tuple((d, name) for d, name in found if name is not None))
    faults: dict[str, tuple[int, Fault]] = {}
    for complaint in log.complaints:
        index = len(entries) + len(faults) if complaint.index is None else complaint.index
        key = _key_at(known, node, complaint.bus_id, index)
        if key not in entries:
            faults[key] = (index, complaint.fault)
    for key, subject in known.items():
        if key not in entries and key not in faults:
            faults[key] = (subject.index, absent(subject, whole=log.whole))
    return Document(log, entries, faults)


def _key_at(known: Mapping[str, Subject], node: str, bus_id: str | None, index: int) -> str:
    """The key of the GPU that was last seen there."""
    for key, subject in known.items():
        at = subject.facts.get("pci_bus_id")
        if at == bus_id if bus_id else subject.index == index:
            return key
    return _unknown(node, bus_id, index)


def _unknown(node: str, bus_id: str | None, index: int) -> str:
    return f"unknown-{node}-{bus_id or index}"


def absent(known: Subject, *, whole: bool) -> Fault:
    """The fault of a GPU that is not in a log, which may have been cut short."""
    where = f"GPU {known.index} ({known.facts.get('pci_bus_id') or known.key})"
    if not whole:
        sentence = f"{where} cannot be read: nvidia-smi's output was cut short."
        return Fault(FaultState.ERROR, sentence)
    return Fault(
        FaultState.MISSING,
        f"{where} vanished from nvidia-smi's list: look into dmesg for it, drain the node and "
        "restart it.",
    )
