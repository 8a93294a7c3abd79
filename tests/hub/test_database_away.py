"""A PostgreSQL that goes away under questions over HTTP: a sentence each, and the hub goes on."""

from __future__ import annotations

import http.client
import logging
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pytest

from gpufleet.cli.main import main
from gpufleet.hub.store.chunk import Chunk, Column
from gpufleet.hub.store.codec import encode_chunk
from gpufleet.hub.store.database import Database, open_database
from gpufleet.hub.store.tables import HOUR_MS, samples
from gpufleet.proto.catalog import Source, SubjectKind, metrics
from support.http_server import HttpServer, http_server
from support.postgres_cluster import Cluster
from support.processes import command, environment
from support.stored import HOUR
from support.stored_hub import StoredFleet, stored_hub

pytestmark = pytest.mark.own_database

HOURS = 16
CALL_SECONDS = 2.0
RANGE = f"start={HOUR // 1000}&end={HOUR // 1000 + HOURS * 3600}"
EXPORT = f"/api/v1/export?metric=power_watts&{RANGE}"
STORED = [
    f"/api/v1/gpus/GPU-a-0/history?metric=power_watts&{RANGE}",
    f"/api/v1/nodes/a/history?metric=host_load1&{RANGE}",
    f"/api/v1/history?node=a&metric=power_watts&{RANGE}",
    f"/api/v1/history?group_by=fleet&metric=power_watts&{RANGE}",
    f"/api/v1/top?metric=power_watts&{RANGE}",
    f"/api/v1/usage?by=user&{RANGE}",
    EXPORT,
    "/api/v1/events",
    "/api/v1/gpus/GPU-a-0/events",
]
LIVE = ["/api/v1/fleet", "/api/v1/gpus", "/api/v1/nodes/a", "/gpu/list", "/metrics", "/healthz"]


@dataclass(frozen=True, slots=True)
class Served:
    """A hub over HTTP, and the server that its database is on."""

    cluster: Cluster
    http: HttpServer


def _fill(database: Database, subject: int) -> None:
    """Hours at 1 s of every metric, more text than fits between a hub and a slow reader."""
    ticks = 1000 * np.arange(3600)
    noise = Column(np.random.default_rng(1).integers(0, 1000, 3600), None)
    ids = sorted(m.id for m in metrics(SubjectKind.GPU) if m.source is Source.AGENT)
    with database.writing() as connection:
        for start in range(HOUR, HOUR + HOURS * HOUR_MS, HOUR_MS):
            made = encode_chunk(Chunk(start + ticks, dict.fromkeys(ids, noise)))
            row = {
                "subject_id": subject,
                "start": start,
                "span_ms": HOUR_MS,
                "count": made.count,
                "data": made.data,
            }
            connection.execute(samples.insert(), row)


@pytest.fixture
def served(postgres: Cluster, postgres_url: str) -> Iterator[Served]:
    database = open_database(postgres_url, call_seconds=CALL_SECONDS)
    fleet = StoredFleet(database)
    fleet.node("a", 1)
    _fill(database, fleet.ids["GPU-a-0"])
    try:
        with stored_hub(fleet) as hub, http_server(hub.app, hub.loop) as http:
            yield Served(postgres, http)
    finally:
        _back(postgres, "frozen" if (postgres.data / "postmaster.pid").exists() else "ended")
        database.close()


def _leave(cluster: Cluster, how: str) -> None:
    if how == "ended":
        cluster.stop()
    else:
        cluster.freeze()


def _back(cluster: Cluster, how: str) -> None:
    if how == "ended":
        cluster.start()
    else:
        cluster.wake()


@pytest.mark.parametrize("how", ["ended", "frozen"])
def test_questions_for_what_is_stored_get_a_sentence_while_the_database_is_away(
    served: Served, how: str
) -> None:
    assert {path: served.http.get(path)[0] for path in STORED} == dict.fromkeys(STORED, 200)
    _leave(served.cluster, how)
    for path in STORED if how == "ended" else STORED[:1]:
        status, headers, body = served.http.get(path)
        assert (status, headers["retry-after"]) == (503, "5"), path
        detail = orjson.loads(body)["detail"]
        assert detail.startswith("The hub cannot read postgresql+psycopg://"), detail
        assert "\n" not in detail
    assert {path: served.http.get(path)[0] for path in LIVE} == dict.fromkeys(LIVE, 200)
    _back(served.cluster, how)
    assert {path: served.http.get(path)[0] for path in STORED} == dict.fromkeys(STORED, 200)


@pytest.mark.parametrize("how", ["ended", "frozen"])
def test_an_export_under_way_breaks_off_and_is_told_from_a_whole_one(
    served: Served, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with closing(served.http.connection()) as connection:
        connection.request("GET", f"/api/v1/export?{RANGE}")
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(answer.read(1000)) == 1000
        _leave(served.cluster, how)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    [said] = [r.getMessage() for r in caplog.records if r.name.startswith("gpufleet")]
    assert said.startswith('export broken off reason="The hub cannot read postgresql+psycopg://')
    assert not [r for r in caplog.records if r.exc_info]
    _back(served.cluster, how)
    status, _, body = served.http.get(EXPORT)
    assert status == 200
    assert body.count(b"\n") == 1 + HOURS * 3600


def test_the_command_says_that_its_export_broke_off(served: Served) -> None:
    times = ["--start", str(HOUR // 1000), "--end", str(HOUR // 1000 + HOURS * 3600)]
    with subprocess.Popen(
        command("export", "--hub", served.http.url, *times),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as export:
        assert export.stdout is not None
        assert len(export.stdout.read(1000)) == 1000
        _leave(served.cluster, "ended")
        rest, said = export.communicate(timeout=60)
    assert export.returncode == 1
    assert rest.count(b"\n") < HOURS * 3600
    assert b"the answer broke off." in said


def test_the_command_says_that_there_is_no_export(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.cluster.stop()
    where = tmp_path / "out.csv"
    words = ["export", "--hub", served.http.url, "--start", "-1h", "--output", str(where)]
    assert main(words) == 1
    assert "gpufleet export: The hub cannot read postgresql" in capsys.readouterr().err
