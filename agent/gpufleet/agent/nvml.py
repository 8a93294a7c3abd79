"""The ``nvml`` method: reads the GPUs of this machine through NVML.

A GPU is keyed by its UUID. One whose UUID cannot be read keeps the one last seen at its PCI
address or index; where none was ever seen the key is ``unknown-<node>-<PCI bus id or index>``,
and that subject goes when the UUID becomes known. A GPU that left the driver's count stays,
with the fault MISSING.
"""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpufleet.agent.model import (
    Fault,
    FaultState,
    Json,
    Process,
    Reading,
    Subject,
)
from gpufleet.agent.nvml_calls import Kind, Nvml, NvmlFailure, unavailable
from gpufleet.agent.nvml_device import Device, DriverGone, GpuFault, Look, fault_of
from gpufleet.agent.nvml_fields import FIELDS, nvlink_fields
from gpufleet.agent.nvml_processes import process_struct, read_processes
from gpufleet.agent.nvml_slots import Slot, keys, look_at
from gpufleet.agent.nvml_sources import columns
from gpufleet.agent.nvml_static import node_facts, read_static
from gpufleet.agent.nvml_values import read_values
from gpufleet.agent.processes import REVEAL_NOTHING, ProcessTable, Reveal
from gpufleet.agent.sighting import Sighting
from gpufleet.agent.xid_watch import Watched, XidWatch

RETRY_SECONDS = 30.0
"""How often GPUs that could not be opened, or not be read fully, are tried again."""

MOST_PROBES = 3
"""Tries to read all that a GPU answers: some calls say Unknown Error on healthy boards for ever."""


