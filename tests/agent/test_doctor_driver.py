"""What the doctor says of driver, binding and GPUs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from pathlib import Path

import pytest

from gpufleet.agent.doctor.checkup import Finding, Level, Machine
from gpufleet.agent.doctor.driver import binding, kernel_driver, kernel_version, nvml
from support import fake_gpus
from support.fake_driver import FakeDriver, missing
from support.fake_gpus import Gpu
from support.processes import environment

needs_driver = pytest.mark.skipif(missing() is not None, reason=missing() or "")

VERSION = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Wed Oct 29 07:53:51 UTC 2025\n"
    "GCC version:  gcc version 12.3.0\n"
)


def machine(root: Path, *, gpus: int = 0, kernel: str = "", seconds: float = 20) -> Machine:
    """A machine with so many GPUs on the bus and this kernel driver."""
    for index in range(gpus):
        folder = root / f"sys/bus/pci/devices/0000:1{index}:00.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text("0x10de\n")
        (folder / "class").write_text("0x030200\n")
    if kernel:
        (root / "proc/driver/nvidia").mkdir(parents=True)
        (root / "proc/driver/nvidia/version").write_text(VERSION.format(kernel))
    return Machine(root, environment(), seconds)


def on(driver: FakeDriver, base: Machine) -> Machine:
    return Machine(base.root, driver.env(), base.seconds)


def said(findings: Sequence[Finding]) -> list[tuple[str, Level, str]]:
    return [(f.check, f.level, f.sentence) for f in findings]


def test_the_kernel_driver_tells_its_version(tmp_path: Path) -> None:
    (finding,) = kernel_driver(machine(tmp_path, gpus=1, kernel="590.48.01"))
    assert (finding.level, finding.sentence) == (Level.OK, "NVIDIA kernel driver 590.48.01.")


def test_the_open_kernel_driver_tells_its_version_as_well(tmp_path: Path) -> None:
    base = machine(tmp_path, kernel="1.2")
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n"
    (tmp_path / "proc/driver/nvidia/version").write_text(text)
    assert kernel_version(base) == "580.95.05"


def test_gpus_without_a_driver_and_no_gpus_at_all_are_told_apart(tmp_path: Path) -> None:
    (none,) = kernel_driver(machine(tmp_path / "a"))
    assert none.sentence == "There is no NVIDIA GPU on the PCI bus and no NVIDIA driver."
    (bare,) = kernel_driver(machine(tmp_path / "b", gpus=2))
    assert bare.sentence.startswith("2 NVIDIA GPUs are on the PCI bus, but no NVIDIA driver")
    (tmp_path / "b/sys/module/nouveau").mkdir(parents=True)
    (nouveau,) = kernel_driver(Machine(tmp_path / "b", {}))
    assert "nouveau" in nouveau.sentence
    assert {none.level, bare.level, nouveau.level} == {Level.ERROR}


def test_the_installed_binding_is_the_right_one() -> None:
    (finding,) = binding()
    assert finding.level is Level.OK
    assert finding.sentence.startswith("nvidia-ml-py ")


def test_a_deprecated_pynvml_in_front_of_the_right_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pynvml").mkdir()
    (tmp_path / "pynvml/__init__.py").write_text("")
    code = "from gpufleet.agent.doctor.driver import binding; print(binding())"
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment(), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "hides that of nvidia-ml-py" in done.stdout
    assert "Level.ERROR" in done.stdout
    assert "pip uninstall pynvml" in done.stdout


@needs_driver
def test_a_healthy_driver_has_nothing_but_good_findings(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2))
    base = machine(tmp_path, gpus=2, kernel="590.48.01")
    assert said(nvml(on(driver, base))) == [
        ("nvml", Level.OK, "NVML 13.590.48.01, driver 590.48.01."),
        ("gpus", Level.OK, "2 can be read: NVIDIA H100 80GB HBM3."),
        ("persistence", Level.OK, "Persistence mode is on."),
    ]


@needs_driver
def test_a_hung_driver_does_not_hang_the_doctor(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2))
    driver.hang(1)
    findings = nvml(on(driver, machine(tmp_path, seconds=2)))
    (hung,) = [f for f in findings if f.sentence.startswith("The driver did not answer")]
    assert (hung.check, hung.level) == ("nvml", Level.ERROR)
    assert not [f for f in findings if f.check == "gpus"]


@needs_driver
@pytest.mark.parametrize(
    ("change", "sentence", "mend"),
    [
        (
            {"init": "!18"},
            "The NVIDIA library and the loaded kernel driver are of different versions.",
            "Restart the machine",
        ),
        ({"init": "!9"}, "The NVIDIA kernel driver is not loaded.", "Load it"),
        ({"init": "!4"}, "This user may not use the NVIDIA driver.", "Allow access"),
        ({"driver_version": "580.1"}, "The driver's library is 580.1, the loaded kernel", "Rest"),
    ],
)
def test_a_driver_that_does_not_start_is_an_error_with_its_mend(
    tmp_path: Path, change: Gpu, sentence: str, mend: str
) -> None:
    driver = FakeDriver(tmp_path, [fake_gpus.h100(0)])
    driver.set(change)
    finding = nvml(on(driver, machine(tmp_path, kernel="590.48.01")))[0]
    assert finding.level is Level.ERROR
    assert finding.sentence.startswith(sentence)
    assert finding.mend.startswith(mend)


@needs_driver
def test_a_gpu_that_may_not_be_opened_and_one_that_is_lost_are_named(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path, fake_gpus.fleet(fake_gpus.h100, 3))
    driver.fail("gpu.1.handle", 4)
    driver.fail("gpu.2.*", 15)
    _, closed, lost, *rest = nvml(on(driver, machine(tmp_path)))
    assert closed.sentence == "GPU 1: Insufficient Permissions."
    assert "/dev/nvidia" in closed.mend
    assert lost.sentence == "GPU 2: GPU is lost."
    assert "restart the node" in lost.mend
    assert [f.check for f in rest] == ["persistence"]


@needs_driver
def test_persistence_mode_that_is_off_is_a_warning(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path, [fake_gpus.geforce(0), fake_gpus.h100(1), fake_gpus.geforce(2)])
    *_, persistence = nvml(on(driver, machine(tmp_path)))
    assert (persistence.check, persistence.level) == ("persistence", Level.WARNING)
    assert persistence.sentence.startswith("Persistence mode is off on GPU 0, 2:")


@needs_driver
def test_gpus_that_the_driver_left_out_are_a_warning(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path, [fake_gpus.h100(0)])
    findings = nvml(on(driver, machine(tmp_path, gpus=3)))
    assert ("gpus", Level.WARNING, "The driver counts 1 GPUs, but 3 are on the PCI bus.") in said(
        findings
    )


@needs_driver
def test_a_driver_without_gpus_is_an_error(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path)
    assert ("gpus", Level.ERROR, "The driver counts no GPU.") in said(
        nvml(on(driver, machine(tmp_path)))
    )


@pytest.mark.skipif(find_library("nvidia-ml") is not None, reason="this machine has a driver")
def test_a_missing_library_is_an_error_with_its_mend(tmp_path: Path) -> None:
    (finding,) = nvml(machine(tmp_path))
    assert (finding.level, finding.sentence) == (
        Level.ERROR,
        "libnvidia-ml.so.1 was not found.",
    )
    assert "NVIDIA_DRIVER_CAPABILITIES=utility" in finding.mend
