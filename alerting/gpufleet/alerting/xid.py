"""What an Xid of the NVIDIA driver means: its class, how long it counts, and what to do.

The facts are those of NVIDIA's public Xid catalogue (docs.nvidia.com, "Analyzing Xid Errors"),
in our own words; the levels are those of docs/health.md.
"""

# ruff: noqa: E501 (one row a meaning: the table reads better in long lines)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
BURST_MS = 5_000
"""The driver writes several lines for one fault: those this close together are one occurrence."""
APPLICATION_ERRORS_AN_HOUR = 3


class XidClass(Enum):
    """How an Xid counts towards the health level."""

    GPU_GONE = "gpu gone"
    """3 until the GPU was reset or an operator acknowledged it."""
    NEEDS_RESET = "needs reset"
    """3 until the GPU was reset or an operator acknowledged it."""
    SERIOUS = "serious"
    """2 for a day, 3 if it came twice within a day."""
    CONTAINED = "contained"
    """2 for an hour."""
    NOTICE = "notice"
    """1 for an hour."""
    APPLICATION = "application"
    """0; 1 if it came three times within an hour."""
    INFORMATION = "information"
    """0."""


@dataclass(frozen=True, slots=True)
class Xid:
    """One code of the catalogue: ``title`` names it, ``advice`` is one sentence on what to do."""

    code: int
    title: str
    kind: XidClass
    advice: str


_RESET = "Drain the GPU and reset it; if it comes back, have the hardware checked."
_RESTART = "Restart the application; if it recurs with known good software, test the GPU."
_CHECK_APP = "Restart the application and check it (compute-sanitizer, cuda-gdb); seldom hardware."
_NVLINK5 = (
    "Look at the link with `nvidia-smi nvlink`; reset the GPU when its recovery action says so."
)
_WATCH = "Nothing to do at once; have the GPU checked if it recurs."

_Row = tuple[Iterable[int], XidClass, str, str]

_ROWS: tuple[_Row, ...] = (
    ([79], XidClass.GPU_GONE, "GPU has fallen off the bus", "Drain the node and reboot it with a power cycle; check seating, power and PCIe if it recurs."),
    ([46], XidClass.NEEDS_RESET, "GPU stopped processing", _RESET),
    ([48], XidClass.NEEDS_RESET, "uncorrectable (double bit) ECC error", "Drain the GPU and reset it so that the bad memory is mapped out; run diagnostics if it recurs."),
    ([62], XidClass.NEEDS_RESET, "internal micro-controller halted", _RESET),
    ([64], XidClass.NEEDS_RESET, "memory row remapping or page retirement failed", "Drain the GPU and reset it; replace the board if the remapping fails again."),
    ([74], XidClass.NEEDS_RESET, "NVLink error", "Look at the links with `nvidia-smi nvlink`; the fault may be at the other end. Reset the GPUs that are joined by it."),
    ([95], XidClass.NEEDS_RESET, "uncontained memory error", "Several applications may be affected: stop them and reset the GPU before it is used again."),
    ([119, 120], XidClass.NEEDS_RESET, "GPU system processor (GSP) failed or timed out", "Reset the GPU, power-cycle the node if that fails, and update the driver if it recurs."),
    ([140], XidClass.NEEDS_RESET, "unrecovered ECC error", "Reset the GPU; have the hardware checked if it recurs."),
    ([143], XidClass.NEEDS_RESET, "GPU initialisation failed", _RESET),
    ([158], XidClass.NEEDS_RESET, "fatal timeout in the GPU", _RESET),
    ([109], XidClass.SERIOUS, "context switch timed out", "Stop the application; reset the GPU if it does not recover, and have it checked on repeats."),
    ([110], XidClass.SERIOUS, "security fault", "Undo recent hardware changes and power-cycle the node; have the hardware checked if it recurs."),
    ([136], XidClass.SERIOUS, "NVLink training failed", "Reset the GPU; check the link's signal path if it recurs."),
    ([144], XidClass.SERIOUS, "NVLink error (SAW)", _NVLINK5),
    ([145], XidClass.SERIOUS, "NVLink error (RLW)", _NVLINK5),
    ([146], XidClass.SERIOUS, "NVLink error (TLW)", _NVLINK5),
    ([147], XidClass.SERIOUS, "NVLink error (TREX)", _NVLINK5),
    ([148], XidClass.SERIOUS, "NVLink error (NVLPW)", _NVLINK5),
    ([149], XidClass.SERIOUS, "NVLink error (NETIR)", _NVLINK5),
    ([150], XidClass.SERIOUS, "NVLink error (MSE)", _NVLINK5),
    ([155], XidClass.SERIOUS, "NVLink was taken down by software", "Expected when a link was put down on purpose; reset the GPU to bring it back."),
    ([156], XidClass.SERIOUS, "a faulty unit of the GPU is being retired", "Reset the GPU when convenient to complete the retirement."),
    ([167], XidClass.SERIOUS, "fatal PCIe timeout", "Check the PCIe path (slot, riser, switch, kernel log); reset the GPU or reboot the node."),
    ([169], XidClass.SERIOUS, "security micro-controller halted", _RESET),
    ([94], XidClass.CONTAINED, "contained memory error", "Restart the one application that was hit, and reset the GPU when convenient."),
    ([63], XidClass.NOTICE, "memory row remapped or page retired", "Nothing to do at once; the change takes effect with the next reset of the GPU."),
    ([92], XidClass.NOTICE, "high rate of corrected ECC errors", "Watch the ECC counters; run diagnostics if the rate stays high."),
    ([37, 38], XidClass.NOTICE, "driver firmware error", _WATCH),
    ([44], XidClass.NOTICE, "graphics engine fault during a context switch", _WATCH),
    ([54], XidClass.NOTICE, "auxiliary power is not connected", "Check the power cables of the board."),
    ([66, 67], XidClass.NOTICE, "illegal access by the driver", "Update the driver if it recurs."),
    ([78], XidClass.NOTICE, "a vGPU could not be started", "Check that host and guest drivers belong together; update them."),
    ([93], XidClass.NOTICE, "InfoROM wear limit exceeded", _WATCH),
    ([121], XidClass.NOTICE, "corrected errors on the link to the CPU (C2C)", "Reset the GPU at the next service window so that the link is trained again."),
    ([141], XidClass.NOTICE, "CUDA fast path error", _WATCH),
    ([151], XidClass.NOTICE, "key rotation failed", "Restart the virtual machine."),
    ([157], XidClass.NOTICE, "a faulty unit of the GPU could not be retired", "The GPU can be used on; plan for its replacement if it recurs."),
    ([159], XidClass.NOTICE, "error on the link to the CPU (CHI)", _WATCH),
    ([160], XidClass.NOTICE, "a memory channel is being retired", "Reset the GPU when convenient to complete the retirement."),
    ([161], XidClass.NOTICE, "a memory channel could not be retired", "Plan for the replacement of the board if it recurs."),
    ([163, 164, 165], XidClass.NOTICE, "power smoothing was disabled or its circuit is worn", "Decide whether the power swings are acceptable without it."),
    ([168], XidClass.NOTICE, "errors in protected memory, capacity may be reduced", "Enable ECC so that rows can be remapped, and reboot."),
    ([171, 172], XidClass.NOTICE, "details of an uncorrectable memory error", "Follow the Xid 48 that came with it."),
    ([13], XidClass.APPLICATION, "graphics engine exception", _CHECK_APP),
    ([31], XidClass.APPLICATION, "GPU memory page fault", _CHECK_APP),
    ([43], XidClass.APPLICATION, "an application hit a fault and was stopped", _CHECK_APP),
    ([45], XidClass.APPLICATION, "an application ended and its work was removed", "Usual after a kill or another Xid: look for one just before it."),
    ([137], XidClass.APPLICATION, "illegal NVLink peer access", _CHECK_APP),
    ([8], XidClass.APPLICATION, "a channel stopped making progress", _RESTART),
    ([11, 25, 32, 80], XidClass.APPLICATION, "invalid or corrupted command stream", _RESTART),
    ([60], XidClass.APPLICATION, "video processor exception", _RESTART),
    ([69], XidClass.APPLICATION, "graphics engine class error", _CHECK_APP),
    ([39, 40, 41, 70, 71, 72, 75, 76, 77, 85, *range(126, 136)], XidClass.APPLICATION, "copy engine error", _RESTART),
    ([68, 83, 84, 88, 89, 96, 97, 98], XidClass.APPLICATION, "video decoder error", _RESTART),
    ([142], XidClass.APPLICATION, "video encoder error", _RESTART),
    ([82, *range(99, 106)], XidClass.APPLICATION, "JPEG engine error", _RESTART),
    ([86, 139], XidClass.APPLICATION, "optical flow engine error", _RESTART),
    ([106, 107], XidClass.INFORMATION, "test message", "Nothing to do."),
    ([154], XidClass.INFORMATION, "the driver's recovery action changed", "Follow the recovery action that the GPU reports."),
    ([162], XidClass.INFORMATION, "power smoothing works again", "Nothing to do."),
)  # fmt: skip

