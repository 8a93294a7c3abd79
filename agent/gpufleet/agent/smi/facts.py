"""Static facts of a GPU in nvidia-smi's log, under the names of docs/facts.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gpufleet.agent.model import Json
from gpufleet.agent.smi.answers import Leaves, count, number, pci_bus_id, word

VGPU_GUEST = "vgpu"

_VIRTUALIZATION = {
    "none": "none",
    "pass-through": "passthrough",
    "vgpu": VGPU_GUEST,
    "host vgpu": "host_vgpu",
    "host vsga": "host_vsga",
}
_ARCHITECTURES = {"Ada Lovelace": "Ada"}
"""Where nvidia-smi's name is longer than that of nvml.h."""


def _text(said: str) -> Json:
    return said if said.strip("0") else None  # a serial of zeros is none


def _mode(said: str) -> Json:
    return {"enabled": "enabled", "disabled": "disabled"}.get(said.lower())


_WORDS: tuple[tuple[str, str, Callable[[str], Json]], ...] = (
    ("name", "product_name", _text),
    ("brand", "product_brand", _text),
    ("serial", "serial", _text),
    ("board_part_number", "board_part_number", _text),
    ("vbios", "vbios_version", _text),
    ("architecture", "product_architecture", lambda said: _ARCHITECTURES.get(said, said)),
    ("persistence_mode", "persistence_mode", _mode),
    (
        "virtualization_mode",
        "gpu_virtualization_mode/virtualization_mode",
        lambda said: _VIRTUALIZATION.get(said.lower(), said.lower()),
    ),
    ("mig_mode", "mig_mode/current_mig", _mode),
    ("mig_mode_pending", "mig_mode/pending_mig", _mode),
    ("ecc_mode", "ecc_mode/current_ecc", _mode),
    ("ecc_mode_pending", "ecc_mode/pending_ecc", _mode),
)

_LINK = "pci/pci_gpu_link_info"
_COUNTS = (
    ("pcie_link_generation_max", "", f"{_LINK}/pcie_gen/max_link_gen"),
    ("pcie_link_generation_gpu_max", "", f"{_LINK}/pcie_gen/max_device_link_gen"),
    ("pcie_link_width_max", "x", f"{_LINK}/link_widths/max_link_width"),
)
_CLOCKS = (
    ("clock_graphics_max_hertz", "max_clocks/graphics_clock"),
    ("clock_sm_max_hertz", "max_clocks/sm_clock"),
    ("clock_memory_max_hertz", "max_clocks/mem_clock"),
    ("clock_video_max_hertz", "max_clocks/video_clock"),
)
_POWER = ("default", "min", "max")
_TEMPERATURES = (
    ("shutdown", "max"),
    ("slowdown", "slow"),
    ("max_operating", "max_gpu"),
    ("memory_max", "max_mem"),
)
"""Our name → nvidia-smi's; Ada and later have T.Limit thresholds, signed, in place of these."""
_HOTTEST = 200


def gpu_facts(leaves: Leaves, bus_id: str) -> dict[str, Json]:
    """The facts that the log answers; ``bus_id`` is the ``id`` of the element."""
    facts: dict[str, Json] = {
        "uuid": gpu_uuid(leaves),
        "pci_bus_id": pci_bus_id(bus_id) or pci_bus_id(leaves.get("pci/pci_bus_id", "")),
        "minor_number": count(leaves, "minor_number"),
    }
    for name, path, convert in _WORDS:
        said = word(leaves, path)
        facts[name] = None if said is None else convert(said)
    for name, unit, path in _COUNTS:
        facts[name] = _positive(number(leaves, unit, path))
    for name, path in _CLOCKS:
        megahertz = _positive(number(leaves, "MHz", path))
        facts[name] = None if megahertz is None else round(megahertz * 1_000_000)
    for which in _POWER:
        facts[f"power_limit_{which}_watts"] = _positive(
            number(
                leaves,
                "W",
                f"gpu_power_readings/{which}_power_limit",
                f"power_readings/{which}_power_limit",
            )
        )
    for ours, theirs in _TEMPERATURES:
        degrees = number(leaves, "C", f"temperature/gpu_temp_{theirs}_threshold")
        if degrees is not None and 0 < degrees <= _HOTTEST:  # a vGPU guest's zeros are no limits
            facts[f"{ours}_temperature_celsius"] = degrees
        margin = number(leaves, "C", f"temperature/gpu_temp_{theirs}_tlimit_threshold")
        if margin is not None and abs(margin) <= _HOTTEST:
            facts[f"{ours}_tlimit_celsius"] = margin
    return {name: fact for name, fact in facts.items() if fact is not None}


def gpu_uuid(leaves: Leaves) -> str | None:
    """The UUID, None for a redacted one."""
    uuid = word(leaves, "uuid")
    return uuid if uuid is not None and uuid.startswith("GPU-") and uuid.isprintable() else None


def _positive(value: float | int | None) -> float | int | None:
    return value if value is not None and value > 0 else None


def numa_node(sysfs: Path, bus_id: str) -> int | None:
    """The NUMA node of a PCI device from sysfs; None on machines without (-1)."""
    domain, _, rest = bus_id.lower().partition(":")
    try:
        text = (sysfs / "bus/pci/devices" / f"{domain[-4:]}:{rest}" / "numa_node").read_text()
        node = int(text)
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None
