"""Checks of what this user may touch, and of what a container keeps from the agent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gpufleet.agent.doctor.checkup import Finding, Level, Machine

_HOST_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of the kernel: the namespace that all others are within."""

_CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")
_CONTAINER_GROUPS = ("docker", "containerd", "kubepods", "crio", "libpod", "lxc")


def devices(machine: Machine) -> Sequence[Finding]:
    """/dev/nvidia*: asked of the file system only, opening one may hang."""
    check = "device files"
    folder = machine.file("/dev")
    try:
        there = sorted(f for f in folder.glob("nvidia*") if f.name[6:].isdigit())
    except OSError:
        there = []
    control = folder / "nvidiactl"
    if not control.exists():
        if in_container(machine):
            mend = "Start the container with the NVIDIA runtime (docker run --gpus all)."
        else:
            mend = "Run nvidia-modprobe, or nvidia-smi once as root, to make it."
        return [Finding(check, Level.ERROR, "/dev/nvidiactl is not there.", mend)]
    wanted, effective = os.R_OK | os.W_OK, os.access in os.supports_effective_ids
    closed = [
        f.name for f in (control, *there) if not os.access(f, wanted, effective_ids=effective)
    ]
    if closed:
        names = ", ".join(f"/dev/{name}" for name in closed)
        sentence = f"This user may not read and write {names}."
        mend = "Give the files mode 0666 (the driver's default), or the user their group."
        return [Finding(check, Level.ERROR, sentence, mend)]
    if not there:
        sentence = "/dev/nvidiactl is there, but no /dev/nvidia0."
        mend = "Run nvidia-modprobe -c 0; in a container give it GPUs (--gpus all)."
        return [Finding(check, Level.WARNING, sentence, mend)]
    return [Finding(check, Level.OK, f"/dev/nvidiactl and {len(there)} GPUs' can be opened.")]


def kernel_log(machine: Machine) -> Sequence[Finding]:
    """/dev/kmsg, where some Xids are told and nowhere else."""
    file = machine.file("/dev/kmsg")
    try:
        os.close(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        sentence = f"/dev/kmsg cannot be read ({reason}): Xids that give no NVML event are missed."
        mend = "Run the agent as root or with CAP_SYSLOG, and give a container the device."
        return [Finding("kernel log", Level.WARNING, sentence, mend)]
    return [Finding("kernel log", Level.OK, "/dev/kmsg can be read.")]


def state_folder(path: Path) -> Sequence[Finding]:
    """The folder for what the hub has not acknowledged: tried by writing a file."""
    check = "state folder"
    near = path
    while not near.exists() and near != near.parent:
        near = near.parent
    mend = f"Make {path} for this user, or name another with --state-dir."
    try:
        with tempfile.TemporaryFile(dir=near) as file:
            file.write(b"x")
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        sentence = f"{near} cannot be written ({reason}): what the hub misses would be lost."
        return [Finding(check, Level.ERROR, sentence, mend)]
    if near != path:
        return [Finding(check, Level.OK, f"{path} is not there yet and can be made.")]
    return [Finding(check, Level.OK, f"{path} can be written.")]


def in_container(machine: Machine) -> bool:
    """True in a container, as far as one can tell from within."""
    if machine.environment.get("container"):
        return True
    if any(machine.file(name).exists() for name in _CONTAINER_FILES):
        return True
    groups = machine.read("/proc/1/cgroup")
    return any(name in groups for name in _CONTAINER_GROUPS)


def container(machine: Machine) -> Sequence[Finding]:
    """What is commonly forgotten when the agent runs in a container."""
    check = "container"
    if not in_container(machine):
        return [Finding(check, Level.OK, "This is no container.")]
    found = []
    capabilities = machine.environment.get("NVIDIA_DRIVER_CAPABILITIES", "")
    words = {word.strip() for word in capabilities.split(",")}
    if capabilities and not words & {"utility", "all"}:
        sentence = f"NVIDIA_DRIVER_CAPABILITIES is {capabilities!r}, which leaves NVML out."
        mend = "Start the container with NVIDIA_DRIVER_CAPABILITIES=utility."
        found.append(Finding(check, Level.ERROR, sentence, mend))
    visible = machine.environment.get("NVIDIA_VISIBLE_DEVICES")
    if visible in ("", "void", "none"):
        sentence = f"NVIDIA_VISIBLE_DEVICES is {visible!r}: the container has no GPU."
        mend = "Start the container with NVIDIA_VISIBLE_DEVICES=all."
        found.append(Finding(check, Level.ERROR, sentence, mend))
    try:
        namespace = os.readlink(machine.file("/proc/self/ns/pid"))
    except OSError:
        namespace = ""
    if namespace != _HOST_PID_NAMESPACE:
        sentence = "The container has its own pids: users and programs of processes stay unknown."
        mend = "Start the container in the host's pid namespace (--pid host, hostPID: true)."
        found.append(Finding(check, Level.WARNING, sentence, mend))
    return found or [Finding(check, Level.OK, "The container has what the agent needs.")]
