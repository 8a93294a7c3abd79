"""Scripted nvidia-smi and dcgmi on a PATH of their own, and logs to replay.

``FakeSmi(folder)`` makes the programs; ``smi.answer("query", log([gpu()]))`` says what the next
run prints. Commands: ``query`` (-q -x) and ``list`` (-L) of nvidia-smi; ``discovery``,
``health-json``, ``health`` and ``dmon`` of dcgmi; ``other`` is everything else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

REPLAY = Path(__file__).resolve().parent.parent / "fake_smi" / "replay"

_PROGRAM = {
    "query": "nvidia-smi",
    "list": "nvidia-smi",
    "discovery": "dcgmi",
    "health-json": "dcgmi",
    "health": "dcgmi",
    "dmon": "dcgmi",
}

UUID = "GPU-00000000-1111-2222-3333-44444444444{}"


class FakeSmi:
    """Two programs in ``folder/bin``; without ``dcgmi=True`` the second is not there."""

    def __init__(self, folder: Path, *, dcgmi: bool = False) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for program in ("nvidia-smi", "dcgmi") if dcgmi else ("nvidia-smi",):
            self.install(program)

    @property
    def environment(self) -> Mapping[str, str]:
        """For SmiCollector and for processes: our programs first, and the tools that they need."""
        tools = os.pathsep.join(["/usr/local/bin", "/usr/bin", "/bin"])
        return {
            "PATH": f"{self.bin}{os.pathsep}{tools}",
            "FAKE_SMI": str(self.folder),
            "LC_ALL": "de_DE.UTF-8",
            "GPUFLEET_JOIN_TOKEN": "secret",
        }

    def install(self, program: str) -> None:
        """Put a program there."""
        (self.folder / program).mkdir(exist_ok=True)
        shutil.copy(REPLAY, self.bin / program)

    def remove(self, program: str) -> None:
        """Take it away."""
        (self.bin / program).unlink()

    def answer(
        self,
        command: str,
        stdout: bytes | str = b"",
        *,
        stderr: str = "",
        code: int = 0,
        seconds: float = 0,
        stubborn: bool = False,
        gate: bool = False,
        huge: int = 0,
        held: float = 0,
    ) -> None:
        """What a command does from now on.

        ``seconds``: it waits before it says anything (3600: it hangs), with ``stubborn`` deaf to
        SIGTERM; ``gate``: it waits until ``release``; ``huge``: it first writes so many bytes;
        ``held``: a child of it keeps the pipes open for so long.
        """
        here = self.folder / _PROGRAM.get(command, "nvidia-smi") / command
        new = here.with_name(f"{command}.new")
        new.mkdir()
        (new / "stdout").write_bytes(stdout.encode() if isinstance(stdout, str) else stdout)
        (new / "stderr").write_text(stderr)
        (new / "code").write_text(str(code))
        for name, value in (("seconds", seconds), ("huge", huge), ("held", held)):
            if value:
                (new / name).write_text(str(value))
        for name, wanted in (("stubborn", stubborn), ("gate", gate)):
            if wanted:
                (new / name).touch()
        if here.exists():
            here.rename(here.with_name(f"{command}.old"))
        new.rename(here)
        shutil.rmtree(here.with_name(f"{command}.old"), ignore_errors=True)

    def release(self, command: str) -> None:
        """Let a run go on that waits at its gate."""
        (self.folder / _PROGRAM.get(command, "nvidia-smi") / command / "open").touch()

    def calls(self, program: str = "nvidia-smi") -> list[str]:
        """The arguments of every run so far."""
        path = self.folder / program / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def overlaps(self, program: str = "nvidia-smi") -> list[str]:
        """Runs that began while another was under way."""
        path = self.folder / program / "overlaps"
        return path.read_text().splitlines() if path.exists() else []

    def seen_environment(self, program: str = "nvidia-smi") -> dict[str, str]:
        """The environment of the last run."""
        lines = (self.folder / program / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


_HEALTHY: Mapping[str, str] = {
    "product_name": "NVIDIA H100 80GB HBM3",
    "product_brand": "NVIDIA",
    "product_architecture": "Hopper",
    "persistence_mode": "Enabled",
    "mig_mode/current_mig": "Disabled",
    "serial": "1320021000001",
    "minor_number": "0",
    "gpu_virtualization_mode/virtualization_mode": "None",
    "gpu_recovery_action": "None",
    "pci/pci_gpu_link_info/pcie_gen/max_link_gen": "5",
    "pci/pci_gpu_link_info/pcie_gen/current_link_gen": "5",
    "pci/pci_gpu_link_info/link_widths/max_link_width": "16x",
    "pci/pci_gpu_link_info/link_widths/current_link_width": "16x",
    "pci/replay_counter": "0",
    "fan_speed": "N/A",
    "performance_state": "P0",
    "clocks_event_reasons/clocks_event_reason_gpu_idle": "Not Active",
    "clocks_event_reasons/clocks_event_reason_sw_power_cap": "Not Active",
    "fb_memory_usage/total": "81559 MiB",
    "fb_memory_usage/reserved": "600 MiB",
    "fb_memory_usage/used": "4096 MiB",
    "fb_memory_usage/free": "76863 MiB",
    "utilization/gpu_util": "37 %",
    "utilization/memory_util": "12 %",
    "ecc_mode/current_ecc": "Enabled",
    "ecc_errors/volatile/sram_correctable": "0",
    "ecc_errors/volatile/sram_uncorrectable_parity": "0",
    "ecc_errors/volatile/sram_uncorrectable_secded": "0",
    "ecc_errors/volatile/dram_correctable": "0",
    "ecc_errors/volatile/dram_uncorrectable": "0",
    "temperature/gpu_temp": "45 C",
    "temperature/memory_temp": "50 C",
    "temperature/gpu_temp_tlimit": "42 C",
    "gpu_power_readings/instant_power_draw": "312.25 W",
    "gpu_power_readings/average_power_draw": "310.00 W",
    "gpu_power_readings/current_power_limit": "700.00 W",
    "clocks/graphics_clock": "1755 MHz",
    "clocks/sm_clock": "1755 MHz",
    "clocks/mem_clock": "2619 MHz",
    "clocks/video_clock": "1365 MHz",
}


def gpu(
    index: int = 0,
    changes: Mapping[str, str | None] | None = None,
    *,
    processes: Sequence[Mapping[str, str]] = (),
    mig: Sequence[Mapping[str, str]] = (),
    bus_id: str = "",
) -> str:
    """One ``<gpu>``: a healthy H100 with ``changes`` by path; ``None`` takes a leaf away."""
    leaves = {**_HEALTHY, "uuid": UUID.format(index), **(changes or {})}
    parts = [_tree({k: v for k, v in leaves.items() if v is not None})]
    if mig:
        devices = "".join(f"<mig_device>{_tree(part)}</mig_device>" for part in mig)
        parts.append(f"<mig_devices>{devices}</mig_devices>")
    listed = "".join(f"<process_info>{_tree(part)}</process_info>\n" for part in processes)
    parts.append(f"<processes>\n{listed}</processes>")
    at = bus_id or f"00000000:{0x18 + index:02X}:00.0"
    return f'<gpu id="{at}">{"".join(parts)}</gpu>\n'


def process(pid: int, **changes: str) -> Mapping[str, str]:
    """Leaves of one ``<process_info>``."""
    return {
        "gpu_instance_id": "N/A",
        "compute_instance_id": "N/A",
        "pid": str(pid),
        "type": "C",
        "process_name": "python",
        "used_memory": "512 MiB",
        **changes,
    }


def mig_device(index: int, instance: int, compute: int = 0) -> Mapping[str, str]:
    """Leaves of one ``<mig_device>``."""
    return {
        "index": str(index),
        "gpu_instance_id": str(instance),
        "compute_instance_id": str(compute),
        "device_attributes/shared/multiprocessor_count": "16",
        "fb_memory_usage/total": "9984 MiB",
        "fb_memory_usage/reserved": "0 MiB",
        "fb_memory_usage/used": "9 MiB",
        "fb_memory_usage/free": "9975 MiB",
    }


def log(gpus: Sequence[str], *, attached: int | None = None, driver: str = "580.105.08") -> str:
    """A whole log of ``nvidia-smi -q -x``."""
    count = len(gpus) if attached is None else attached
    return (
        '<?xml version="1.0" ?>\n'
        '<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">\n'
        "<nvidia_smi_log>\n"
        f"<driver_version>{driver}</driver_version><cuda_version>13.0</cuda_version>\n"
        f"<attached_gpus>{count}</attached_gpus>\n{''.join(gpus)}</nvidia_smi_log>\n"
    )


def _tree(leaves: Mapping[str, str]) -> str:
    """Nested elements from paths."""
    heads: dict[str, dict[str, str]] = {}
    for path, text in leaves.items():
        head, _, rest = path.partition("/")
        heads.setdefault(head, {})[rest] = text
    return "".join(
        f"<{head}>{escape(rests['']) if '' in rests else _tree(rests)}</{head}>"
        for head, rests in heads.items()
    )
