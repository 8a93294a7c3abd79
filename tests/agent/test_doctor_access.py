"""What the doctor says of permissions, containers, programs and the state folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gpufleet.agent.doctor.access import container, devices, kernel_log, state_folder
from gpufleet.agent.doctor.checkup import Level, Machine
from gpufleet.agent.doctor.tools import dcgm, nvidia_smi

NOBODY = 65_534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody can look into (pytest's own are closed to others)."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user who is not root: root may read and write everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def device_files(root: Path, *names: str) -> None:
    (root / "dev").mkdir(exist_ok=True)
    for name in names:
        (root / "dev" / name).touch()


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_device_files_that_can_be_opened_are_counted(tmp_path: Path) -> None:
    device_files(tmp_path, "nvidiactl", "nvidia0", "nvidia1", "nvidia-uvm")
    (finding,) = devices(Machine(tmp_path, {}))
    assert (finding.level, finding.sentence) == (
        Level.OK,
        "/dev/nvidiactl and 2 GPUs' can be opened.",
    )


def test_device_files_that_are_closed_are_named(folder: Path) -> None:
    device_files(folder, "nvidiactl", "nvidia0")
    (folder / "dev/nvidiactl").chmod(0o666)
    (folder / "dev/nvidia0").chmod(0o000)
    with unprivileged():
        (finding,) = devices(Machine(folder, {}))
    assert finding.level is Level.ERROR
    assert "/dev/nvidia0" in finding.sentence


def test_missing_device_files_are_mended_otherwise_in_a_container(tmp_path: Path) -> None:
    (outside,) = devices(Machine(tmp_path, {}))
    (inside,) = devices(Machine(tmp_path, {"container": "podman"}))
    assert {outside.level, inside.level} == {Level.ERROR}
    assert "nvidia-modprobe" in outside.mend
    assert "--gpus all" in inside.mend


def test_a_control_file_without_gpus_is_a_warning(tmp_path: Path) -> None:
    device_files(tmp_path, "nvidiactl")
    (finding,) = devices(Machine(tmp_path, {}))
    assert finding.level is Level.WARNING


def test_the_kernel_log_is_opened_and_a_missing_one_is_a_warning(tmp_path: Path) -> None:
    (missing,) = kernel_log(Machine(tmp_path, {}))
    assert missing.level is Level.WARNING
    assert "Xids" in missing.sentence
    device_files(tmp_path, "kmsg")
    (there,) = kernel_log(Machine(tmp_path, {}))
    assert there.level is Level.OK


def test_the_state_folder_is_tried_by_writing_and_left_as_it_was(tmp_path: Path) -> None:
    (there,) = state_folder(tmp_path)
    (later,) = state_folder(tmp_path / "a/b")
    assert {there.level, later.level} == {Level.OK}
    assert "can be made" in later.sentence
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    (wrong,) = state_folder(tmp_path / "file")
    assert wrong.level is Level.ERROR
    assert "--state-dir" in wrong.mend


def test_a_state_folder_that_may_not_be_written_is_an_error(folder: Path) -> None:
    folder.chmod(0o555)
    with unprivileged():
        (finding,) = state_folder(folder / "state")
    assert finding.level is Level.ERROR
    assert "permission denied" in finding.sentence


def in_container(root: Path, namespace: str, **variables: str) -> Machine:
    (root / "proc/self/ns").mkdir(parents=True)
    (root / "proc/self/ns/pid").symlink_to(namespace)
    (root / ".dockerenv").touch()
    return Machine(root, variables)


def test_outside_a_container_there_is_nothing_to_forget(tmp_path: Path) -> None:
    (finding,) = container(Machine(tmp_path, {"NVIDIA_VISIBLE_DEVICES": "void"}))
    assert (finding.level, finding.sentence) == (Level.OK, "This is no container.")


def test_a_container_that_was_started_well_is_fine(tmp_path: Path) -> None:
    machine = in_container(
        tmp_path,
        "pid:[4026531836]",
        NVIDIA_DRIVER_CAPABILITIES="compute,utility",
        NVIDIA_VISIBLE_DEVICES="all",
    )
    (finding,) = container(machine)
    assert finding.level is Level.OK


def test_every_pitfall_of_a_container_is_told_with_its_option(tmp_path: Path) -> None:
    machine = in_container(
        tmp_path,
        "pid:[4026532999]",
        NVIDIA_DRIVER_CAPABILITIES="compute,video",
        NVIDIA_VISIBLE_DEVICES="void",
    )
    capabilities, visible, pids = container(machine)
    assert [f.level for f in (capabilities, visible, pids)] == [
        Level.ERROR,
        Level.ERROR,
        Level.WARNING,
    ]
    assert "NVIDIA_DRIVER_CAPABILITIES=utility" in capabilities.mend
    assert "NVIDIA_VISIBLE_DEVICES=all" in visible.mend
    assert "--pid host" in pids.mend


@pytest.mark.parametrize(
    "group",
    ["0::/kubepods.slice/kubepods-pod1.slice", "12:cpu:/docker/abc", "0::/machine/libpod-1"],
)
def test_a_container_is_known_by_its_control_group(tmp_path: Path, group: str) -> None:
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/cgroup").write_text(f"{group}\n")
    (finding,) = container(Machine(tmp_path, {}))
    assert finding.level is Level.WARNING


def tools(folder: Path, seconds: float = 20) -> Machine:
    return Machine(folder, {"PATH": f"{folder}:/usr/bin:/bin"}, seconds)


def test_nvidia_smi_that_lists_gpus_is_fine(tmp_path: Path) -> None:
    program(tmp_path, "nvidia-smi", "echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'; echo 'GPU 1: x'")
    (finding,) = nvidia_smi(tools(tmp_path))
    assert finding.level is Level.OK
    assert finding.sentence.endswith("lists 2 GPUs.")


def test_what_nvidia_smi_complains_of_is_told(tmp_path: Path) -> None:
    words = "Failed to initialize NVML: Driver/library version mismatch"
    program(tmp_path, "nvidia-smi", f"echo '{words}'; exit 18")
    (finding,) = nvidia_smi(tools(tmp_path))
    assert (finding.level, finding.sentence) == (Level.ERROR, f"nvidia-smi says: {words}")


def test_programs_that_hang_are_left_behind(tmp_path: Path) -> None:
    for name in ("nvidia-smi", "dcgmi"):
        program(tmp_path, name, "exec sleep 30")
    (smi,) = nvidia_smi(tools(tmp_path, 0.3))
    (host_engine,) = dcgm(tools(tmp_path, 0.3))
    assert (smi.level, host_engine.level) == (Level.ERROR, Level.WARNING)
    assert "did not answer" in smi.sentence


def test_missing_programs_are_no_errors(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {"PATH": str(tmp_path)})
    (smi,) = nvidia_smi(machine)
    (host_engine,) = dcgm(machine)
    assert (smi.level, host_engine.level) == (Level.WARNING, Level.OK)


def test_a_host_engine_that_cannot_be_reached_is_a_warning(tmp_path: Path) -> None:
    words = "Error: unable to establish a connection to the specified host: localhost"
    program(tmp_path, "dcgmi", f"echo '{words}'; exit 1")
    (finding,) = dcgm(tools(tmp_path))
    assert (finding.level, finding.sentence) == (Level.WARNING, f"dcgmi says: {words}")
    program(tmp_path, "dcgmi", "echo '8 GPUs found.'")
    (finding,) = dcgm(tools(tmp_path))
    assert finding.level is Level.OK
