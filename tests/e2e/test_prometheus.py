"""A real promtool and a real Prometheus on the hub's /metrics."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import fake_gpus
from support.fake_driver import FakeDriver, missing
from support.fleet_processes import FleetProcesses
from support.processes import free_port, get, wait_for

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]


@contextmanager
def _prometheus(home: Path, target: int) -> Iterator[int]:
    """A Prometheus that scrapes the hub each second; yields its port."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {"job_name": "gpufleet", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        ],
    }
    file = home / "prometheus.yml"
    file.write_text(json.dumps(config))
    with (home / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={home / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(lambda: get(port, "/-/ready")[0] == 200, 60, "Prometheus is ready")
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _query(port: int, expression: str) -> list[dict[str, Any]]:
    status, body = get(port, f"/api/v1/query?query={urllib.parse.quote(expression)}")
    assert status == 200, body
    result: list[dict[str, Any]] = body["data"]["result"]
    return result


def _value(port: int, expression: str) -> float | None:
    result = _query(port, expression)
    return float(result[0]["value"][1]) if result else None


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
        with _prometheus(tmp_path, fleet.http_port) as port:
            of_gpu = 'node="alive",gpu="0"'
            health = f"gpufleet_gpu_health{{{of_gpu}}}"
            wait_for(lambda: _value(port, health) == 0, 30, "healthy in Prometheus")
            driver.set({"gpu.0.temp": 93, "gpu.0.margin": -3})
            wait_for(lambda: (_value(port, health) or 0) >= 2, 30, "unwell in Prometheus")
            time.sleep(2)
            driver.set({"gpu.0.temp": 45, "gpu.0.margin": 46})
            wait_for(lambda: _value(port, health) == 0, 60, "healthy again")
            for name in ("temperature_celsius", "power_watts", "health", "info"):
                series = f"count_over_time(gpufleet_gpu_{name}{{{of_gpu}}}[5m])"
                assert len(_query(port, series)) == 1, f"gpufleet_gpu_{name} kept its series"
            states = _query(port, f"gpufleet_gpu_health_state{{{of_gpu}}}")
            assert sorted(float(s["value"][1]) for s in states) == [0, 0, 0, 1]

            agent = fleet.agents["dying"]
            agent.kill()
            agent.wait()
            died = time.monotonic()
            down = 'gpufleet_node_up{node="dying"} == 0'
            wait_for(lambda: _query(port, down), 20, "the dead node is down")
            print(f"down in Prometheus {time.monotonic() - died:.1f} s after the kill")
            gone = 'gpufleet_gpu_temperature_celsius{node="dying"}'
            wait_for(lambda: not _query(port, gone), 10, "its values have left")
            assert _query(port, 'gpufleet_gpu_temperature_celsius{node="alive"}')
            assert not _query(port, "scrape_samples_scraped == 0")


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
