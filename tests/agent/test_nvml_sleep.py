"""A GPU that sleeps (runtime D3) is not woken to be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.agent.model import CollectorUnavailable
from support import fake_gpus
from support.fake_driver import missing
from support.nvml_session import session

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def set_power(folder: Path, status: str, control: str = "auto") -> None:
    device = folder / "sys/bus/pci/devices/0000:1a:00.0"
    (device / "power").mkdir(parents=True, exist_ok=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030000\n")
    (device / "power/control").write_text(f"{control}\n")
    (device / "power/runtime_status").write_text(f"{status}\n")


def test_a_sleeping_gpu_is_not_touched_and_is_read_again_when_it_wakes(tmp_path: Path) -> None:
    set_power(tmp_path, "active")
    with session(tmp_path, [fake_gpus.geforce(0)]) as s:
        s.start()
        set_power(tmp_path, "suspended")
        s.driver.forget_calls()
        for slow in (True, False):
            reading = s.read(slow=slow)
            assert (reading.values, reading.fault) == ({}, None)
            assert reading.detail == {"power_state": "suspended"}
        assert s.collector.processes(s.subjects[0]) == ()
        assert s.driver.calls() == []
        set_power(tmp_path, "active")
        assert s.values()["temperature_celsius"] == 34


def test_a_machine_whose_gpus_all_sleep_is_left_alone(tmp_path: Path) -> None:
    set_power(tmp_path, "suspended")
    with session(tmp_path, [fake_gpus.geforce(0)]) as s:
        with pytest.raises(CollectorUnavailable, match="sleeps"):
            s.collector.open()
        assert s.driver.calls() == []
        set_power(tmp_path, "active")
        s.start()
        assert s.values()["temperature_celsius"] == 34


def test_a_server_whose_gpus_are_always_on_is_read_whatever_its_status_says(tmp_path: Path) -> None:
    set_power(tmp_path, "suspended", control="on")
    with session(tmp_path, [fake_gpus.h100(0)]) as s:
        s.start()
        assert s.values()["temperature_celsius"] == 41
