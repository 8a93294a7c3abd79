"""Processes on one GPU: compute, graphics and MPS merged by pid, with their utilisation.

In MIG mode a process belongs to its MIG device, and is told once for each that it uses.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpufleet.agent.nvml.calls import INSUFFICIENT_SIZE, SUCCESS, Nvml
from gpufleet.agent.nvml.device import Look, Source

_NOT_KNOWN = 0xFFFFFFFFFFFFFFFF  # NVML_VALUE_NOT_AVAILABLE
_FIRST_WINDOW_US = 5_000_000
"""How far back utilisation is asked for at first: 0 would bring samples of dead processes."""

_LISTS = (
    ("C", "nvmlDeviceGetComputeRunningProcesses"),
    ("G", "nvmlDeviceGetGraphicsRunningProcesses"),
    ("M", "nvmlDeviceGetMPSComputeRunningProcesses"),
)
_V3 = {letter: Source(f"{name}_v3") for letter, name in _LISTS}
_V2 = {letter: Source(f"{name}_v2") for letter, name in _LISTS}
_MOST_PROCESSES = 100_000
_UTILIZATION = Source("nvmlDeviceGetProcessUtilization")


class _Info(ctypes.Structure):
    """nvmlProcessInfo_v2_t of nvml.h, which _v3 uses as well."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class _Info535(ctypes.Structure):
    """What _v3 fills in the first drivers of the 535 series: wider, under the same name."""

    _fields_ = (*_Info._fields_, ("protected_memory", ctypes.c_ulonglong))


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """One pid on one GPU or MIG device; type C, G, C+G or M."""

    subject_key: str
    pid: int
    type: str
    memory_bytes: int | None
    utilization_permille: int | None


def process_struct(nvml: Nvml) -> type[ctypes.Structure]:
    """The struct of the _v3 lists in the loaded library.

    A driver that knows confidential computing but not nvmlDeviceGetRunningProcessDetailList is one
    of those that widened the struct: read as the narrow one it is garbage from the second process.
    """
    wide = nvml.has("nvmlDeviceGetConfComputeMemSizeInfo") and not nvml.has(
        "nvmlDeviceGetRunningProcessDetailList"
    )
    return _Info535 if wide else _Info


def read_processes(
    look: Look,
    struct: type[ctypes.Structure],
    now_us: int,
    key_of: Callable[[int, int], str],
) -> list[GpuProcess]:
    """Everything that runs on the GPU, by subject and pid.

    ``key_of`` gives the subject of a (GPU instance, compute instance).
    """
    types: dict[tuple[str, int], set[str]] = {}
    memory: dict[tuple[str, int], dict[tuple[int, int], int | None]] = {}
    for letter, _ in _LISTS:
        for info in _running(look, letter, struct):
            place = (info.gpu_instance, info.compute_instance)
            who = (key_of(*place), info.pid)
            types.setdefault(who, set()).add(letter)
            parts = memory.setdefault(who, {})
            used = None if info.memory == _NOT_KNOWN else info.memory
            # The lists tell the same memory of a process that is in two of them.
            seen = parts.get(place)
            parts[place] = used if seen is None or (used or 0) > seen else seen
    if not types:
        return []
    utilization = _utilization(look, now_us)
    return [
        GpuProcess(
            *who,
            "M" if "M" in letters else "+".join(sorted(letters)),
            sum(known) if (known := [m for m in memory[who].values() if m is not None]) else None,
            utilization.get(who[1]),
        )
        for who, letters in sorted(types.items())
    ]


def lists_refused(look: Look) -> bool:
    """True where the GPU's own lists may not be read; those of its MIG devices may be."""
    return any(source in look.device.refused for source in (*_V3.values(), *_V2.values()))


def _running(look: Look, letter: str, struct: type[ctypes.Structure]) -> list[Any]:
    newest = _V3[letter]
    found = _list(look, newest, struct)
    return found if look.supports(newest) else _list(look, _V2[letter], _Info)


def _list(look: Look, source: Source, struct: type[ctypes.Structure]) -> list[Any]:
    count = ctypes.c_uint(0)
    infos = None
    code = look.ask_c(source, ctypes.byref(count), None)
    while code == INSUFFICIENT_SIZE and count.value < _MOST_PROCESSES:
        count.value = count.value * 2 + 5  # more may come before the next call
        infos = (struct * count.value)()
        code = look.ask_c(source, ctypes.byref(count), infos)
    return [] if code != SUCCESS or infos is None else list(infos[: count.value])


def _utilization(look: Look, now_us: int) -> dict[int, int]:
    """SM utilisation in thousandths by pid, the newest sample of each since the last look."""
    device = look.device
    since = device.process_seen or now_us - _FIRST_WINDOW_US
    newest: dict[int, tuple[int, int]] = {}
    for sample in look.ask(_UTILIZATION, since) or ():
        device.process_seen = max(device.process_seen, sample.timeStamp)
        if sample.smUtil <= 100 and sample.timeStamp > newest.get(sample.pid, (0, 0))[0]:
            newest[sample.pid] = (sample.timeStamp, sample.smUtil)
    return {pid: percent * 10 for pid, (_, percent) in newest.items()}
