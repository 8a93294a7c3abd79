"""Lines of the kernel's log that tell of a GPU fault: Xid, SXid, fallen off the bus.

A line that is not wholly of the form that the driver writes says nothing: better no event than one
about a GPU or a code that the line does not name.
"""

from __future__ import annotations

import re

from gpufleet.agent.faults.sighting import FaultKind, Sighting, Source

LONGEST_LINE = 512
_MOST_GPUS = 256
_CODE_LIMIT = 1 << 32

_TIME = r"(?:\[[^\]]{0,64}\]\s*)?"
_ADDRESS = r"((?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?)"
_XID = re.compile(
    rf"{_TIME}NVRM: Xid \((?:PCI:)?{_ADDRESS}(?: GPU-I:([0-9]{{1,3}}))?(?: [^)]{{0,64}})?\): "
    r"([0-9]{1,10})(?:,(.*))?"
)
_SXID = re.compile(
    rf"{_TIME}(nvidia-nvswitch[0-9]{{1,4}}): SXid \((?:PCI:)?{_ADDRESS}\): "
    r"([0-9]{1,10})(?:,(.*))?"
)
_OFF_BUS = re.compile(rf"{_TIME}NVRM: GPU (?:at )?(?:PCI:)?{_ADDRESS}: GPU has fallen off the bus")
_OFF_BUS_BEGINS = re.compile(rf"{_TIME}NVRM: The NVIDIA GPU {_ADDRESS}(?:\s.*)?")
_OFF_BUS_BETWEEN = re.compile(rf"{_TIME}NVRM: \(PCI ID: .*")
_OFF_BUS_ENDS = re.compile(rf"{_TIME}NVRM: fallen off the bus and is not responding to commands")
_UUID = re.compile(
    rf"{_TIME}NVRM: GPU at PCI:{_ADDRESS}: "
    r"(GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)
_PID = re.compile(r"\s*pid=([0-9]{1,10})\b")
_PROCESS = re.compile(r"\s*(?:pid=[^,]*,\s*)?name=([^,]*)")
_CONTINUED = re.compile(r"\s*(Data \{|Severity [0-9])")


class KernelLog:
    """Reads one line after another; what one line tells may need the line before."""

    def __init__(self) -> None:
        self._off_bus = ""
        self._uuids: dict[str, str] = {}

    def feed(self, line: str, time_ms: int) -> Sighting | None:
        """The fault that a line tells of, if any."""
        if "NVRM" not in line and "SXid" not in line:
            return None
        off_bus, self._off_bus = self._off_bus, ""
        if match := _XID.fullmatch(line):
            return self._xid(match, line, time_ms)
        if match := _SXID.fullmatch(line):
            return _sxid(match, line, time_ms)
        if match := _OFF_BUS.match(line):
            return self._gone(pci_address(match[1]), line, time_ms)
        if match := _OFF_BUS_BEGINS.fullmatch(line):
            self._off_bus = pci_address(match[1])
        elif off_bus and _OFF_BUS_BETWEEN.fullmatch(line):
            self._off_bus = off_bus
        elif off_bus and _OFF_BUS_ENDS.match(line):
            return self._gone(off_bus, line, time_ms)
        elif (match := _UUID.match(line)) and len(self._uuids) < _MOST_GPUS:
            # The driver names the GPU before its first Xid, when NVML may not list it any more.
            self._uuids[pci_address(match[1])] = match[2]
        return None

    def _xid(self, match: re.Match[str], line: str, time_ms: int) -> Sighting | None:
        address, instance, number, rest = match.groups(default="")
        code = int(number)
        if not 0 < code < _CODE_LIMIT:
            return None
        pci = pci_address(address)
        pid, process = _PID.match(rest), _PROCESS.match(rest)
        return Sighting(
            FaultKind.XID,
            code,
            Source.KERNEL_LOG,
            time_ms,
            gpu=self._uuids.get(pci, ""),
            pci=pci,
            gpu_instance=int(instance) if instance else None,
            pid=int(pid[1]) if pid else None,
            process=_name(process[1]) if process else None,
            line=printable(line),
        )

    def _gone(self, pci: str, line: str, time_ms: int) -> Sighting:
        uuid = self._uuids.get(pci, "")
        return Sighting(
            FaultKind.OFF_BUS,
            0,
            Source.KERNEL_LOG,
            time_ms,
            gpu=uuid,
            pci=pci,
            line=printable(line),
        )


def _sxid(match: re.Match[str], line: str, time_ms: int) -> Sighting | None:
    device, address, number, rest = match.groups(default="")
    code = int(number)
    if not 0 < code < _CODE_LIMIT:
        return None
    word = rest.strip().lower()
    return Sighting(
        FaultKind.SXID,
        code,
        Source.KERNEL_LOG,
        time_ms,
        pci=pci_address(address),
        device=device,
        fatal=True if word.startswith("fatal") else False if word.startswith("non-fatal") else None,
        continued=_CONTINUED.match(rest) is not None,
        line=printable(line),
    )


def _name(text: str) -> str | None:
    name = printable(text)[:64]
    return name if name.strip("'<>") not in ("", "unknown") else None


def pci_address(text: str) -> str:
    """``1a:00``, ``0000:1a:00`` and ``0000:1A:00.0`` as NVML writes them: ``00000000:1A:00.0``."""
    place, _, function = text.partition(".")
    *domain, bus, device = place.split(":")
    return (
        f"{int(domain[0], 16) if domain else 0:08X}:{int(bus, 16):02X}:{int(device, 16):02X}"
        f".{function or '0'}"
    )


def printable(line: str) -> str:
    """The line for people: without control characters, and not too long."""
    return "".join(c if c.isprintable() else " " for c in line[:LONGEST_LINE]).strip()
