"""Hears of Xids from NVML's event queue, in a thread that may hang without harm.

The queue belongs to the session of whoever opened NVML: the watch begins after GPUs were
enumerated, ends before the session does, and begins anew in the next one. Any error of the wait
but its time-out (GPU_IS_LOST comes out of it too) makes it register what still can be registered.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from gpufleet.agent.faults.sighting import FaultKind, Sighting, Source
from gpufleet.agent.nvml.calls import Kind, Nvml, NvmlFailure

HEARTBEAT_MS = 500
"""How long one wait takes, and so how late the watch sees that it should end."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
RETRY_BEATS = 60
"""Waits after which GPUs that could not be registered (lost, in a reset) are tried again."""
STOP_SECONDS = 1.2
_XID_EVENT = 0x8  # nvmlEventTypeXidCriticalError
_TIMEOUT = 10
_NO_INSTANCE = 0xFFFFFFFF
_MOST_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Watched:
    """One GPU of the session: its handle, and what an event of it is told with."""

    uuid: str
    pci: str
    handle: Any


@dataclass(slots=True, eq=False)
class _Watch:
    """One thread's work: the GPUs to watch, and those whose events the driver has taken on."""

    gpus: Mapping[int, Watched]
    after: threading.Thread | None
    ended: threading.Event = field(default_factory=threading.Event)
    session_over: bool = False
    """Its thread was left behind: it must not touch the driver's objects any more."""
    waited: bool = False
    refused: frozenset[int] = frozenset()
    """GPUs that may be registered later: lost ones, or ones in a reset."""
    thread: threading.Thread | None = None


class XidWatch:
    """Xids of the GPUs that were last told to ``follow``; nothing runs before ``sightings``."""

    def __init__(self, nvml: Nvml, wall_ms: Callable[[], int]) -> None:
        self._nvml = nvml
        self._wall_ms = wall_ms
        self._lock = threading.Lock()
        self._gpus: Mapping[int, Watched] = {}
        self._watch: _Watch | None = None
        self._asked = False
        self._seen: deque[Sighting] = deque(maxlen=_MOST_KEPT)

    def follow(self, gpus: Sequence[Watched]) -> None:
        """These are the GPUs of the session now; called after each enumeration."""
        with self._lock:
            self._gpus = {_address(gpu.handle): gpu for gpu in gpus}
            if self._asked:
                self._begin()

    def sightings(self) -> Sequence[Sighting]:
        """What came since the last call; the first call begins the watch."""
        if not self._asked:
            with self._lock:
                self._asked = True
                self._begin()
        found = []
        while self._seen:
            found.append(self._seen.popleft())
        return found

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """The session ends. A thread that is stuck in the driver is left behind."""
        with self._lock:
            watch, self._watch, self._gpus = self._watch, None, {}
        if watch is not None and watch.thread is not None:
            watch.ended.set()
            watch.thread.join(seconds)
            watch.session_over = True

    def _begin(self) -> None:
        """Give the GPUs to a thread, unless one watches just these already."""
        before = self._watch
        alive = before is not None and before.thread is not None and before.thread.is_alive()
        if before is not None and alive and before.gpus == self._gpus:
            return
        if before is not None:
            before.ended.set()
        self._watch = None
        if not self._gpus:
            return
        watch = _Watch(self._gpus, before.thread if before is not None else None)
        watch.thread = threading.Thread(
            target=self._run, args=(watch,), name="xid-watch", daemon=True
        )
        try:
            watch.thread.start()
        except RuntimeError:  # no more threads to be had: the kernel's log still tells
            return
        self._watch = watch

    def _run(self, watch: _Watch) -> None:
        if watch.after is not None:
            watch.after.join(STOP_SECONDS)  # two registrations would tell everything twice
        pause = FIRST_PAUSE_SECONDS
        while not watch.ended.is_set():
            watch.waited = False
            try:
                if not self._listen(watch):
                    return
            except NvmlFailure:
                return  # the session is over; the next one is followed anew
            pause = FIRST_PAUSE_SECONDS if watch.waited else min(2 * pause, LONGEST_PAUSE_SECONDS)
            watch.ended.wait(pause)

    def _listen(self, watch: _Watch) -> bool:
        """Register and wait for events; False where there is nothing more to be had."""
        events = self._nvml.call("nvmlEventSetCreate")
        try:
            watch.refused = frozenset(watch.gpus)
            if watch.ended.is_set() or not self._register(watch, events):
                return bool(watch.refused) and not watch.ended.is_set()
            for beat in count(1):
                if watch.ended.is_set():
                    return False
                if watch.refused and beat % RETRY_BEATS == 0:
                    self._register(watch, events)
                try:
                    event = self._nvml.call("nvmlEventSetWait_v2", events, HEARTBEAT_MS)
                except NvmlFailure as failure:
                    if failure.code == _TIMEOUT:
                        watch.waited = True
                        continue
                    return failure.kind not in (Kind.DRIVER_GONE, Kind.PERMANENT)
                watch.waited = True
                if not watch.session_over:
                    self._note(watch, event)
            return False
        finally:
            if not watch.session_over:
                self._nvml.call("nvmlEventSetFree", events)

    def _register(self, watch: _Watch, events: Any) -> bool:
        """Take on the GPUs that were refused so far; True if the driver tells Xids of any."""
        refused = set()
        registered = False
        for address in watch.refused:
            gpu = watch.gpus[address]
            try:
                supported = self._nvml.call("nvmlDeviceGetSupportedEventTypes", gpu.handle)
                wanted = _XID_EVENT & supported
                if wanted:
                    self._nvml.call("nvmlDeviceRegisterEvents", gpu.handle, wanted, events)
                    registered = True
            except NvmlFailure as failure:
                if failure.kind is Kind.DRIVER_GONE:
                    raise
                if failure.kind is not Kind.PERMANENT:
                    refused.add(address)
        watch.refused = frozenset(refused)
        return registered

    def _note(self, watch: _Watch, event: Any) -> None:
        if not event.eventType & _XID_EVENT:
            return
        gpu = watch.gpus.get(_address(event.device))
        instance = int(event.gpuInstanceId)
        self._seen.append(
            Sighting(
                FaultKind.XID,
                int(event.eventData),
                Source.NVML,
                self._wall_ms(),
                gpu=gpu.uuid if gpu is not None else self._uuid(event.device),
                pci=gpu.pci if gpu is not None else "",
                gpu_instance=None if instance == _NO_INSTANCE else instance,
            )
        )

    def _uuid(self, handle: Any) -> str:
        """The UUID behind a handle that is none of those registered."""
        try:
            uuid: str = self._nvml.call("nvmlDeviceGetUUID", handle)
        except NvmlFailure:
            return ""
        return uuid


def _address(handle: Any) -> int:
    """What a handle points at: pynvml's own objects never compare equal."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
