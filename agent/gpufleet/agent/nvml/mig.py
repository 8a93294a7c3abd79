"""MIG devices, the compute instances of a GPU in MIG mode: which there are, and what they answer.

Several compute instances may share one GPU instance, and with it its memory and its GPM counters.
Those are told by one of them (agent.mig says which), so that a sum counts them once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpufleet.agent.mig import carriers
from gpufleet.agent.model import Json
from gpufleet.agent.nvml.device import Device, Look, Source
from gpufleet.agent.nvml.gpm import ACTIVITY, Gpm, Turn
from gpufleet.agent.nvml.memory import memory_columns, read_memory
from gpufleet.agent.nvml.sources import UTILIZATION, UTILIZATION_RATES

MIG_MODE = Source("nvmlDeviceGetMigMode")
_MOST = Source("nvmlDeviceGetMaxMigDeviceCount")
_HANDLE = Source("nvmlDeviceGetMigDeviceHandleByIndex")
_UUID = Source("nvmlDeviceGetUUID")
_NAME = Source("nvmlDeviceGetName")
_GPU_INSTANCE = Source("nvmlDeviceGetGpuInstanceId")
_COMPUTE_INSTANCE = Source("nvmlDeviceGetComputeInstanceId")
_ATTRIBUTES = Source("nvmlDeviceGetAttributes_v2")
_INVALID_ARGUMENT = 2  # what a handle of a destroyed instance gives

_SIZES = (
    ("multiprocessor_count", "multiprocessorCount"),
    ("copy_engine_count", "sharedCopyEngineCount"),
    ("encoder_count", "sharedEncoderCount"),
    ("decoder_count", "sharedDecoderCount"),
    ("jpeg_count", "sharedJpegCount"),
    ("ofa_count", "sharedOfaCount"),
)

Layout = tuple[tuple[int, int], tuple[tuple[int, str], ...]]
"""MIG mode (current, pending) of a GPU, and its MIG devices as (index, UUID)."""


@dataclass(slots=True, eq=False)
class Instance:
    """What makes a Device a MIG device."""

    gpu: Device
    gpu_instance: int
    compute_instance: int
    name: str = ""
    carries: bool = True
    """It tells the memory and activity of its GPU instance."""


def layout(look: Look) -> Layout | None:
    """How the GPU is partitioned now; None where it does not say."""
    mode = look.ask(MIG_MODE)
    if mode is None:
        return None
    found = tuple((index, uuid) for index, uuid, _ in _handles(look)) if mode[0] == 1 else ()
    return (mode[0], mode[1]), found


def _handles(look: Look) -> list[tuple[int, str, Any]]:
    """Index, UUID and handle of every MIG device; indices have gaps."""
    found = []
    for index in range(look.ask(_MOST) or 0):
        handle = look.ask(_HANDLE, index)
        if handle is not None:
            uuid = look.ask_at(handle, _UUID)
            if uuid is not None:
                found.append((index, uuid, handle))
    return found


def mig_devices(look: Look, turn: Turn | None, now: float) -> list[Device]:
    """The MIG devices of a GPU in MIG mode, with facts and columns. ``look`` is at the GPU.

    ``turn`` is given where the GPU has GPM.
    """
    gpu = look.device
    devices = []
    for index, uuid, handle in _handles(look):
        ids = (look.ask_at(handle, _GPU_INSTANCE), look.ask_at(handle, _COMPUTE_INSTANCE))
        if None not in ids:
            device = Device(uuid, index, handle, gpu.pci)
            device.instance = Instance(gpu, *ids)
            devices.append(device)
    telling = carriers((i.gpu_instance, i.compute_instance) for d in devices if (i := d.instance))
    shared = [i.gpu_instance for d in devices if (i := d.instance)]
    for device in devices:
        mine = device.instance
        assert mine is not None
        mine.carries = (mine.gpu_instance, mine.compute_instance) in telling
        if mine.carries and turn is not None:
            device.gpm = Gpm(turn, mine.gpu_instance)
        its = Look(look.nvml, device)
        device.facts = _facts(its, mine, shared=shared.count(mine.gpu_instance) > 1)
        read_instance(its, look, now, first=True)
        device.columns = _columns(device)
        device.probed = True
    return devices


def _facts(look: Look, mine: Instance, *, shared: bool) -> dict[str, Json]:
    facts: dict[str, Json] = {
        "uuid": look.device.key,
        "gpu_instance_id": mine.gpu_instance,
        "compute_instance_id": mine.compute_instance,
        "memory_shared": shared,
    }
    mine.name = look.ask(_NAME) or ""
    if (profile := re.search(r"\bMIG (\S+)$", mine.name)) is not None:
        facts["profile"] = profile[1]
    attributes = look.ask(_ATTRIBUTES)
    if attributes is not None:
        facts.update((ours, getattr(attributes, theirs)) for ours, theirs in _SIZES)
    return facts


def _columns(device: Device) -> tuple[int, ...]:
    ids: set[int] = set()
    if UTILIZATION_RATES not in device.unsupported:
        ids.add(UTILIZATION)
    if device.instance is not None and device.instance.carries:
        ids.update(memory_columns(device))
    if device.gpm is not None:
        ids.update(ACTIVITY.values())
    return tuple(sorted(ids))


def read_instance(
    look: Look, at_gpu: Look, now: float, *, first: bool = False
) -> Mapping[int, int] | None:
    """Values of a MIG device; None once its handle is another's or nobody's."""
    device = look.device
    mine = device.instance
    assert mine is not None
    if not first and look.ask(_UUID) != device.key:
        trouble = look.trouble
        return None if trouble is None or trouble.code == _INVALID_ARGUMENT else {}
    values: dict[int, int] = {}
    rates = look.ask(UTILIZATION_RATES)
    if rates is not None and rates.gpu <= 100:
        values[UTILIZATION] = rates.gpu * 10
    if mine.carries:
        read_memory(look, values)
    gpm = device.gpm  # an enumeration may take it away meanwhile
    if gpm is not None:
        values.update(gpm.read(at_gpu, now))
    return values
