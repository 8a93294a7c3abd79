"""MIG devices: their sizes and memory from nvidia-smi's log, their UUIDs from ``nvidia-smi -L``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gpufleet.agent.mig import carriers
from gpufleet.agent.model import Json
from gpufleet.agent.smi.answers import Leaves, count
from gpufleet.agent.smi.values import memory_values

_GPU_LINE = re.compile(r"GPU (\d+): .*\(UUID: (GPU-[0-9A-Za-z-]{1,64})\)")
_MIG_LINE = re.compile(
    r"\s+MIG (\S{1,64})\s+Device\s+(\d{1,4}): \(UUID: (MIG-[0-9A-Za-z/-]{1,96})\)"
)

_SIZES = {
    "multiprocessor_count": "multiprocessor_count",
    "copy_engine_count": "copy_engine_count",
    "encoder_count": "encoder_count",
    "decoder_count": "decoder_count",
    "ofa_count": "ofa_count",
    "jpeg_count": "jpg_count",
}


@dataclass(frozen=True, slots=True)
class MigDevice:
    """One compute instance. Of those that share a GPU instance one tells its memory (agent.mig),
    and ``shares_memory`` says that there are others."""

    index: int
    gpu_instance: int
    compute_instance: int
    shares_memory: bool
    facts: Mapping[str, Json]
    values: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class MigName:
    """What ``nvidia-smi -L`` says of a MIG device."""

    uuid: str
    profile: str


def mig_devices(parts: Iterable[Leaves]) -> tuple[MigDevice, ...]:
    """The MIG devices of one GPU; one without its three numbers is left out."""
    read = []
    for leaves in parts:
        index = count(leaves, "index")
        instance = count(leaves, "gpu_instance_id")
        compute = count(leaves, "compute_instance_id")
        if index is not None and instance is not None and compute is not None:
            read.append((index, instance, compute, leaves))
    tenants = Counter(instance for _, instance, _, _ in read)
    telling = carriers((instance, compute) for _, instance, compute, _ in read)
    return tuple(
        MigDevice(
            index,
            instance,
            compute,
            tenants[instance] > 1,
            _facts(leaves, instance, compute, shared=tenants[instance] > 1),
            memory_values(leaves) if (instance, compute) in telling else {},
        )
        for index, instance, compute, leaves in read
    )


def _facts(leaves: Leaves, instance: int, compute: int, *, shared: bool) -> dict[str, Json]:
    facts: dict[str, Json] = {
        "gpu_instance_id": instance,
        "compute_instance_id": compute,
        "memory_shared": shared,
    }
    for ours, theirs in _SIZES.items():
        if (size := count(leaves, f"device_attributes/shared/{theirs}")) is not None:
            facts[ours] = size
    return facts


def mig_names(listing: str) -> dict[tuple[str, int], MigName]:
    """(UUID of the GPU, index of the MIG device) → its UUID and profile."""
    found: dict[tuple[str, int], MigName] = {}
    gpu = ""
    for line in listing.splitlines():
        if (match := _GPU_LINE.match(line)) is not None:
            gpu = match[2]
        elif gpu and (match := _MIG_LINE.match(line)) is not None:
            found.setdefault((gpu, int(match[2])), MigName(match[3], match[1]))
        elif not line.startswith((" ", "\t")):
            gpu = ""
    return found