KNOWN: Mapping[int, Xid] = MappingProxyType(
    {code: Xid(code, title, kind, advice) for codes, kind, title, advice in _ROWS for code in codes}
)

_UNTIL_RESET = frozenset({XidClass.GPU_GONE, XidClass.NEEDS_RESET})
_LASTS_MS: Mapping[XidClass, int] = MappingProxyType(
    {
        XidClass.SERIOUS: DAY_MS,
        XidClass.CONTAINED: HOUR_MS,
        XidClass.NOTICE: HOUR_MS,
        XidClass.APPLICATION: HOUR_MS,
        XidClass.INFORMATION: 0,
    }
)


def describe(code: int) -> Xid:
    """What is known of a code; one that is not in our table is a notice."""
    known = KNOWN.get(code)
    if known is not None:
        return known
    return Xid(code, "not in our table", XidClass.NOTICE, "Look it up in NVIDIA's Xid catalogue.")


def counts(code: int, time_ms: int, now_ms: int) -> bool:
    """Whether an occurrence that was neither reset nor acknowledged still counts."""
    kind = describe(code).kind
    return kind in _UNTIL_RESET or now_ms - time_ms < _LASTS_MS[kind]


def level(code: int, times_ms: Sequence[int], now_ms: int) -> int:
    """Health level 0-3 from the occurrences of one code since the last reset, oldest first."""
    current = sum(1 for time_ms in times_ms if counts(code, time_ms, now_ms))
    if current == 0:
        return 0
    match describe(code).kind:
        case XidClass.GPU_GONE | XidClass.NEEDS_RESET:
            return 3
        case XidClass.SERIOUS:
            return 3 if current > 1 else 2
        case XidClass.CONTAINED:
            return 2
        case XidClass.NOTICE:
            return 1
        case XidClass.APPLICATION:
            return 1 if current >= APPLICATION_ERRORS_AN_HOUR else 0
        case XidClass.INFORMATION:
            return 0


def severity(code: int) -> str:
    """Severity of the event of one Xid: info, warning or critical."""
    return ("info", "info", "warning", "critical")[level(code, (0,), 0)]
