"""An output of ``nvidia-smi -q -x`` as facts, readings, processes, MIG devices and faults.

Pure: bytes in, a document out. Only what nvidia-smi answered is in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpufleet.agent.model import Fault, Json
from gpufleet.agent.smi.answers import count, pci_bus_id, word
from gpufleet.agent.smi.detail import gpu_detail
from gpufleet.agent.smi.facts import gpu_facts
from gpufleet.agent.smi.faults import Complaint, complaints, leaf_fault
from gpufleet.agent.smi.leaves import GpuLeaves, NotALog, read_leaves
from gpufleet.agent.smi.mig import MigDevice, mig_devices
from gpufleet.agent.smi.processes import SmiProcess, gpu_processes
from gpufleet.agent.smi.values import gpu_values

__all__ = ["NotALog", "SmiGpu", "SmiLog", "parse"]


@dataclass(frozen=True, slots=True)
class SmiGpu:
    """One GPU of the log. With a ``fault`` the values are not to be used."""

    index: int
    uuid: str | None
    bus_id: str | None
    name: str | None
    facts: Mapping[str, Json]
    values: Mapping[int, int]
    detail: Mapping[str, Json]
    processes: tuple[SmiProcess, ...]
    mig: tuple[MigDevice, ...]
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class SmiLog:
    """One output. ``attached`` may be more than there are GPUs; ``whole`` is False if cut short."""

    facts: Mapping[str, Json]
    attached: int | None
    gpus: tuple[SmiGpu, ...]
    complaints: tuple[Complaint, ...]
    whole: bool


def parse(output: bytes, errors: bytes = b"") -> SmiLog:
    """The document of stdout and stderr; NotALog where there is no XML in it."""
    log = read_leaves(output)
    wrong = complaints(f"{log.aside}\n{errors.decode(errors='replace')}")
    facts: dict[str, Json] = {
        name: said
        for name in ("driver_version", "cuda_version")
        if (said := word(log.leaves, name)) is not None
    }
    indices = _indices(log.gpus, wrong)
    return SmiLog(
        facts,
        count(log.leaves, "attached_gpus"),
        tuple(_gpu(gpu, index) for gpu, index in zip(log.gpus, indices, strict=True)),
        wrong,
        log.whole,
    )


def _indices(gpus: Sequence[GpuLeaves], wrong: Sequence[Complaint]) -> list[int]:
    """Places in the driver's order: those of GPUs that could not be opened stay free."""
    taken = {complaint.index for complaint in wrong}
    free = (index for index in range(len(gpus) + len(taken)) if index not in taken)
    return [next(free) for _ in gpus]


def _gpu(gpu: GpuLeaves, index: int) -> SmiGpu:
    facts = gpu_facts(gpu.leaves, gpu.id)
    values = gpu_values(gpu.leaves)
    bus_id = pci_bus_id(gpu.id) or pci_bus_id(gpu.leaves.get("pci/pci_bus_id", ""))
    uuid, name = facts.get("uuid"), facts.get("name")
    return SmiGpu(
        index,
        uuid if isinstance(uuid, str) else None,
        bus_id,
        name if isinstance(name, str) else None,
        facts,
        values,
        gpu_detail(gpu.leaves),
        gpu_processes(gpu.processes),
        mig_devices(gpu.mig),
        leaf_fault(gpu.leaves, values, index, bus_id),
    )
