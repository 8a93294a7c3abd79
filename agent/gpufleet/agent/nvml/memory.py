"""Memory of a GPU or MIG device: its own, or the host's where the two are one (GB10).

Unified memory is that of /proc/meminfo; the fact ``memory_kind`` says so.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

from gpufleet.agent.nvml.device import Device, Look, Source
from gpufleet.agent.nvml.fields import is_blank
from gpufleet.proto.catalog import BY_NAME

USED = BY_NAME["memory_used_bytes"].id
FREE = BY_NAME["memory_free_bytes"].id
RESERVED = BY_NAME["memory_reserved_bytes"].id
TOTAL = BY_NAME["memory_total_bytes"].id

_VERSION_2 = 0x02000028  # nvmlMemory_v2

MEMORY_INFO = Source("nvmlDeviceGetMemoryInfo", (_VERSION_2,), (USED, FREE, RESERVED, TOTAL))
MEMORY_INFO_V1 = Source("nvmlDeviceGetMemoryInfo", (), (USED, FREE, TOTAL))
_ADDRESSING = Source("nvmlDeviceGetAddressingMode")
_ATS = 2  # NVML_DEVICE_ADDRESSING_MODE_ATS
_SYSTEM_ON_A_CHIP = re.compile(r"\b(GB10|Thor|Orin|Xavier)\b")


class _AddressingMode(ctypes.Structure):
    """nvmlDeviceAddressingMode_v1_t."""

    VERSION_1 = 0x1000008
    _fields_ = (("version", ctypes.c_uint), ("value", ctypes.c_uint))


def read_memory(look: Look, values: dict[int, int]) -> None:
    """v2 tells used and reserved apart; v1 (older drivers) counts what is reserved as used."""
    if look.device.unified is not None:
        values.update(_of_the_host(look.device.unified))
        return
    memory = look.ask(MEMORY_INFO)
    parts: tuple[tuple[int, int], ...]
    if memory is not None:
        parts = ((USED, memory.used), (FREE, memory.free), (RESERVED, memory.reserved))
    else:
        memory = None if look.supports(MEMORY_INFO) else look.ask(MEMORY_INFO_V1)
        if memory is None:
            return
        parts = ((USED, memory.used), (FREE, memory.free))
    total = memory.total
    if total == 0:  # a board without memory of its own
        return
    if not is_blank(total):
        values[TOTAL] = total
    for metric, part in parts:
        if not is_blank(part) and part <= total:  # a total that is not known is ~0
            values[metric] = part


def memory_columns(device: Device) -> set[int]:
    """What ``read_memory`` can give of this device."""
    if device.unified is not None:
        return {USED, FREE, TOTAL}
    source = next((s for s in (MEMORY_INFO, MEMORY_INFO_V1) if s not in device.unsupported), None)
    return set() if source is None else set(source.metrics)


def find_unified(look: Look, name: str, meminfo: Path) -> Path | None:
    """/proc/meminfo where the GPU uses the host's memory; None where it has its own, or none.

    Such a GPU says Not Supported of its memory; so does a board without any, which is told apart
    by its addressing mode or its name.
    """
    if look.ask(MEMORY_INFO) is not None or look.ask(MEMORY_INFO_V1) is not None:
        return None
    if look.supports(MEMORY_INFO) or look.supports(MEMORY_INFO_V1):
        return None  # an error that may pass
    mode = _AddressingMode(version=_AddressingMode.VERSION_1)
    translated = look.ask_c(_ADDRESSING, ctypes.byref(mode)) is not None and mode.value == _ATS
    return meminfo if translated or _SYSTEM_ON_A_CHIP.search(name) else None


def _of_the_host(meminfo: Path) -> dict[int, int]:
    try:
        text = meminfo.read_text()
    except OSError:
        return {}
    kib = {name: int(n) for name, n in re.findall(r"^(Mem\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    total, available = kib.get("MemTotal"), kib.get("MemAvailable")
    if total is None or available is None or available > total:
        return {}
    return {USED: (total - available) * 1024, FREE: available * 1024, TOTAL: total * 1024}
