"""Facts of a GPU that do not change while its driver stays loaded; docs/facts.md lists them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpufleet.agent.model import Json
from gpufleet.agent.nvml.device import Field, Look, Source
from gpufleet.agent.nvml.fields import ask_fields
from gpufleet.agent.nvml.memory import find_unified
from gpufleet.agent.nvml.sleep import pci_folder

_ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}
"""Names of NVML_DEVICE_ARCH_*."""

_VIRTUALIZATION = ("none", "passthrough", "vgpu", "host_vgpu", "host_vsga")
"""Names of nvmlGpuVirtualizationMode_t."""

VGPU_GUEST = 2

_NO_TEXT = frozenset({"", "0", "n/a", "[n/a]", "unknown", "none"})


def pci_bus_id(text: str) -> str:
    """One form for all: ``00000000:1A:00.0``."""
    match = re.fullmatch(r"([0-9a-fA-F]+):([0-9a-fA-F]+):([0-9a-fA-F]+)\.([0-7])", text.strip())
    if match is None:
        return text.strip()
    domain, bus, device, function = match.groups()
    return f"{int(domain, 16):08X}:{int(bus, 16):02X}:{int(device, 16):02X}.{function}"


def _text(answer: str) -> Json:
    return None if answer.strip().lower() in _NO_TEXT else answer.strip()


def _mode(answer: int) -> Json:
    return {0: "disabled", 1: "enabled"}.get(answer)


def _architecture(answer: int) -> Json:
    return None if answer == 0xFFFFFFFF else _ARCHITECTURES.get(answer, str(answer))


def _virtualization(answer: int) -> Json:
    return _VIRTUALIZATION[answer] if 0 <= answer < len(_VIRTUALIZATION) else str(answer)


def _watts(answer: int) -> Json:
    return answer / 1000 if 0 < answer < 0xFFFFFFFF else None


def _hertz(answer: int) -> Json:
    return answer * 1_000_000 if 0 < answer < 0xFFFFFFFF else None


def _positive(answer: int) -> Json:
    return answer if 0 < answer < 0xFFFFFFFF else None


def _known(answer: int) -> Json:
    return answer if answer != 0xFFFFFFFF else None


def _celsius(answer: int) -> Json:
    return answer if 0 < answer <= 200 else None


_FACTS: tuple[tuple[str, Source, Callable[[Any], Json]], ...] = (
    ("name", Source("nvmlDeviceGetName"), _text),
    ("serial", Source("nvmlDeviceGetSerial"), _text),
    ("board_part_number", Source("nvmlDeviceGetBoardPartNumber"), _text),
    ("vbios", Source("nvmlDeviceGetVbiosVersion"), _text),
    ("minor_number", Source("nvmlDeviceGetMinorNumber"), _known),
    ("architecture", Source("nvmlDeviceGetArchitecture"), _architecture),
    (
        "compute_capability",
        Source("nvmlDeviceGetCudaComputeCapability"),
        lambda answer: f"{answer[0]}.{answer[1]}",
    ),
    ("cores", Source("nvmlDeviceGetNumGpuCores"), _positive),
    ("memory_bus_width_bits", Source("nvmlDeviceGetMemoryBusWidth"), _positive),
    ("persistence_mode", Source("nvmlDeviceGetPersistenceMode"), _mode),
    ("power_limit_default_watts", Source("nvmlDeviceGetPowerManagementDefaultLimit"), _watts),
    ("clock_graphics_max_hertz", Source("nvmlDeviceGetMaxClockInfo", (0,)), _hertz),
    ("clock_sm_max_hertz", Source("nvmlDeviceGetMaxClockInfo", (1,)), _hertz),
    ("clock_memory_max_hertz", Source("nvmlDeviceGetMaxClockInfo", (2,)), _hertz),
    ("clock_video_max_hertz", Source("nvmlDeviceGetMaxClockInfo", (3,)), _hertz),
    ("pcie_link_generation_max", Source("nvmlDeviceGetMaxPcieLinkGeneration"), _positive),
    ("pcie_link_generation_gpu_max", Source("nvmlDeviceGetGpuMaxPcieLinkGeneration"), _positive),
    ("pcie_link_width_max", Source("nvmlDeviceGetMaxPcieLinkWidth"), _positive),
    ("shutdown_temperature_celsius", Source("nvmlDeviceGetTemperatureThreshold", (0,)), _celsius),
    ("slowdown_temperature_celsius", Source("nvmlDeviceGetTemperatureThreshold", (1,)), _celsius),
    ("memory_max_temperature_celsius", Source("nvmlDeviceGetTemperatureThreshold", (2,)), _celsius),
    (
        "max_operating_temperature_celsius",
        Source("nvmlDeviceGetTemperatureThreshold", (3,)),
        _celsius,
    ),
)

_MODES = (
    ("mig_mode", Source("nvmlDeviceGetMigMode")),
    ("ecc_mode", Source("nvmlDeviceGetEccMode")),
)
_POWER_LIMITS = Source("nvmlDeviceGetPowerManagementLimitConstraints")
_VIRTUALIZATION_MODE = Source("nvmlDeviceGetVirtualizationMode")
_FANS = Source("nvmlDeviceGetNumFans")

_NVLINKS = Field(91)
_MARGINS = {
    Field(193): "shutdown_tlimit_celsius",
    Field(194): "slowdown_tlimit_celsius",
    Field(195): "memory_max_tlimit_celsius",
    Field(196): "max_operating_tlimit_celsius",
}
"""Ada and later give these signed margins in place of absolute thresholds, but some boards the
absolute ones: what answers is told, and nothing is computed from the other."""


def read_static(look: Look, sysfs: Path, proc: Path) -> dict[str, Json]:
    """Facts of one GPU; keeps in the device what the readers need to know."""
    device = look.device
    facts: dict[str, Json] = {"uuid": device.key, "pci_bus_id": device.pci or None}
    for name, source, convert in _FACTS:
        if (answer := look.ask(source)) is not None:
            facts[name] = convert(answer)
    for name, source in _MODES:
        if (answer := look.ask(source)) is not None:
            facts[name], facts[f"{name}_pending"] = _mode(answer[0]), _mode(answer[1])
    if (limits := look.ask(_POWER_LIMITS)) is not None:
        facts["power_limit_min_watts"], facts["power_limit_max_watts"] = map(_watts, limits)
    if (mode := look.ask(_VIRTUALIZATION_MODE)) is not None:
        device.guest = mode == VGPU_GUEST
        facts["virtualization_mode"] = _virtualization(mode)
    device.fans = look.ask(_FANS)
    facts["fan_count"] = device.fans
    batch = ask_fields(look, (_NVLINKS, *_MARGINS))
    facts["nvlink_count"] = batch.get(_NVLINKS)
    for field, name in _MARGINS.items():
        facts[name] = (
            margin if (margin := batch.get(field)) is not None and abs(margin) <= 200 else None
        )
    device.unified = find_unified(look, str(facts.get("name")), proc / "meminfo")
    if device.unified is not None:
        facts["memory_kind"] = "unified"
    facts["numa_node"] = _numa_node(sysfs, device.pci)
    return {name: value for name, value in facts.items() if value is not None}


def _numa_node(sysfs: Path, pci: str) -> int | None:
    """The NUMA node of a PCI device from sysfs; None on machines without (-1)."""
    try:
        node = int((pci_folder(sysfs, pci) / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def node_facts(call: Callable[[str], Any | None]) -> Mapping[str, Json]:
    """Versions of driver, NVML and CUDA; ``call`` gives None where the driver does not answer."""
    facts: dict[str, Json] = {
        "driver_version": call("nvmlSystemGetDriverVersion"),
        "nvml_version": call("nvmlSystemGetNVMLVersion"),
    }
    cuda = call("nvmlSystemGetCudaDriverVersion_v2") or call("nvmlSystemGetCudaDriverVersion")
    facts["cuda_version"] = f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None
    return {name: value for name, value in facts.items() if value is not None}
