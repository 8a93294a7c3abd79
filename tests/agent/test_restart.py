"""A driver that is exchanged under the running agent: the agent becomes a new process of itself."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from support import fake_gpus
from support.fake_driver import FakeDriver, missing
from support.processes import free_port, running, wait_for

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def test_an_agent_whose_driver_was_exchanged_starts_again_under_its_pid(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path, [fake_gpus.h100(0)])
    log = tmp_path / "log"
    arguments = ["--method", "nvml", "--hub", f"127.0.0.1:{free_port()}", "--node", "n"]
    arguments += ["--state-dir", str(tmp_path / "state"), "--journal", str(tmp_path / "journal")]
    with running("agent", "run", *arguments, log=log, extra=driver.env()) as agent:
        wait_for(lambda: driver.calls("nvmlDeviceGetTemperature"), what="the first reading")
        driver.set({"*": "!18", "init": "!18"})
        wait_for(lambda: log.read_text().count("agent started") == 2, what="the new agent")
        assert "starting again with the new driver" in log.read_text()
        driver.unset("*", "init")
        driver.set({"driver_version": "595.71.05"})
        driver.forget_calls()
        wait_for(lambda: driver.calls("nvmlDeviceGetTemperature"), what="readings once more")
        assert {call.pid for call in driver.calls()} == {agent.pid}
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0
    assert log.read_text().count("agent started") == 2
