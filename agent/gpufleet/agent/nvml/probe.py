"""The first full look at a GPU: its facts, its MIG devices, and everything that it answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gpufleet.agent.model import Fault, FaultState, Subject
from gpufleet.agent.nvml.calls import Nvml
from gpufleet.agent.nvml.device import Device, GpuFault, Look, fault_of
from gpufleet.agent.nvml.gpm import Gpm, Turn
from gpufleet.agent.nvml.mig import layout, mig_devices
from gpufleet.agent.nvml.sleep import may_sleep, pci_folder
from gpufleet.agent.nvml.static import read_static
from gpufleet.agent.nvml.values import columns, field_candidates, read_values

MOST_PROBES = 3
"""Tries to read all that a GPU answers: some calls say Unknown Error on healthy boards for ever."""


class Prober:
    """Fills devices in. ``sysfs`` and ``proc`` are /sys and /proc."""

    def __init__(self, nvml: Nvml, sysfs: Path, proc: Path) -> None:
        self._nvml = nvml
        self._sysfs = sysfs
        self._proc = proc
        self._turn = Turn()

    def probe(self, device: Device, now: float) -> None:
        """Read everything once; GpuFault or DriverGone where that cannot be."""
        self.forget(device)
        device.probed = False
        look = Look(self._nvml, device)
        device.sleep = may_sleep(pci_folder(self._sysfs, device.pci))
        device.facts = read_static(look, self._sysfs, self._proc)
        links = device.facts.get("nvlink_count")
        fields = field_candidates(links if isinstance(links, int) else 0)
        device.fields = tuple(field for field in fields if look.supports(field))
        gpm = Gpm(self._turn)
        device.gpm = gpm if gpm.supported(look) else None
        has_gpm = device.gpm is not None
        read_values(look, now, slow=True)
        if look.answered == 0 and look.trouble is not None:
            raise GpuFault(fault_of(look.trouble, device.label()))
        device.layout = layout(look)
        device.children = tuple(mig_devices(look, self._turn if has_gpm else None, now))
        device.slow_at = now
        device.columns = columns(device)
        device.probed = True
        device.probes += 1
        device.incomplete = look.trouble is not None and device.probes < MOST_PROBES

    def forget(self, device: Device) -> None:
        """Give back what the library holds for a GPU and its MIG devices."""
        for one in (device, *device.children):
            if one.gpm is not None:
                one.gpm.free(self._nvml)
                one.gpm = None
        device.children = ()


def gpu_subject(device: Device) -> Subject:
    """A GPU that was probed."""
    name = device.facts.get("name")
    return Subject(
        "gpu",
        device.key,
        device.index,
        name if isinstance(name, str) else f"GPU {device.index}",
        device.columns,
        facts=device.facts,
    )


def mig_subjects(device: Device) -> tuple[Subject, ...]:
    """The MIG devices of a GPU that was probed."""
    return tuple(
        Subject(
            "mig",
            child.key,
            child.index,
            (child.instance.name if child.instance else "") or f"MIG device {child.index}",
            child.columns,
            parent=device.key,
            facts=child.facts,
        )
        for child in device.children
    )


def missing(known: Subject) -> Subject:
    """A GPU that was there and is no longer counted."""
    sentence = (
        f"GPU {known.index} ({known.facts.get('pci_bus_id') or known.key}) vanished from the "
        "driver's list: look into dmesg for it, drain the node and restart it."
    )
    return replace(known, fault=Fault(FaultState.MISSING, sentence))


def absent(subject: Subject) -> Fault:
    """Of a subject that this session does not have."""
    kind = "MIG device" if subject.kind == "mig" else "GPU"
    return Fault(FaultState.MISSING, f"{kind} {subject.index} is not among those of the driver.")