class NvmlCollector:
    """``Collector`` over NVML; see model.py for what its methods promise.

    ``slow_seconds`` bounds the age of a slow value carried in a reading: older ones are left out.
    ``node`` makes the keys of GPUs without a known UUID unique in a fleet.
    """

    method = "nvml"

    def __init__(
        self,
        *,
        node: str = "",
        proc: Path = Path("/proc"),
        sysfs: Path = Path("/sys"),
        slow_seconds: float = 90.0,
        reveal: Reveal = REVEAL_NOTHING,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._node = node or platform.node()
        self._sysfs = sysfs
        self._slow_seconds = slow_seconds
        self._clock = clock
        self._wall_clock_ns = wall_clock_ns
        self._table = ProcessTable(proc, reveal=reveal)
        self._nvml = Nvml()
        self._xids = XidWatch(self._nvml, lambda: wall_clock_ns() // 1_000_000)
        self._open = False
        self._gone: NvmlFailure | None = None
        self._devices: dict[str, Device] = {}
        self._known: dict[str, Subject] = {}
        self._count = 0
        self._closed_slots: tuple[int, ...] = ()
        self._retry_at = 0.0
        self._renew = False
        self._struct: type[ctypes.Structure] | None = None

    def open(self) -> None:
        """Start a session, ending the one that is open; what was learnt about GPUs is kept."""
        self.close()
        self._nvml.open()
        self._open, self._gone = True, None
        self._struct = process_struct(self._nvml)

    def close(self) -> None:
        """Let the driver go."""
        self._xids.stop()
        if self._open:
            self._nvml.close()
        self._open = False
        self._devices = {}

    def node_facts(self) -> Mapping[str, Json]:
        """Versions of driver, NVML and CUDA, and how many GPUs the driver counts."""
        facts = dict(node_facts(self._try))
        count = self._try("nvmlDeviceGetCount")
        if count is not None:
            facts["gpu_count"] = count
        return facts

    def _try(self, name: str) -> Any | None:
        try:
            return self._nvml.call(name)
        except NvmlFailure as failure:
            self._note(failure)
            return None

    def _note(self, failure: NvmlFailure) -> None:
        if failure.kind is Kind.DRIVER_GONE:
            self._gone = failure

    # Enumeration

    def subjects(self) -> Sequence[Subject]:
        """Every GPU by index, then those that the driver no longer counts."""
        if self._gone is not None or not self._open:
            self.open()
        try:
            count = self._nvml.call("nvmlDeviceGetCount")
            slots = [look_at(self._nvml, index) for index in range(count)]
        except NvmlFailure as failure:
            self._note(failure)
            raise unavailable(failure, worked_before=True) from None
        self._count = count
        self._renew = False
        self._closed_slots = tuple(slot.index for slot in slots if slot.handle is None)
        self._retry_at = self._clock() + RETRY_SECONDS
        devices: dict[str, Device] = {}
        found: list[Subject] = []
        for slot, key in zip(slots, keys(slots, self._known, self._node), strict=True):
            subject = self._subject(slot, key, devices)
            found.append(subject)
            if slot.uuid:
                self._known[key] = subject
        self._devices = devices
        self._xids.follow([Watched(d.key, d.pci, d.handle) for d in devices.values()])
        present = {subject.key for subject in found}
        found.extend(_missing(known) for key, known in self._known.items() if key not in present)
        return found

    def _faulty(self, slot: Slot, key: str, fault: Fault) -> Subject:
        known = self._known.get(key)
        if known is not None:
            return replace(known, index=slot.index, fault=fault)
        return Subject("gpu", key, slot.index, f"GPU {slot.index}", (), fault=fault)

    def _subject(self, slot: Slot, key: str, devices: dict[str, Device]) -> Subject:
        """A GPU; where there is a handle with its facts and columns, read once in a session."""
        if slot.handle is None and slot.failure is not None:
            return self._faulty(slot, key, fault_of(slot.failure, f"GPU {slot.index}"))
        device = self._devices.get(key)
        if device is None:
            device = Device(key, slot.index, slot.handle, slot.pci)
        device.index, device.handle = slot.index, slot.handle
        devices[key] = device
        if slot.failure is not None:  # its UUID could not be read: no key to give it
            return self._faulty(slot, key, fault_of(slot.failure, device.label()))
        if not device.probed or device.incomplete:
            try:
                self._probe(device)
            except GpuFault as gone:
                return self._faulty(slot, key, gone.fault)
            except DriverGone as gone:
                self._note(gone.failure)
                return self._faulty(slot, key, fault_of(gone.failure, device.label()))
        name = device.facts.get("name")
        return Subject(
            "gpu",
            key,
            slot.index,
            name if isinstance(name, str) else f"GPU {slot.index}",
            device.columns,
            facts=device.facts,
        )

    def _probe(self, device: Device) -> None:
        """Read everything once, to learn what this GPU answers."""
        look = Look(self._nvml, device)
        device.facts = read_static(look, self._sysfs)
        links = device.facts.get("nvlink_count")
        fields = (*FIELDS, *nvlink_fields(links if isinstance(links, int) else 0))
        device.fields = tuple(field for field in fields if look.supports(field))
        read_values(look, slow=True)
        if look.answered == 0 and look.trouble is not None:
            raise GpuFault(fault_of(look.trouble, device.label()))
        device.slow_at = self._clock()
        device.columns = columns(device)
        device.probed = True
        device.probes += 1
        device.incomplete = look.trouble is not None and device.probes < MOST_PROBES

    def stale(self) -> bool:
        """True after a driver reload, a change of the count, or when a closed GPU can be opened."""
        if self._gone is not None:
            return True
        if not self._open:
            return False
        count = self._try("nvmlDeviceGetCount")
        if self._gone is not None or self._renew or (count is not None and count != self._count):
            return True
        if self._clock() < self._retry_at:
            return False
        self._retry_at = self._clock() + RETRY_SECONDS
        if any(device.incomplete for device in self._devices.values()):
            return True
        return any(self._opens(index) for index in self._closed_slots)

    def _opens(self, index: int) -> bool:
        try:
            self._nvml.call("nvmlDeviceGetHandleByIndex", index)
        except NvmlFailure as failure:
            self._note(failure)
            return False
        return True

    # Readings

    def read(self, subject: Subject, *, slow: bool) -> Reading:
        """The newest values of one GPU, or its fault."""
        device = self._devices.get(subject.key)
        if device is None:
            return Reading(None, subject.fault or _gone_fault(subject))
        try:
            if not device.probed:
                return self._read_again(device, subject)
            look = Look(self._nvml, device)
            values, detail = read_values(look, slow=slow)
        except GpuFault as gone:
            device.slow, device.slow_detail = {}, {}
            return Reading(None, gone.fault)
        except DriverGone as gone:
            self._note(gone.failure)
            device.slow, device.slow_detail = {}, {}
            return Reading(None, fault_of(gone.failure, device.label()))
        if look.answered == 0 and look.trouble is not None:
            device.slow, device.slow_detail = {}, {}
            return Reading(None, fault_of(look.trouble, device.label()))
        now = self._clock()
        if slow:
            device.slow_at = now
        if now - device.slow_at <= self._slow_seconds:
            values.update(device.slow)
            detail.update(device.slow_detail)
        return Reading(values, detail=detail)

    def _read_again(self, device: Device, subject: Subject) -> Reading:
        """A GPU that was faulty when it was enumerated: once it answers, ``stale`` says so."""
        try:
            if self._nvml.call("nvmlDeviceGetUUID", device.handle) == device.key:
                self._probe(device)
        except NvmlFailure as failure:
            self._note(failure)
            return Reading(None, fault_of(failure, device.label()))
        self._renew = True
        return Reading(None, subject.fault)

    def sightings(self) -> Sequence[Sighting]:
        """Xids that NVML told since the last call; the first call begins to listen."""
        return self._xids.sightings()

    def processes(self, subject: Subject) -> Sequence[Process]:
        """Processes on one GPU with their users and programs."""
        device = self._devices.get(subject.key)
        if device is None or not device.probed or self._struct is None:
            return ()
        try:
            found = read_processes(
                Look(self._nvml, device), self._struct, self._wall_clock_ns() // 1000
            )
        except GpuFault:
            return ()
        except DriverGone as gone:
            self._note(gone.failure)
            return ()
        result = []
        for process in found:
            who = self._table.identify(process.pid)
            result.append(
                Process(
                    subject.key,
                    process.pid,
                    process.type,
                    start_ms=who.start_ms,
                    user=who.user,
                    program=who.program,
                    memory_bytes=process.memory_bytes,
                    utilization_permille=process.utilization_permille,
                    container=who.container,
                    pod=who.pod,
                    job=who.job,
                    arguments=who.arguments,
                )
            )
        return result


def _gone_fault(subject: Subject) -> Fault:
    return Fault(FaultState.MISSING, f"GPU {subject.index} is not among the GPUs of the driver.")


def _missing(known: Subject) -> Subject:
    """A GPU that was there and is no longer counted."""
    sentence = (
        f"GPU {known.index} ({known.facts.get('pci_bus_id') or known.key}) vanished from the "
        "driver's list: look into dmesg for it, drain the node and restart it."
    )
    return replace(known, fault=Fault(FaultState.MISSING, sentence))
