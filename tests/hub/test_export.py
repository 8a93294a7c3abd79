"""Exports: what is stored, whole and once, through REST and the command line, in little memory."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest
from fastapi import FastAPI

from gpufleet.cli.main import main
from gpufleet.hub.store.chunk import Chunk, Column
from gpufleet.hub.store.codec import encode_chunk
from gpufleet.hub.store.database import Database, open_database
from gpufleet.hub.store.merge import merge_some
from gpufleet.hub.store.tables import HOUR_MS, samples
from gpufleet.proto.catalog import BY_NAME
from support.http_client import serving
from support.stored import HOUR
from support.stored_hub import StoredFleet, StoredHub, stored_hub

RANGE = f"start={HOUR // 1000}&end={HOUR // 1000 + 7200}"
TICKS = HOUR + 1000 * np.arange(0, 7200, 7)


@pytest.fixture
def hub(database: Database) -> Iterator[StoredHub]:
    """Two hours of two GPUs; one is merged into an hour's chunk, one not."""
    fleet = StoredFleet(database)
    fleet.node("a", 1)
    fleet.node("=b", 1)
    for place, uuid in enumerate(fleet.ids):
        fleet.samples(
            uuid,
            TICKS,
            power_watts=100_000 + place + TICKS // 1000 % 997,
            memory_used_bytes=TICKS,
            memory_total_bytes=2 * TICKS,
            throttle_reasons=np.where(TICKS % 2000 == 0, 0x24, 0),
        )
    merge_some(database, HOUR + HOUR_MS + 600_000)
    with stored_hub(fleet) as made:
        yield made


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_sample_is_exported_once_in_order(hub: StoredHub) -> None:
    response = hub.get(f"/api/v1/export?{RANGE}")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    found = rows(response.text)
    assert len(found) == 2 * len(TICKS)
    assert [row["node"] for row in found] == ["'=b"] * len(TICKS) + ["a"] * len(TICKS)
    own = found[len(TICKS) :]
    seconds = TICKS // 1000
    power = [(100_000 + int(s) % 997) / 1000 for s in seconds]
    assert [float(row["power_watts"]) for row in own] == power
    assert [int(row["memory_used_bytes"]) for row in own] == TICKS.tolist()
    assert {row["memory_used_ratio"] for row in own} == {"0.5"}
    assert {row["temperature_celsius"] for row in own} == {""}
    assert own[0]["time"] == "2023-11-14T22:00:00Z"
    assert own[0]["throttle_reasons"] == "sw_power_cap sw_thermal_slowdown"


