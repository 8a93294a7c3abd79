"""The ``bash`` method: reads the GPUs of this machine by running nvidia-smi and dcgmi.

One run of ``nvidia-smi -q -x`` a tick answers for all GPUs, their static facts included. A GPU is
keyed by its UUID; one that nvidia-smi cannot open keeps the UUID last seen at its PCI address or
index, or is ``unknown-<node>-<PCI bus id or index>`` as with nvml.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gpufleet.agent.model import (
    CollectorUnavailable,
    Fault,
    FaultState,
    Json,
    Process,
    Reading,
    Subject,
)
from gpufleet.agent.processes.table import REVEAL_NOTHING, ProcessTable, Reveal
from gpufleet.agent.smi.dcgm import Dcgm
from gpufleet.agent.smi.facts import numa_node
from gpufleet.agent.smi.feed import PATIENCE_SECONDS, Feed, Fetched, NothingYet
from gpufleet.agent.smi.keys import Document, Entry, absent, keyed
from gpufleet.agent.smi.mig import MigDevice, MigName
from gpufleet.agent.smi.query import SmiQuery
from gpufleet.alerting.health_extras import dcgm_detail
from gpufleet.proto.catalog import BY_NAME

TIMEOUT_SECONDS = 20.0
"""Without persistence mode the driver starts anew for each run, which takes seconds a GPU."""

_DCGM_PATIENCE_SECONDS = 6.0
_ENERGY = BY_NAME["energy_joules_total"].id


class SmiCollector:
    """``Collector`` over nvidia-smi and dcgmi; see model.py for what its methods promise.

    ``environment`` is that of the programs, with the PATH on which they are looked for.
    """

    method = "bash"

    def __init__(
        self,
        *,
        node: str = "",
        environment: Mapping[str, str] | None = None,
        proc: Path = Path("/proc"),
        sysfs: Path = Path("/sys"),
        timeout_seconds: float = TIMEOUT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        reveal: Reveal = REVEAL_NOTHING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node or platform.node()
        self._environment = dict(os.environ if environment is None else environment)
        self._sysfs = sysfs
        self._timeout = timeout_seconds
        self._clock = clock
        self._table = ProcessTable(proc, reveal=reveal)
        self._query = SmiQuery(self._environment, timeout_seconds, clock)
        self._dcgm = Dcgm(self._environment, clock=clock)
        self._feed: Feed[Document] = Feed(self._fetch, clock, patience_seconds)
        self._known: dict[str, Subject] = {}
        self._known_mig: dict[str, tuple[Subject, ...]] = {}
        self._signature: object = None
        self._dcgm_state: str | None = None

    # The session

    def open(self) -> None:
        """Run dcgmi and nvidia-smi once."""
        self._feed.forget()
        self._dcgm.refresh()
        self._dcgm.wait(_DCGM_PATIENCE_SECONDS)
        self._next()

    def close(self) -> None:
        """Nothing is held open: a run that is under way ends by itself or is stopped."""

    def node_facts(self) -> Mapping[str, Json]:
        """Versions of driver and CUDA, how many GPUs there are, and what of DCGM."""
        log = self._next().log
        facts = dict(log.facts)
        facts["gpu_count"] = len(log.gpus) if log.attached is None else log.attached
        look = self._dcgm.newest()
        if look is not None:
            facts["dcgm"] = look.state
        self._dcgm_state = None if look is None else look.state
        return facts

    def _next(self) -> Document:
        try:
            return self._feed.next(self._timeout + 5.0).document
        except NothingYet:
            raise CollectorUnavailable(
                f"nvidia-smi did not answer within {self._timeout:g} s."
            ) from None

    def _fetch(self) -> Document:
        log = self._query.take()
        return keyed(log, self._query.mig_names(log), dict(self._known), self._node)

    # Subjects

    def subjects(self) -> Sequence[Subject]:
        """Every GPU by index with its MIG devices, then those that are no longer listed."""
        document = self._next()
        self._signature = document.signature()
        found: list[Subject] = []
        for key, entry in document.entries.items():
            subject = self._subject(key, entry)
            found.append(subject)
            if subject.fault is None:
                self._known_mig[key] = tuple(_child(subject, *one) for one in entry.mig)
        for key, (index, fault) in document.faults.items():
            known = self._known.get(key)
            if known is None:
                found.append(Subject("gpu", key, index, f"GPU {index}", (), fault=fault))
            else:
                found.append(replace(known, fault=fault))
        keep = {s.key: replace(s, fault=None) for s in found if s.facts}
        self._known.update({k: s for k, s in keep.items() if not k.startswith("unknown-")})
        return [one for gpu in found for one in (gpu, *self._children(gpu))]

    def _children(self, gpu: Subject) -> Sequence[Subject]:
        """Its MIG devices, those last seen while the GPU cannot be read."""
        children = self._known_mig.get(gpu.key, ())
        return children if gpu.fault is None else [replace(c, fault=gpu.fault) for c in children]

    def _subject(self, key: str, entry: Entry) -> Subject:
        gpu = entry.gpu
        known = self._known.get(key)
        if gpu.fault is not None and known is not None:
            return replace(known, index=gpu.index, fault=gpu.fault)
        facts = dict(gpu.facts)
        bus_id = facts.get("pci_bus_id")
        if isinstance(bus_id, str) and (node := numa_node(self._sysfs, bus_id)) is not None:
            facts["numa_node"] = node
        ids = set(gpu.values)
        look = self._dcgm.newest()
        if look is not None and key in look.energy_millijoules:
            ids.add(_ENERGY)
        return Subject(
            "gpu",
            key,
            gpu.index,
            gpu.name or f"GPU {gpu.index}",
            tuple(sorted(ids)),
            facts=facts,
            fault=gpu.fault,
        )

    def stale(self) -> bool:
        """True when the newest log has other GPUs, MIG devices, facts or drivers."""
        newest = self._feed.peek()
        look = self._dcgm.newest()
        if look is not None and look.state != self._dcgm_state:
            return True
        return newest is not None and newest.document.signature() != self._signature

    # Readings

    def read(self, subject: Subject, *, slow: bool) -> Reading:
        """The newest values of one subject, or its fault; CollectorUnavailable without a log."""
        self._dcgm.refresh()
        try:
            fetched = self._feed.read(subject.key)
        except NothingYet:
            sentence = "nvidia-smi does not answer."
            return Reading(None, Fault(FaultState.HUNG, sentence))
        document = fetched.document
        key = subject.parent or subject.key
        if (missing := document.faults.get(key)) is not None:
            return Reading(None, missing[1])
        entry = document.entries.get(key)
        if entry is None:
            return Reading(None, subject.fault or absent(subject, whole=document.log.whole))
        if entry.gpu.fault is not None:
            return Reading(None, entry.gpu.fault)
        if subject.kind == "mig":
            return self._read_mig(subject, entry)
        return self._read_gpu(subject.key, entry, fetched)

    def _read_gpu(self, key: str, entry: Entry, fetched: Fetched[Document]) -> Reading:
        values, detail = dict(entry.gpu.values), dict(entry.gpu.detail)
        age = self._clock() - fetched.at
        if age >= 1.0:
            detail["age_seconds"] = round(age, 1)
        named = {device.index for device, _ in entry.mig}
        if nameless := [device for device in entry.gpu.mig if device.index not in named]:
            detail["mig_without_uuid"] = [
                {"index": device.index, **device.facts} for device in nameless
            ]
        look = self._dcgm.newest()
        if look is not None:
            if (energy := look.energy_millijoules.get(key)) is not None:
                values[_ENERGY] = energy
            if look.health is not None and key in look.findings:
                detail["dcgm"] = dcgm_detail(look.health, look.findings[key])
        return Reading(values, detail=detail)

    @staticmethod
    def _read_mig(subject: Subject, entry: Entry) -> Reading:
        """A MIG device; one that no longer exists has nothing to tell until it is dropped."""
        for device, name in entry.mig:
            if name.uuid == subject.key:
                return Reading(device.values)
        return Reading({})

    def processes(self, subject: Subject) -> Sequence[Process]:
        """Processes of the newest log with their users and programs."""
        newest = self._feed.peek()
        entry = None if newest is None else newest.document.entries.get(subject.key)
        if entry is None or entry.gpu.fault is not None:
            return ()
        found = []
        for process in entry.gpu.processes:
            who = self._table.identify(process.pid)
            found.append(
                Process(
                    subject.key,
                    process.pid,
                    process.type,
                    start_ms=who.start_ms,
                    user=who.user,
                    program=who.program or process.program,
                    memory_bytes=process.memory_bytes,
                    container=who.container,
                    pod=who.pod,
                    job=who.job,
                    arguments=who.arguments,
                )
            )
        return found


def _child(parent: Subject, device: MigDevice, name: MigName) -> Subject:
    return Subject(
        "mig",
        name.uuid,
        device.index,
        f"{parent.name} MIG {name.profile}",
        tuple(sorted(device.values)),
        parent=parent.key,
        facts={"uuid": name.uuid, "profile": name.profile, **device.facts},
    )
