"""Asks a hub of its own over HTTP for the history in a database, and prints how long it takes."""

from __future__ import annotations

import http.client
import os
import statistics
import sys
import time
from pathlib import Path
from urllib.parse import quote

import orjson

from benches.children import BenchFailed, Child, free_ports, wait_for_port
from gpufleet.hub.store.tables import HOUR_MS

REPEATS = 20
START_SECONDS = 60.0
RANGES = (
    ("1 h", HOUR_MS),
    ("24 h", 24 * HOUR_MS),
    ("15 d", 360 * HOUR_MS),
    ("2 y", 17520 * HOUR_MS),
)
SEVERAL = "power_watts,temperature_celsius,utilization_ratio"


def ask_hub(url: str, folder: Path, gpus: int, end_ms: int, points: int) -> None:
    """Time each question REPEATS times on one connection; BenchFailed: no answer or a wrong one."""
    http_port, grpc_port = free_ports(2)
    command = [sys.executable, "-m", "gpufleet.cli", "hub", "serve", "--database", url]
    command += ["--http-port", str(http_port), "--grpc-port", str(grpc_port)]
    with Child("hub", command, folder / "hub.log", dict(os.environ)) as hub:
        wait_for_port(http_port, hub, START_SECONDS)
        wait_ready(http_port, hub)
        connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=60)
        for name, span in RANGES:
            where = f"start={(end_ms - span) / 1000:.3f}&end={end_ms / 1000:.3f}&points={points}"
            few = min(points, 60_000 // (3 * gpus))
            several = where.replace(f"points={points}", f"points={few}")
            for label, path in (
                ("one metric of one GPU", f"/api/v1/gpus/GPU-0/history?metric=power_watts&{where}"),
                (
                    f"three metrics of {gpus} GPUs",
                    f"/api/v1/history?node=bench&metric={SEVERAL}&{several}",
                ),
                ("the node", f"/api/v1/history?group_by=node&metric=power_watts&{where}"),
                ("top 10", f"/api/v1/top?metric=power_watts&{where.split('&points')[0]}"),
            ):
                _time(connection, f"{name}, {label}", quote(path, safe="/?&=,"))
        connection.close()
        hub.terminate(30)


def wait_ready(port: int, hub: Child) -> None:
    """Until the hub takes samples; BenchFailed: it does not."""
    for _ in range(int(START_SECONDS / 0.1)):
        hub.check()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            return
        time.sleep(0.1)
    raise BenchFailed(f"the hub is not ready after {START_SECONDS:g} s")


def _time(connection: http.client.HTTPConnection, label: str, path: str) -> None:
    times = []
    body = b""
    for _ in range(REPEATS):
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        times.append(time.perf_counter() - began)
        if answer.status != 200:
            raise BenchFailed(f"{path} answered {answer.status}: {body[:300].decode()}")
    document = orjson.loads(body)
    told = f"{len(body) / 1000:.0f} kB"
    if "step_seconds" in document:
        told += f", buckets of {document['step_seconds']:g} s"
    print(
        f"HTTP {label}: median {statistics.median(times) * 1e3:.1f} ms, worst "
        f"{max(times) * 1e3:.1f} ms ({told})"
    )
