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

from gpufleet.agent.faults.sighting import Sighting
from gpufleet.agent.model import (
    CollectorUnavailable,
    Fault,
    FaultState,
    Json,
    Process,
    Reading,
    Subject,
)
from gpufleet.agent.nvml.calls import Kind, Nvml, NvmlFailure, unavailable
from gpufleet.agent.nvml.device import Device, DriverGone, GpuFault, Look, fault_of
from gpufleet.agent.nvml.mig import layout, read_instance
from gpufleet.agent.nvml.probe import Prober, absent, gpu_subject, mig_subjects, missing
from gpufleet.agent.nvml.processes import (
    GpuProcess,
    lists_refused,
    process_struct,
    read_processes,
)
from gpufleet.agent.nvml.sleep import all_asleep, sleeps
from gpufleet.agent.nvml.slots import Slot, keys, look_at
from gpufleet.agent.nvml.static import node_facts
from gpufleet.agent.nvml.values import read_values
from gpufleet.agent.nvml.xid_watch import Watched, XidWatch
from gpufleet.agent.processes.table import REVEAL_NOTHING, ProcessTable, Reveal

RETRY_SECONDS = 30.0
"""How often GPUs that could not be opened, or not be read fully, are tried again."""

ASLEEP = (
    "Every NVIDIA GPU of this machine sleeps, and is not woken only to be read: "
    "start something that uses one."
)


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
        self._prober = Prober(self._nvml, sysfs, proc)
        self._xids = XidWatch(self._nvml, lambda: wall_clock_ns() // 1_000_000)
        self._open = False
        self._gone: NvmlFailure | None = None
        self._devices: dict[str, Device] = {}
        self._instances: dict[str, Device] = {}
        self._known: dict[str, Subject] = {}
        self._known_mig: dict[str, tuple[Subject, ...]] = {}
        self._count = 0
        self._closed_slots: tuple[int, ...] = ()
        self._retry_at = 0.0
        self._renew = False
        self._struct: type[ctypes.Structure] | None = None

    def open(self) -> None:
        """Start a session, ending the one that is open; what was learnt about GPUs is kept."""
        self.close()
        if all_asleep(self._sysfs):
            raise CollectorUnavailable(ASLEEP)
        self._nvml.open()
        self._open, self._gone = True, None
        self._struct = process_struct(self._nvml)

    def close(self) -> None:
        """Let the driver go."""
        self._xids.stop()
        for device in self._devices.values():
            self._prober.forget(device)
        if self._open:
            self._nvml.close()
        self._open = False
        self._devices, self._instances = {}, {}

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
            if subject.fault is None:
                self._known_mig[key] = mig_subjects(devices[key])
        for key, device in self._devices.items():
            if devices.get(key) is not device:
                self._prober.forget(device)
        self._devices = devices
        self._instances = {c.key: c for device in devices.values() for c in device.children}
        self._xids.follow([Watched(d.key, d.pci, d.handle) for d in devices.values()])
        present = {subject.key for subject in found}
        found.extend(missing(known) for key, known in self._known.items() if key not in present)
        return [one for gpu in found for one in (gpu, *self._children(gpu))]

    def _children(self, gpu: Subject) -> Sequence[Subject]:
        """Its MIG devices, those last seen while the GPU cannot be asked."""
        children = self._known_mig.get(gpu.key, ())
        return children if gpu.fault is None else [replace(c, fault=gpu.fault) for c in children]

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
        if device is None or device.outdated:
            device = Device(key, slot.index, slot.handle, slot.pci)
        device.index, device.handle = slot.index, slot.handle
        devices[key] = device
        if slot.failure is not None:  # its UUID could not be read: no key to give it
            return self._faulty(slot, key, fault_of(slot.failure, device.label()))
        if not device.probed or (device.incomplete and not sleeps(device.sleep)):
            try:
                self._prober.probe(device, self._clock())
            except GpuFault as gone:
                return self._faulty(slot, key, gone.fault)
            except DriverGone as gone:
                self._note(gone.failure)
                return self._faulty(slot, key, fault_of(gone.failure, device.label()))
        return gpu_subject(device)

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
        """The newest values of one GPU or MIG device, or its fault."""
        device = self._devices.get(subject.key) or self._instances.get(subject.key)
        if device is None:
            return Reading(None, subject.fault or absent(subject))
        try:
            if device.instance is not None:
                return self._read_instance(device)
            if not device.probed:
                return self._read_again(device, subject)
            if sleeps(device.sleep):
                return Reading({}, detail={"power_state": "suspended"})
            return self._read_gpu(device, slow=slow)
        except GpuFault as gone:
            fault = gone.fault
            device.lost = fault.state in (FaultState.LOST, FaultState.RESET_REQUIRED)
        except DriverGone as gone:
            self._note(gone.failure)
            fault = fault_of(gone.failure, device.label())
        device.slow, device.slow_detail = {}, {}
        return Reading(None, fault)

    def _read_gpu(self, device: Device, *, slow: bool) -> Reading:
        look, now = Look(self._nvml, device), self._clock()
        values, detail = read_values(look, now, slow=slow)
        if look.answered == 0 and look.trouble is not None:
            raise GpuFault(fault_of(look.trouble, device.label()))
        if device.lost:  # it was reset: what it answers may have changed
            device.lost = False
            device.outdated = self._renew = True
        if slow:
            device.slow_at = now
            self._look_at_partition(look)
        if now - device.slow_at <= self._slow_seconds:
            values.update(device.slow)
            detail.update(device.slow_detail)
        return Reading(values, detail=detail)

    def _look_at_partition(self, look: Look) -> None:
        before = look.trouble
        found = layout(look)
        if found is not None and look.trouble is before and found != look.device.layout:
            look.device.outdated = self._renew = True

    def _read_instance(self, device: Device) -> Reading:
        """A MIG device; one that no longer exists has nothing to tell until it is dropped."""
        assert device.instance is not None
        gpu = device.instance.gpu
        look = Look(self._nvml, device)
        values = read_instance(look, Look(self._nvml, gpu), self._clock())
        if values is None:
            gpu.outdated = self._renew = True
            return Reading({})
        if look.answered == 0 and look.trouble is not None:
            raise GpuFault(fault_of(look.trouble, device.label()))
        return Reading(values)

    def _read_again(self, device: Device, subject: Subject) -> Reading:
        """A GPU that was faulty when it was enumerated: once it answers, ``stale`` says so."""
        try:
            if self._nvml.call("nvmlDeviceGetUUID", device.handle) == device.key:
                self._prober.probe(device, self._clock())
        except NvmlFailure as failure:
            self._note(failure)
            return Reading(None, fault_of(failure, device.label()))
        self._renew = True
        return Reading(None, subject.fault)

    def sightings(self) -> Sequence[Sighting]:
        """Xids that NVML told since the last call; the first call begins to listen."""
        return self._xids.sightings()

    def processes(self, subject: Subject) -> Sequence[Process]:
        """Processes on one GPU and its MIG devices, with their users and programs."""
        device = self._devices.get(subject.key)
        if device is None or not device.probed or self._struct is None or sleeps(device.sleep):
            return ()
        try:
            found = self._processes(device, self._struct)
        except GpuFault:
            return ()
        except DriverGone as gone:
            self._note(gone.failure)
            return ()
        return [self._identified(process) for process in found]

    def _processes(self, device: Device, struct: type[ctypes.Structure]) -> list[GpuProcess]:
        own = {
            (i.gpu_instance, i.compute_instance): c for c in device.children if (i := c.instance)
        }

        def key_of(gpu_instance: int, compute_instance: int) -> str:
            child = own.get((gpu_instance, compute_instance))
            return device.key if child is None else child.key

        now_us = self._wall_clock_ns() // 1000
        look = Look(self._nvml, device)
        found = read_processes(look, struct, now_us, key_of)
        if own and lists_refused(look):  # only root may ask the GPU as a whole
            for child in own.values():
                at_child = Look(self._nvml, child)
                found += read_processes(at_child, struct, now_us, lambda *_, key=child.key: key)
        return found

    def _identified(self, process: GpuProcess) -> Process:
        who = self._table.identify(process.pid)
        return Process(
            process.subject_key,
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
