"""What is remembered about one GPU between readings, and one look at it that keeps errors apart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufleet.agent.model import Fault, FaultState, Json
from gpufleet.agent.nvml.calls import Kind, Nvml, NvmlFailure
from gpufleet.proto.logline import said

if TYPE_CHECKING:
    from gpufleet.agent.nvml.gpm import Gpm
    from gpufleet.agent.nvml.mig import Instance, Layout

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One thing to ask a GPU for: a pynvml function, its arguments, the metrics it can give.

    Compared by identity, so that the sets of what is not supported stay cheap.
    """

    call: str
    args: tuple[Any, ...] = ()
    metrics: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One NVML field value (NVML_FI_*): ``raw = value * multiplier // divisor`` of the metric.

    ``group`` marks values that are added up, ``detail`` is a place in the detail document, where
    the value is in base units by the same scale.
    """

    id: int
    metric: int = 0
    scope: int = 0
    multiplier: int = 1
    divisor: int = 1
    slow: bool = False
    group: str = ""
    detail: tuple[str, ...] = ()


class GpuFault(Exception):
    """The GPU as a whole cannot be read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.sentence)
        self.fault = fault


class DriverGone(Exception):
    """The session with the driver is over."""

    def __init__(self, failure: NvmlFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


@dataclass(slots=True, eq=False)
class Device:
    """One GPU or MIG device in one session of the driver.

    Handles are not hashable: never a key of anything.
    """

    key: str
    index: int
    handle: Any
    pci: str = ""
    facts: Mapping[str, Json] = field(default_factory=dict)
    columns: tuple[int, ...] = ()
    probed: bool = False
    probes: int = 0
    incomplete: bool = False
    """Something could not be read in the probe that may be readable later."""
    guest: bool = False
    """A vGPU in a virtual machine, whose zeros are no readings."""
    fans: int | None = None
    """Fans the driver counts; None where it does not count them."""
    fields: tuple[Field, ...] = ()
    """Field values to ask for: those not found to be unsupported."""
    unsupported: set[Source | Field] = field(default_factory=set)
    refused: set[Source | Field] = field(default_factory=set)
    """Not permitted: told once, asked again with the slow tier only."""
    told: set[Source | Field] = field(default_factory=set)
    slow: Mapping[int, int] = field(default_factory=dict)
    slow_detail: Mapping[str, Json] = field(default_factory=dict)
    slow_at: float = 0.0
    process_seen: int = 0
    """Newest timestamp of process utilisation, microseconds since 1970."""
    gpm: Gpm | None = None
    """Where the GPU has GPM."""
    unified: Path | None = None
    """/proc/meminfo where the GPU uses the host's memory."""
    sleep: Path | None = None
    """runtime_status of sysfs where the kernel may put the GPU to sleep."""
    layout: Layout | None = None
    """How it was partitioned when it was probed."""
    lost: bool = False
    """At the last look it was lost or required a reset."""
    outdated: bool = False
    """It was reset or is partitioned otherwise now: it has to be probed again from nothing."""
    children: tuple[Device, ...] = ()
    instance: Instance | None = None
    """What a MIG device is; None for a GPU."""

    def label(self) -> str:
        if self.instance is not None:
            return f"MIG device {self.index} of {self.instance.gpu.label()}"
        return f"GPU {self.index} ({self.pci or self.key})"


class Look:
    """One pass over a GPU: how many answers came, and the last error that is worth a retry."""

    __slots__ = ("answered", "device", "nvml", "trouble")

    def __init__(self, nvml: Nvml, device: Device) -> None:
        self.nvml = nvml
        self.device = device
        self.answered = 0
        self.trouble: NvmlFailure | None = None

    def ask(self, source: Source, *extra: Any) -> Any:
        """The answer, or None: not supported, not permitted, nothing there, or an error this time.

        ``extra`` goes after the source's own arguments. GpuFault or DriverGone end the look.
        """
        return self._ask(self.nvml.call, source, *source.args, *extra)

    def ask_at(self, handle: Any, source: Source) -> Any:
        """The same of another handle of this GPU: that of a MIG device."""
        return self._ask(lambda name, _: self.nvml.call(name, handle), source)

    def ask_c(self, source: Source, *arguments: Any) -> Any:
        """The same by the library's own function, with ctypes values; 0 for success."""
        return self._ask(self.nvml.call_c, source, *arguments)

    def _ask(self, call: Callable[..., Any], source: Source, *arguments: Any) -> Any:
        device = self.device
        if source in device.unsupported or source in device.refused:
            return None
        try:
            answer = call(source.call, device.handle, *arguments)
        except NvmlFailure as failure:
            self.failed(source, failure)
            return None
        self.answered += 1
        return answer

    def supports(self, source: Source | Field) -> bool:
        return source not in self.device.unsupported

    def failed(self, source: Source | Field, failure: NvmlFailure) -> None:
        """Remember what an error means; one of the whole GPU or driver is raised."""
        device = self.device
        match failure.kind:
            case Kind.PERMANENT:
                device.unsupported.add(source)
            case Kind.NO_PERMISSION:
                device.refused.add(source)
                if source not in device.told:
                    device.told.add(source)
                    log.warning(
                        "driver refuses a reading %s", said(gpu=device.key, call=failure.call)
                    )
            case Kind.EMPTY:
                self.answered += 1
            case Kind.RETRY:
                self.trouble = failure
            case Kind.LOST | Kind.RESET_REQUIRED:
                raise GpuFault(fault_of(failure, device.label()))
            case Kind.DRIVER_GONE:
                raise DriverGone(failure)


def fault_of(failure: NvmlFailure, label: str) -> Fault:
    """A GPU's fault from the call that told it."""
    match failure.kind:
        case Kind.LOST:
            state = FaultState.LOST
            sentence = f"{label} is lost: it fell off the bus; drain the node and restart it."
        case Kind.RESET_REQUIRED:
            state = FaultState.RESET_REQUIRED
            sentence = f"{label} requires a reset: drain it and run nvidia-smi --gpu-reset."
        case Kind.NO_PERMISSION:
            state = FaultState.NO_PERMISSION
            sentence = (
                f"{label} may not be opened by this user: allow access to its /dev/nvidia device."
            )
        case _:
            state = FaultState.ERROR
            sentence = f"{label} cannot be read: {failure.words} ({failure.call}); see dmesg."
    return Fault(state, sentence, failure.code)
