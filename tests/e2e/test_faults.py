"""GPUs that are lost, hang or may not be read, through the real pynvml on the fake driver."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gpufleet.hub.store import registry
from gpufleet.hub.store.codec import decode_chunk
from gpufleet.hub.store.database import open_database
from gpufleet.hub.store.tables import samples
from support import fake_gpus
from support.fake_driver import FakeDriver, missing
from support.fleet_processes import FleetProcesses
from support.places import url_in
from support.processes import wait_for

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def _folder(home: Path) -> Path:
    folder = home / "driver"
    folder.mkdir()
    return folder


def _ticks(home: Path) -> dict[str, list[int]]:
    """Stored ticks by GPU."""
    database = open_database(url_in(home / "hub"))
    found: dict[str, list[int]] = {}
    try:
        with database.reading() as connection:
            keys = {s.id: s.key for s in registry.load_subjects(connection) if s.kind == "gpu"}
            for row in connection.execute(select(samples).order_by(samples.c.start)):
                if row.subject_id in keys:
                    ticks = decode_chunk(row.data).ticks.tolist()
                    found.setdefault(keys[row.subject_id], []).extend(ticks)
    finally:
        database.close()
    return found


def _faults(fleet: FleetProcesses, node: str) -> dict[int, str]:
    return {i: row["fault"] for i, row in fleet.gpus(node).items() if row["fault"]}


def test_three_sick_gpus_are_visible_within_5_seconds_and_the_others_miss_no_tick(
    tmp_path: Path,
) -> None:
    driver = FakeDriver(_folder(tmp_path), fake_gpus.fleet(fake_gpus.lively_h100, 6))
    driver.fail("gpu.3.handle", 4)
    with FleetProcesses(tmp_path) as fleet:
        fleet.start_hub()
        fleet.start_agent("n", "--method", "nvml", extra=driver.env())
        wait_for(lambda: _faults(fleet, "n") == {3: "no_permission"}, 30, "six GPUs")
        time.sleep(3)
        begun = time.monotonic()
        driver.fail("gpu.1.*", 15)
        driver.hang(2)
        wanted = {1: "lost", 2: "hung", 3: "no_permission"}
        wait_for(lambda: _faults(fleet, "n") == wanted, 5, "the faults in REST")
        metrics = fleet.get("/metrics")
        for index, state in wanted.items():
            pattern = rf'gpufleet_gpu_fault{{[^}}]*gpu="{index}"[^}}]*state="{state}"[^}}]*}} 1'
            assert re.search(pattern, metrics), f"GPU {index} is {state} in /metrics"
        kinds = {"gpu_lost", "gpu_hung", "gpu_no_permission"}
        wait_for(lambda: kinds <= {e["kind"] for e in fleet.events()}, 5, "the faults as events")
        print(f"all three visible everywhere after {time.monotonic() - begun:.1f} s")
        lost = fleet.gpus("n")[1]
        assert lost["health_state"] == "critical"
        time.sleep(6)
        driver.unhang(2)
        driver.unset("gpu.1.*")
        driver.unset("gpu.3.handle")
        wait_for(lambda: _faults(fleet, "n") == {}, 60, "all well again")
        time.sleep(2)
        agent = fleet.agents["n"]
        agent.terminate()
        assert agent.wait(30) == 0
        fleet.stop_hub()
    ticks = _ticks(tmp_path)
    assert set(ticks) == {fake_gpus.uuid(index) for index in range(6)}
    for index in (0, 4, 5):
        well = ticks[fake_gpus.uuid(index)]
        steps = {after - before for before, after in itertools.pairwise(well)}
        assert steps == {1000}, f"GPU {index} missed a tick"
    for index in (1, 2, 3):
        sick = ticks[fake_gpus.uuid(index)]
        assert len(sick) < len(ticks[fake_gpus.uuid(0)]), f"GPU {index} had no samples meanwhile"


def test_while_the_whole_driver_hangs_the_stream_lives_and_says_since_when(tmp_path: Path) -> None:
    driver = FakeDriver(_folder(tmp_path), fake_gpus.fleet(fake_gpus.lively_h100, 2))
    with FleetProcesses(tmp_path) as fleet:
        fleet.start_hub()
        fleet.start_agent("n", "--method", "nvml", extra=driver.env())
        wait_for(lambda: len(fleet.gpus("n")) == 2, 30, "two GPUs")
        driver.hang()
        node = wait_for(lambda: _hung(fleet), 15, "the node says that its collector hangs")
        assert node["up"], "the stream lives"
        wait_for(lambda: "collector_hung" in {e["kind"] for e in fleet.events()}, 10)
        time.sleep(6)
        row = fleet.gpus("n")[0]
        assert row["stale"]
        assert row["temperature_celsius"] is None, "what was read long ago is not shown as current"
        assert fleet.get("/api/v1/nodes/n")["up"]
        assert "collector_hung_since" in fleet.get("/metrics")
        driver.unhang()
        wait_for(lambda: not _hung(fleet), 60, "it works again")
        wait_for(lambda: fleet.gpus("n")[0]["temperature_celsius"] is not None, 30)


def _hung(fleet: FleetProcesses) -> dict[str, Any] | None:
    node: dict[str, Any] = fleet.get("/api/v1/nodes/n")
    return node if node["collector_hung_since"] else None


def test_a_gpu_that_supports_nothing_is_null_in_json_absent_in_sql_and_has_no_line(
    tmp_path: Path,
) -> None:
    driver = FakeDriver(_folder(tmp_path), [fake_gpus.bare(0)])
    with FleetProcesses(tmp_path) as fleet:
        fleet.start_hub()
        fleet.start_agent("n", "--method", "nvml", extra=driver.env())
        wait_for(lambda: len(fleet.gpus("n")) == 1, 30, "one GPU")
        wait_for(lambda: not fleet.gpus("n")[0]["stale"], 30, "a first sample")
        dynamic = fleet.get(f"/gpu/{fake_gpus.uuid(0)}")["dynamic"]
        answered = {name for name, value in dynamic.items() if value not in (None, [])}
        assert answered == set(), "every metric is null"
        lines = fleet.get("/metrics").splitlines()
        values = [
            line
            for line in lines
            if line.startswith("gpufleet_gpu_")
            and not re.match(r"gpufleet_gpu_(up|info|health|health_state|fault\w*){", line)
        ]
        assert values == []
        fleet.agents["n"].terminate()
        fleet.agents["n"].wait(30)
        fleet.stop_hub()
    database = open_database(url_in(tmp_path / "hub"))
    try:
        with database.reading() as connection:
            keys = {s.id: s.kind for s in registry.load_subjects(connection)}
            chunks = [
                decode_chunk(row.data)
                for row in connection.execute(select(samples))
                if keys[row.subject_id] == "gpu"
            ]
    finally:
        database.close()
    assert chunks, "it answered, so its ticks are kept"
    assert all(not chunk.columns for chunk in chunks)
