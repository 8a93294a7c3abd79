"""Checks of the NVIDIA driver: its kernel module, its library, the Python binding, every GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from gpufleet.agent.doctor.checkup import Finding, Level, Machine
from gpufleet.agent.doctor.run import run

_PROBE = "gpufleet.agent.doctor.probe"


def binding() -> Sequence[Finding]:
    """nvidia-ml-py is what provides pynvml, and not the deprecated package of that name."""
    check = "python binding"
    install = "Run pip install 'gpufleet[agent]'."
    spec = importlib.util.find_spec("pynvml")
    try:
        version = metadata.version("nvidia-ml-py")
    except metadata.PackageNotFoundError:
        if spec is None:
            return [Finding(check, Level.ERROR, "nvidia-ml-py is not installed.", install)]
        sentence = f"pynvml comes from {spec.origin}, not from the package nvidia-ml-py."
        mend = "Run pip uninstall pynvml, then pip install 'gpufleet[agent]'."
        return [Finding(check, Level.WARNING, sentence, mend)]
    if spec is None:
        return [Finding(check, Level.ERROR, "pynvml cannot be imported.", install)]
    own = {str(file.locate()) for file in metadata.files("nvidia-ml-py") or ()}
    mend = "Run pip uninstall pynvml, then pip install --force-reinstall nvidia-ml-py."
    if spec.origin not in own:
        sentence = f"Another pynvml ({spec.origin}) hides that of nvidia-ml-py {version}."
        return [Finding(check, Level.ERROR, sentence, mend)]
    try:
        deprecated = metadata.version("pynvml")
    except metadata.PackageNotFoundError:
        return [Finding(check, Level.OK, f"nvidia-ml-py {version}.")]
    sentence = f"The deprecated package pynvml {deprecated} is installed beside nvidia-ml-py."
    return [Finding(check, Level.WARNING, sentence, mend)]


def kernel_driver(machine: Machine) -> Sequence[Finding]:
    """The kernel module, and whether there is anything for it to drive."""
    check = "kernel driver"
    version = kernel_version(machine)
    gpus = pci_gpus(machine)
    if version:
        return [Finding(check, Level.OK, f"NVIDIA kernel driver {version}.")]
    if machine.file("/proc/driver/nvidia").is_dir():
        return [Finding(check, Level.OK, "An NVIDIA kernel driver is loaded.")]
    if not gpus:
        sentence = "There is no NVIDIA GPU on the PCI bus and no NVIDIA driver."
        mend = "Run the agent on a machine with GPUs, or try it with --method sim."
        return [Finding(check, Level.ERROR, sentence, mend)]
    if machine.file("/sys/module/nouveau").is_dir():
        sentence = "nouveau drives this machine's NVIDIA GPUs, and NVML does not work with it."
        mend = "Install the NVIDIA driver, blacklist nouveau and restart the machine."
        return [Finding(check, Level.ERROR, sentence, mend)]
    sentence = f"{len(gpus)} NVIDIA GPUs are on the PCI bus, but no NVIDIA driver is loaded."
    mend = "Install the NVIDIA driver, or load it with modprobe nvidia; dmesg says why it fails."
    return [Finding(check, Level.ERROR, sentence, mend)]


def kernel_version(machine: Machine) -> str:
    """Version of the loaded kernel module, "" where it does not say."""
    said = machine.read("/proc/driver/nvidia/version")
    match = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", said + " ")
    return match[1] if match else ""


def pci_gpus(machine: Machine) -> list[str]:
    """PCI addresses of NVIDIA display and 3D controllers."""
    folder = machine.file("/sys/bus/pci/devices")
    try:
        devices = sorted(device.name for device in folder.iterdir())
    except OSError:
        return []
    return [
        name
        for name in devices
        if machine.read(f"/sys/bus/pci/devices/{name}/vendor") == "0x10de"
        and machine.read(f"/sys/bus/pci/devices/{name}/class").startswith("0x03")
    ]


def nvml(machine: Machine) -> Sequence[Finding]:
    """NVML itself, asked in a process of its own: one that hangs is left behind."""
    steps, hung = _ask_nvml(machine)
    told: dict[str, Any] = {}
    gpus = []
    for step in steps:
        if "gpu" in step:
            gpus.append(step)
        else:
            told.update(step)
    found = []
    if "error" in told:
        found.append(Finding("nvml", Level.ERROR, *_halves(str(told["error"]))))
    elif "driver_version" in told:
        found.append(_versions(machine, told))
    if hung:
        at = told.get("asking", "nvmlInit")
        sentence = f"The driver did not answer {at} within {machine.seconds:.0f} s."
        mend = "Look into dmesg for NVRM and Xid lines; drain the node and restart it."
        found.append(Finding("nvml", Level.ERROR, sentence, mend))
    elif not found:
        sentence = "The process that asked NVML ended without an answer."
        found.append(Finding("nvml", Level.ERROR, sentence, "Look into dmesg for its end."))
    if "count" in told:
        found += _gpus(machine, int(told["count"]), gpus)
    return found


def _halves(sentence: str) -> tuple[str, str]:
    """What is wrong, and after the colon how to mend it, of an error for people."""
    what, colon, mend = sentence.partition(": ")
    return (f"{what}.", f"{mend[:1].upper()}{mend[1:]}") if colon else (sentence, "")


def _versions(machine: Machine, told: dict[str, Any]) -> Finding:
    version, kernel = str(told["driver_version"]), kernel_version(machine)
    if kernel and kernel != version:
        sentence = f"The driver's library is {version}, the loaded kernel driver {kernel}."
        mend = "Restart the machine, or unload and load the kernel driver."
        return Finding("nvml", Level.ERROR, sentence, mend)
    return Finding("nvml", Level.OK, f"NVML {told.get('nvml_version', '')}, driver {version}.")


def _gpus(machine: Machine, count: int, gpus: list[dict[str, Any]]) -> list[Finding]:
    found = []
    broken = [gpu for gpu in gpus if gpu.get("error")]
    for gpu in broken:
        mend = "Look into dmesg for its Xid lines; drain it, then reset it or restart the node."
        if gpu.get("code") == 4:
            mend = "Allow this user to read and write its /dev/nvidia device."
        found.append(Finding("gpus", Level.ERROR, f"GPU {gpu['gpu']}: {gpu['error']}.", mend))
    on_bus = len(pci_gpus(machine))
    if on_bus > count:
        sentence = f"The driver counts {count} GPUs, but {on_bus} are on the PCI bus."
        mend = "Look into dmesg for why it left some out; in a container give it all GPUs."
        found.append(Finding("gpus", Level.WARNING, sentence, mend))
    if count == 0:
        mend = "In a container give it GPUs (--gpus all); else look into dmesg."
        found.append(Finding("gpus", Level.ERROR, "The driver counts no GPU.", mend))
    elif not broken and len(gpus) == count:
        names = sorted({str(gpu.get("name")) for gpu in gpus})
        found.append(Finding("gpus", Level.OK, f"{count} can be read: {', '.join(names)}."))
    off = [str(gpu["gpu"]) for gpu in gpus if gpu.get("persistence") == 0]
    if off:
        sentence = (
            f"Persistence mode is off on GPU {', '.join(off)}: while nothing runs, each look may "
            "take seconds."
        )
        mend = "Enable nvidia-persistenced, or run nvidia-smi -pm 1."
        found.append(Finding("persistence", Level.WARNING, sentence, mend))
    elif any(gpu.get("persistence") == 1 for gpu in gpus):
        found.append(Finding("persistence", Level.OK, "Persistence mode is on."))
    return found


def _ask_nvml(machine: Machine) -> tuple[list[dict[str, Any]], bool]:
    """What the probe wrote, and whether it had to be left behind."""
    environment = {**machine.environment, "PYTHONPATH": _import_path()}
    status, written = run([sys.executable, "-m", _PROBE], environment, machine.seconds)
    return [told for line in written.splitlines() if (told := _told(line))], status is None


def _told(line: str) -> dict[str, Any]:
    """One line of the probe's; nothing for what the driver's library may have said in between."""
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _import_path() -> str:
    return os.pathsep.join(path for path in sys.path if path)
