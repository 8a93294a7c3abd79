"""A real promtool and a real Prometheus on the hub's /metrics."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from support import fake_gpus
from support.fake_driver import FakeDriver, missing
from support.fleet_processes import FleetProcesses
from support.processes import wait_for
from support.prometheus import prometheus, query, value

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]


def test_prometheus_scrapes_the_fleet_and_a_changing_health_keeps_every_series(
    tmp_path: Path,
) -> None:
    (tmp_path / "driver").mkdir()
    driver = FakeDriver(tmp_path / "driver", fake_gpus.fleet(fake_gpus.h100, 2))
    with FleetProcesses(tmp_path) as fleet:
        fleet.start_hub()
        fleet.start_agent("alive", "--method", "nvml", extra=driver.env())
        fleet.start_agent("dying", "--method", "sim", "--gpus", "2")
        wait_for(lambda: len(fleet.gpus("alive")) == len(fleet.gpus("dying")) == 2, 30)
        wait_for(lambda: fleet.gpus("alive")[0]["temperature_celsius"] is not None, 30)
        with prometheus(tmp_path, fleet.http_port) as port:
            of_gpu = 'node="alive",gpu="0"'
            health = f"gpufleet_gpu_health{{{of_gpu}}}"
            wait_for(lambda: value(port, health) == 0, 30, "healthy in Prometheus")
            driver.set({"gpu.0.temp": 93, "gpu.0.margin": -3})
            wait_for(lambda: (value(port, health) or 0) >= 2, 30, "unwell in Prometheus")
            time.sleep(2)
            driver.set({"gpu.0.temp": 45, "gpu.0.margin": 46})
            wait_for(lambda: value(port, health) == 0, 60, "healthy again")
            for name in ("temperature_celsius", "power_watts", "health", "info"):
                series = f"count_over_time(gpufleet_gpu_{name}{{{of_gpu}}}[5m])"
                assert len(query(port, series)) == 1, f"gpufleet_gpu_{name} kept its series"
            states = query(port, f"gpufleet_gpu_health_state{{{of_gpu}}}")
            assert sorted(float(s["value"][1]) for s in states) == [0, 0, 0, 1]

            agent = fleet.agents["dying"]
            agent.kill()
            agent.wait()
            died = time.monotonic()
            down = 'gpufleet_node_up{node="dying"} == 0'
            wait_for(lambda: query(port, down), 20, "the dead node is down")
            print(f"down in Prometheus {time.monotonic() - died:.1f} s after the kill")
            gone = 'gpufleet_gpu_temperature_celsius{node="dying"}'
            wait_for(lambda: not query(port, gone), 10, "its values have left")
            assert query(port, 'gpufleet_gpu_temperature_celsius{node="alive"}')
            assert not query(port, "scrape_samples_scraped == 0")


def test_promtool_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    with FleetProcesses(tmp_path) as fleet:
        fleet.start_hub()
        fleet.start_agent("n-1", "--method", "sim", "--gpus", "4", "--scenario", "xid79:1@1s")
        wait_for(lambda: len(fleet.gpus("n-1")) == 4, 30)
        wait_for(lambda: fleet.gpus("n-1")[1]["fault"] == "lost", 30)
        text = fleet.get("/metrics")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


OF = 'instance=~".+", gpu=~"0|1"'
DASHBOARD_12239 = (
    f"DCGM_FI_DEV_GPU_TEMP{{{OF}}}",
    f"avg(DCGM_FI_DEV_GPU_TEMP{{{OF}}})",
    f"DCGM_FI_DEV_POWER_USAGE{{{OF}}}",
    f"sum(DCGM_FI_DEV_POWER_USAGE{{{OF}}})",
    f"DCGM_FI_DEV_SM_CLOCK{{{OF}}} * 1000000",
    f"DCGM_FI_DEV_GPU_UTIL{{{OF}}}",
    f"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{OF}}}",
    f"DCGM_FI_DEV_FB_USED{{{OF}}}",
)
"""What its panels ask, with the variables filled in."""


def test_dashboards_made_for_dcgm_exporter_get_data(tmp_path: Path) -> None:
    with FleetProcesses(tmp_path) as fleet:
        fleet.start_hub()
        fleet.start_agent("n-1", "--method", "sim", "--gpus", "2")
        wait_for(lambda: len(fleet.gpus("n-1")) == 2, 30)
        with prometheus(tmp_path, fleet.http_port, "/metrics/dcgm") as port:
            wait_for(lambda: query(port, DASHBOARD_12239[0]), 30, "GPUs in Prometheus")
            for expression in DASHBOARD_12239:
                wait_for(lambda e=expression: query(port, e), 30, expression)  # type: ignore[misc]
            [first] = query(port, 'DCGM_FI_DEV_GPU_TEMP{gpu="0"}')
            assert {"UUID", "pci_bus_id", "device", "modelName", "Hostname"} <= set(first["metric"])
            assert first["metric"]["Hostname"] == "n-1"
            used = value(port, 'DCGM_FI_DEV_FB_USED{gpu="0"} + DCGM_FI_DEV_FB_FREE')
            assert used is not None
            assert 1000 < used < 1_000_000, "MiB"
