"""A real Prometheus that scrapes one path of a hub each second."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.processes import free_port, get, wait_for


@contextmanager
def prometheus(home: Path, target: int, path: str = "/metrics") -> Iterator[int]:
    """A Prometheus that scrapes the hub each second; yields its port."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {
                "job_name": "gpufleet",
                "metrics_path": path,
                "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
            }
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


def query(port: int, expression: str) -> list[dict[str, Any]]:
    status, body = get(port, f"/api/v1/query?query={urllib.parse.quote(expression)}")
    assert status == 200, body
    result: list[dict[str, Any]] = body["data"]["result"]
    return result


def value(port: int, expression: str) -> float | None:
    result = query(port, expression)
    return float(result[0]["value"][1]) if result else None