def test_lines_of_json_hold_what_is_there(hub: StoredHub) -> None:
    response = hub.get(
        f"/api/v1/export?format=jsonl&gpu=GPU-a-0&metric=power_watts,temperature_celsius&{RANGE}"
    )
    found = [orjson.loads(line) for line in response.text.splitlines()]
    assert len(found) == len(TICKS)
    assert found[0] == {
        "time": "2023-11-14T22:00:00Z",
        "node": "a",
        "gpu_uuid": "GPU-a-0",
        "gpu": 0,
        "power_watts": (100_000 + int(TICKS[0]) // 1000 % 997) / 1000,
    }


@pytest.mark.parametrize(("resolution", "count"), [("minutes", 120), ("hours", 2)])
def test_minutes_and_hours_are_exported_with_their_parts(
    hub: StoredHub, resolution: str, count: int
) -> None:
    path = f"/api/v1/export?resolution={resolution}&node=a&metric=power_watts&{RANGE}"
    found = rows(hub.get(path).text)
    assert list(found[0])[4:] == [f"power_watts_{part}" for part in ("n", "avg", "min", "max")]
    if resolution == "minutes":
        assert len(found) == count
    assert sum(int(row["power_watts_n"]) for row in found) == len(TICKS)
    assert float(found[0]["power_watts_min"]) <= float(found[0]["power_watts_avg"])


BAD = [
    ("start=now&end=-1h", 400, "The range is empty"),
    ("start=0", 400, "longer than 800 days"),
    ("metric=health", 400, "There are no samples of a metric 'health'"),
    ("metric=powr", 400, "There are no samples of a metric 'powr'"),
    ("metric=clock_memory_hertz&resolution=hours", 400, "There are no hours of a metric"),
    ("gpu=GPU-x", 400, "There is no GPU 'GPU-x' in the database"),
    ("node=x", 400, "There is no node 'x'"),
    ("format=xml", 422, "format"),
    ("resolution=days", 422, "resolution"),
]


def test_bad_questions_get_a_sentence_before_anything_is_sent(hub: StoredHub) -> None:
    for query, status, part in BAD:
        assert part in hub.sentence(f"/api/v1/export?{query}", status)
    assert hub.app.state.desk.exports == 0


def test_only_so_many_exports_go_on_at_once(hub: StoredHub) -> None:
    hub.app.state.desk.exports = 4
    response = hub.get("/api/v1/export")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "30"


def test_the_command_writes_the_same_from_the_hub_and_from_the_database(
    hub: StoredHub, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    span = ["--start", str(HOUR // 1000), "--end", str(HOUR // 1000 + 7200)]

    async def ask(app: FastAPI) -> tuple[int, int]:
        async with serving(app) as url:
            command = [sys.executable, "-m", "gpufleet.cli", "export", "--hub", url, *span]
            paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            from asyncio import create_subprocess_exec

            done = await create_subprocess_exec(
                *command, "--output", str(tmp_path / "hub.csv"), env=paths
            )
            bad = await create_subprocess_exec(
                *command, "--metric", "powr", stderr=subprocess.PIPE, env=paths
            )
            _, said = await bad.communicate()
            assert b"There are no samples of a metric 'powr'" in said
            return await done.wait(), bad.returncode or 0

    assert hub.loop.run_until_complete(ask(hub.app)) == (0, 1)
    url = database_url
    file = tmp_path / "database.csv"
    assert main(["export", "--database", url, *span, "--output", str(file)]) == 0
    assert file.read_bytes() == (tmp_path / "hub.csv").read_bytes()
    assert len(rows(file.read_text())) == 2 * len(TICKS)
    for flags, part in (
        (["--database", f"sqlite:///{tmp_path}/none.db"], "There is no database at"),
        (["--database", url, "--start", "x"], "'x' is not a time"),
        (["--database", url, "--gpu", "GPU-x"], "There is no GPU 'GPU-x'"),
        (["--hub", "ftp://x"], "is no hub's address"),
        (["--hub", "http://127.0.0.1:1"], "does not answer"),
    ):
        assert main(["export", *flags]) == 1
        assert part in capsys.readouterr().err


DAYS = 3
LIMIT_MIB = 100
MEASURED = """
import re, sys
from gpufleet.cli.main import main
status = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
sys.exit(status)
"""


def test_a_long_export_takes_little_memory(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'long.db'}"
    database = open_database(url)
    fleet = StoredFleet(database)
    fleet.node("n", 1)
    names = [name for name, m in BY_NAME.items() if m.id < 60][:30]
    random = np.random.default_rng(1).integers(0, 1000, 3600)
    columns = {BY_NAME[name].id: Column(random + place, None) for place, name in enumerate(names)}
    (subject,) = fleet.ids.values()
    step = 1000
    with database.writing() as connection:
        for hour in range(24 * DAYS):
            start = HOUR + hour * HOUR_MS
            ticks = start + step * np.arange(HOUR_MS // step)
            short = {m: Column(c.values[: len(ticks)], None) for m, c in columns.items()}
            made = encode_chunk(Chunk(ticks, dict(sorted(short.items()))))
            connection.execute(
                samples.insert(),
                {
                    "subject_id": subject,
                    "start": start,
                    "span_ms": HOUR_MS,
                    "count": made.count,
                    "data": made.data,
                },
            )
    database.close()
    flags = [
        *("export", "--database", url, "--output", str(tmp_path / "long.csv")),
        *("--start", str(HOUR // 1000), "--end", str(HOUR // 1000 + DAYS * 86_400)),
        *(part for name in names for part in ("--metric", name)),
    ]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *flags],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    with (tmp_path / "long.csv").open("rb") as file:
        assert sum(1 for _ in file) == 1 + DAYS * 86_400_000 // step
    size = (tmp_path / "long.csv").stat().st_size >> 20
    most = int(done.stdout) >> 10
    print(f"{most} MiB at most for {size} MiB of CSV")
    assert size > 40, "as objects more than would fit"
    assert most < LIMIT_MIB
