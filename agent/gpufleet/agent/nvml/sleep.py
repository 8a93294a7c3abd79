"""Whether a GPU sleeps (runtime D3): a laptop's is not woken only to be read.

The kernel says it in sysfs, which itself wakes nothing. Servers keep their GPUs on.
"""

from __future__ import annotations

from pathlib import Path

_NVIDIA = "0x10de"
_DISPLAY = "0x03"


def pci_folder(sysfs: Path, pci_bus_id: str) -> Path:
    """The folder of a PCI device, from the form ``00000000:1A:00.0``."""
    domain, _, rest = pci_bus_id.lower().partition(":")
    return sysfs / "bus/pci/devices" / f"{domain[-4:]}:{rest}"


def may_sleep(folder: Path) -> Path | None:
    """The file that says whether it sleeps, where the kernel may put this device to sleep."""
    return folder / "power/runtime_status" if _read(folder / "power/control") == "auto" else None


def sleeps(status: Path | None) -> bool:
    """True while the device is suspended, or on its way there."""
    return status is not None and _read(status) in ("suspended", "suspending")


def all_asleep(sysfs: Path) -> bool:
    """True where there are NVIDIA GPUs and every one of them sleeps: nvmlInit would wake them."""
    gpus = [
        folder
        for folder in _folders(sysfs / "bus/pci/devices")
        if _read(folder / "vendor") == _NVIDIA and _read(folder / "class").startswith(_DISPLAY)
    ]
    return bool(gpus) and all(sleeps(may_sleep(folder)) for folder in gpus)


def _folders(parent: Path) -> list[Path]:
    try:
        return list(parent.iterdir())
    except OSError:
        return []


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
