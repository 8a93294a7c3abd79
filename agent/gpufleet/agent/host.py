"""The node itself: its metrics and facts from /proc and /etc."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from gpufleet.agent.model import Json
from gpufleet.proto.catalog import BY_NAME

_CPU = BY_NAME["host_cpu_utilization_ratio"]
_MEMORY_USED = BY_NAME["host_memory_used_bytes"]
_MEMORY_TOTAL = BY_NAME["host_memory_total_bytes"]
_LOAD = BY_NAME["host_load1"]

COLUMNS = (_CPU.id, _MEMORY_USED.id, _MEMORY_TOTAL.id, _LOAD.id)
"""Catalogue ids that ``Host.metrics`` can answer."""


class Host:
    """Reads one machine; ``proc`` and ``etc`` are plain values so that tests have their own."""

    def __init__(self, proc: Path = Path("/proc"), etc: Path = Path("/etc")) -> None:
        self._proc = proc
        self._etc = etc
        self._cpu: tuple[int, int] | None = None

    def metrics(self) -> dict[int, int]:
        """Catalogue id → scaled integer; what the machine does not tell is not in it.

        CPU use is over the time since the call before, so the first call has none.
        """
        values: dict[int, int] = {}
        before, self._cpu = self._cpu, self._cpu_times()
        if before is not None and self._cpu is not None:
            total = self._cpu[1] - before[1]
            busy = self._cpu[0] - before[0]
            if total > 0 and 0 <= busy <= total:
                values[_CPU.id] = _CPU.raw(busy / total)
        memory = self._memory()
        total_bytes, available = memory.get("MemTotal"), memory.get("MemAvailable")
        if total_bytes is not None:
            values[_MEMORY_TOTAL.id] = total_bytes
            if available is not None:
                values[_MEMORY_USED.id] = total_bytes - available
        load = self._first_word(self._proc / "loadavg")
        if load is not None:
            values[_LOAD.id] = _LOAD.raw(float(load))
        return values

    def facts(self) -> Mapping[str, Json]:
        """What hardly changes; an absent fact is ``None``."""
        return {
            "hostname": platform.node() or None,
            "kernel": platform.release() or None,
            "architecture": platform.machine() or None,
            "os": self._os_name(),
            "cpu_model": self._cpu_model(),
            "cpu_count": os.cpu_count(),
            "memory_total_bytes": self._memory().get("MemTotal"),
        }

    def machine_id(self) -> str:
        """/etc/machine-id, empty where there is none."""
        return self._first_word(self._etc / "machine-id") or ""

    def boot_id(self) -> str:
        """The kernel's id of this boot, empty where it does not say."""
        return self._first_word(self._proc / "sys/kernel/random/boot_id") or ""

    def _cpu_times(self) -> tuple[int, int] | None:
        """(busy, total) of the ``cpu`` line of /proc/stat: proc(5), guest is part of user."""
        text = _text(self._proc / "stat")
        if text is None:
            return None
        words = text.partition("\n")[0].split()
        if len(words) < 6 or words[0] != "cpu":
            return None
        times = [int(word) for word in words[1:9]]
        total = sum(times)
        return total - times[3] - times[4], total

    def _memory(self) -> dict[str, int]:
        """MemTotal and MemAvailable of /proc/meminfo in bytes."""
        found = {}
        for line in (_text(self._proc / "meminfo") or "").splitlines()[:5]:
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(rest.split()[0]) * 1024
        return found

    def _cpu_model(self) -> str | None:
        for line in (_text(self._proc / "cpuinfo") or "").splitlines():
            name, _, rest = line.partition(":")
            if name.strip() == "model name":
                return rest.strip() or None
        return None

    def _os_name(self) -> str | None:
        for line in (_text(self._etc / "os-release") or "").splitlines():
            name, _, rest = line.partition("=")
            if name == "PRETTY_NAME":
                return rest.strip().strip('"') or None
        return None

    def _first_word(self, path: Path) -> str | None:
        words = (_text(path) or "").split(maxsplit=1)
        return words[0] if words else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
