"""Checks of NVIDIA's programs: nvidia-smi and dcgmi."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence

from gpufleet.agent.doctor.checkup import Finding, Level, Machine
from gpufleet.agent.doctor.run import run


def nvidia_smi(machine: Machine) -> Sequence[Finding]:
    """Method bash needs it; method nvml does not."""
    check = "nvidia-smi"
    program = shutil.which("nvidia-smi", path=machine.environment.get("PATH"))
    if program is None:
        sentence = "nvidia-smi is not on PATH: method bash cannot work."
        mend = "Install the driver's utilities (nvidia-utils); method nvml works without."
        return [Finding(check, Level.WARNING, sentence, mend)]
    status, said = run([program, "-L"], machine.environment, machine.seconds)
    if status is None:
        sentence = f"nvidia-smi did not answer within {machine.seconds:.0f} s."
        mend = "Look into dmesg for NVRM and Xid lines; drain the node and restart it."
        return [Finding(check, Level.ERROR, sentence, mend)]
    gpus = len(re.findall(r"^GPU \d+:", said, re.MULTILINE))
    if status != 0 or not gpus:
        sentence = f"nvidia-smi says: {_first_line(said) or f'status {status}'}"
        mend = "Mend the driver first: nvidia-smi uses the same library as method nvml."
        return [Finding(check, Level.ERROR, sentence, mend)]
    return [Finding(check, Level.OK, f"{program} lists {gpus} GPUs.")]


def dcgm(machine: Machine) -> Sequence[Finding]:
    """DCGM is welcome, never needed."""
    check = "dcgm"
    program = shutil.which("dcgmi", path=machine.environment.get("PATH"))
    if program is None:
        return [Finding(check, Level.OK, "DCGM is not installed; it is not needed.")]
    status, said = run([program, "discovery", "-l"], machine.environment, machine.seconds)
    if status is None:
        sentence = f"dcgmi did not answer within {machine.seconds:.0f} s."
        mend = "Restart nvidia-dcgm; the agent works without it."
        return [Finding(check, Level.WARNING, sentence, mend)]
    if status != 0 or "error" in said.lower():
        sentence = f"dcgmi says: {_first_line(said) or f'status {status}'}"
        mend = "Start it (systemctl start nvidia-dcgm); the agent works without it."
        return [Finding(check, Level.WARNING, sentence, mend)]
    return [Finding(check, Level.OK, f"{program} reaches its host engine.")]


def _first_line(text: str) -> str:
    return next((line.strip()[:200] for line in text.splitlines() if line.strip()), "")
