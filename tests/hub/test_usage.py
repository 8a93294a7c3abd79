"""Who held which GPU: what is counted, what is not, and that it is counted once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gpufleet.cli.main import main
from gpufleet.cli.usage import table
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.retention import Retention, Sweeper
from gpufleet.hub.store.usage import UsageBy, query_usage, write_usage
from gpufleet.hub.usage import MAX_ENTRIES, MAX_HOLDERS, MAX_ROWS, Reading, UsageMeter, UsageRow
from gpufleet.hub.views import ProcessView
from gpufleet.proto import telemetry_pb2 as pb
from support.processes import wait_for
from support.raw_agent import raw_agent
from support.small_hub import small_hub
from support.stored import HOUR
from support.stored_hub import StoredFleet, stored_hub

HOUR_MS = 3_600_000
BUSY = Reading(7, 0.5, 300.0)
GIB = 1 << 30


def process(user: str | None = "ann", **more: Any) -> ProcessView:
    fields: dict[str, Any] = {
        "gpu": "GPU-1",
        "pid": 1,
        "type": "C",
        "start_ms": HOUR - HOUR_MS,
        "user": user,
        "program": "python",
        "memory_bytes": GIB,
        "utilization_ratio": None,
        "container": None,
        "pod": None,
        "job": None,
        "arguments": None,
    }
    return ProcessView(**{**fields, **more})


def metered(
    *lists: tuple[int, Sequence[ProcessView]],
    reading: Reading = BUSY,
    run: int = 1,
    node_id: int = 1,
) -> list[UsageRow]:
    """Rows after lists at these seconds of the hour, the first being the one before all."""
    meter = UsageMeter(run)
    before = HOUR
    for second, processes in lists:
        now = HOUR + second * 1000
        meter.note(node_id, before, now, [(reading, processes)], now)
        before = now
    return meter.changed(before, everything=True)


def test_a_sole_holder_has_the_gpus_time_use_and_energy() -> None:
    [row] = metered((5, [process()]), (10, [process(memory_bytes=3 * GIB)]), (15, [process()]))
    assert (row.subject_id, row.start, row.user_name, row.job) == (7, HOUR, "ann", "")
    assert (row.held_seconds, row.used_seconds, row.measured_seconds) == (15, 7.5, 15)
    assert (row.energy_joules, row.memory_bytes) == (4500, 3 * GIB)


def test_processes_of_one_user_and_job_are_one_holder() -> None:
    [row] = metered((5, [process(), process(pid=2)]))
    assert (row.held_seconds, row.memory_bytes) == (5, 2 * GIB)


def test_a_shared_gpu_is_shared_out_and_its_energy_is_nobodys() -> None:
    rows = metered((6, [process(), process("bob", pid=2), process("bob", pid=3, job="4711")]))
    assert [(r.user_name, r.job, r.held_seconds) for r in rows] == [
        ("ann", "", 2),
        ("bob", "", 2),
        ("bob", "4711", 2),
    ]
    assert {(r.used_seconds, r.energy_joules, r.measured_seconds) for r in rows} == {
        (None, None, 0)
    }


def test_of_a_shared_gpu_each_processes_use_counts_where_the_driver_tells_it() -> None:
    rows = metered(
        (10, [process(utilization_ratio=0.3), process("bob", utilization_ratio=0.6, pid=2)])
    )
    assert [(r.user_name, r.used_seconds) for r in rows] == [("ann", 3), ("bob", 6)]


def test_what_is_not_known_is_not_zero() -> None:
    [row] = metered((5, [process(None, memory_bytes=None)]), reading=Reading(7, None, None))
    assert row.user_name == ""
    assert (row.held_seconds, row.measured_seconds) == (5, 0)
    assert (row.used_seconds, row.energy_joules, row.memory_bytes) == (None, None, None)


def test_time_counts_from_the_processes_start_and_in_its_own_hour() -> None:
    [row] = metered((5, [process(start_ms=HOUR + 3000)]))
    assert row.held_seconds == 2
    late = metered((3599, []), (3603, [process()]))
    assert [(r.start, r.held_seconds) for r in late] == [(HOUR, 1), (HOUR + HOUR_MS, 3)]


def test_a_list_that_comes_again_or_from_another_time_is_not_counted() -> None:
    meter = UsageMeter(1)
    for before, moment, now in (
        (HOUR, HOUR, HOUR),
        (HOUR, HOUR - 5000, HOUR),
        (HOUR, HOUR + 5000, HOUR + 2 * HOUR_MS),
    ):
        meter.note(1, before, moment, [(BUSY, [process()])], now)
    assert meter.changed(HOUR, everything=True) == []


def test_rows_are_due_once_a_minute_and_again_when_the_write_failed() -> None:
    meter = UsageMeter(1)
    meter.note(1, HOUR, HOUR + 5000, [(BUSY, [process()])], HOUR + 5000)
    [first] = meter.changed(HOUR + 5000)
    assert meter.changed(HOUR + 6000) == []
    meter.not_saved([first])
    assert meter.changed(HOUR + 7000) == [first]
    meter.note(1, HOUR + 5000, HOUR + 9000, [(BUSY, [process()])], HOUR + 9000)
    assert meter.changed(HOUR + 10_000) == []
    [second] = meter.changed(HOUR + 70_000)
    assert (first.held_seconds, second.held_seconds) == (5, 9)


def test_a_large_fleets_rows_are_due_in_pieces_each_once_in_a_minute() -> None:
    meter = UsageMeter(1)
    gpus = [(Reading(n, 0.5, 300.0), [process()]) for n in range(2 * MAX_ROWS + 10)]
    meter.note(1, HOUR, HOUR + 5000, gpus, HOUR + 5000)
    pieces = [meter.changed(HOUR + second * 1000) for second in range(5, 10)]
    assert [len(piece) for piece in pieces] == [MAX_ROWS, MAX_ROWS, 10, 0, 0]
    assert len({row.subject_id for piece in pieces for row in piece}) == len(gpus)
    meter.note(1, HOUR + 5000, HOUR + 10_000, gpus, HOUR + 10_000)
    meter.changed(HOUR + 66_000)
    meter.note(1, HOUR + 10_000, HOUR + 67_000, gpus, HOUR + 67_000)
    assert len(meter.changed(HOUR + 67_000)) == MAX_ROWS, "what was left goes before what is new"
    assert len(meter.changed(HOUR + 68_000, everything=True)) == MAX_ROWS + 10


def test_hours_that_are_written_are_forgotten() -> None:
    meter = UsageMeter(1)
    meter.note(1, HOUR, HOUR + 5000, [(BUSY, [process()])], HOUR + 5000)
    later = HOUR + 3 * HOUR_MS
    meter.saved(later)
    assert len(meter.changed(later)) == 1
    assert meter.entries == 1
    meter.saved(later)
    assert meter.entries == 0
    meter.note(1, later, later + 5000, [(BUSY, [process()])], later + 5000)
    assert [row.start for row in meter.changed(later, everything=True)] == [later]


def test_holders_of_a_whole_fleet_are_bounded() -> None:
    meter = UsageMeter(1)
    jobs = [process(f"u{i}", pid=i) for i in range(MAX_HOLDERS)]
    full = MAX_ENTRIES // MAX_HOLDERS
    gpus = [(Reading(n, 0.5, 300.0), jobs) for n in range(full + 3)]
    meter.note(1, HOUR, HOUR + 256_000, gpus, HOUR + 256_000)
    assert meter.entries <= MAX_ENTRIES + 3
    rows = meter.changed(HOUR + 256_000, everything=True)
    assert {row.user_name for row in rows if row.subject_id > full} == {""}
    assert sum(row.held_seconds for row in rows) == pytest.approx(256 * len(gpus), rel=1e-3)


def test_users_without_end_are_counted_together() -> None:
    rows = metered((1000, [process(f"u{i}", pid=i) for i in range(MAX_HOLDERS + 50)]))
    assert len(rows) == MAX_HOLDERS + 1
    assert sum(row.held_seconds for row in rows) == pytest.approx(1000, abs=1)


def test_usage_is_summed_up_by_user_job_and_node_over_runs(database: Database) -> None:
    fleet = StoredFleet(database)
    fleet.node("n1", 1)
    fleet.node("n2", 1)
    first, second = fleet.ids.values()
    n1 = fleet.nodes["n1"]
    lists = [(10, [process(job="42"), process("bob", pid=2)])]
    rows = [
        *metered(*lists, reading=Reading(first, 0.5, 300.0), run=1, node_id=n1),
        *metered((10, [process(job="42")]), reading=Reading(first, 1.0, 400.0), run=2, node_id=n1),
    ]
    with database.writing() as connection:
        write_usage(connection, [*rows, *_on(second, fleet.nodes["n2"])])
    with database.writing() as connection:
        write_usage(connection, rows)  # a commit whose answer was lost is repeated
    with stored_hub(fleet) as hub:
        span = f"start={HOUR // 1000}&end={HOUR // 1000 + 60}"
        users = hub.document(f"/api/v1/usage?by=user&{span}")
        jobs = hub.document(f"/api/v1/usage?by=job&{span}")
        nodes = hub.document(f"/api/v1/usage?by=node&{span}")
        of_node = hub.document(f"/api/v1/usage?by=user&node=n2&{span}")
        assert "There is no node" in hub.sentence("/api/v1/usage?node=n3", 404)
        assert hub.sentence("/api/v1/usage?by=gpu", 422)
        assert "longer than 800 days" in hub.sentence("/api/v1/usage?start=0", 400)
    held = {row["name"]: row["held_gpu_seconds"] for row in users["usage"]}
    assert held == {"ann": 15, "bob": 5, "eve": 30}
    assert [row["name"] for row in users["usage"]] == ["eve", "ann", "bob"]
    ann = users["usage"][1]
    assert (ann["used_gpu_seconds"], ann["measured_gpu_seconds"]) == (10, 10)
    assert (ann["energy_joules"], ann["memory_peak_bytes"]) == (4000, GIB)
    assert {row["name"]: row["held_gpu_seconds"] for row in jobs["usage"]} == {"42": 15, None: 35}
    assert {row["name"]: row["users"] for row in nodes["usage"]} == {"n1": 2, "n2": 1}
    assert [row["name"] for row in of_node["usage"]] == ["eve"]
    assert (users["start"], users["end"]) == (
        users["start"],
        users["start"][:11] + f"{int(users['start'][11:13]) + 1:02}:00:00Z",
    )


def _on(subject_id: int, node_id: int) -> list[UsageRow]:
    return [UsageRow(subject_id, HOUR, node_id, 1, "eve", "", 30.0, 0.0, None, None, None)]


def test_usage_is_forgotten_with_the_hours(database: Database) -> None:
    fleet = StoredFleet(database)
    fleet.node("n1", 1)
    (subject,) = fleet.ids.values()
    with database.writing() as connection:
        write_usage(connection, _on(subject, fleet.nodes["n1"]))
    for now, left in ((HOUR + HOUR_MS, 1), (HOUR + 800 * 24 * HOUR_MS, 0)):
        sweeper = Sweeper(database, Retention())
        while sweeper.step(now):
            pass
        with database.reading() as connection:
            assert len(query_usage(connection, UsageBy.USER, HOUR, HOUR + 1)) == left


def test_lists_of_processes_that_agents_send_become_usage(tmp_path: Path) -> None:
    now = time.time_ns() // 1_000_000
    with small_hub(tmp_path) as hub, raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a", "GPU-b")
        said = pb.Process(subject_key="GPU-a", pid=1, user="a\0nn", job="7", memory_bytes=GIB)
        for at in (now - 500, now, now, now + 4500, now + 400_000):
            agent.say(processes=pb.Processes(time_ms=at, processes=[said]))
        agent.tick(1, now // 1000 * 1000, (71, 250_000), (71, 250_000))
        wait_for(lambda: hub.core.fleet.processes_time_ms.get("n") == now + 400_000)
        assert hub.flush()
        with hub.database.reading() as connection:
            [row] = query_usage(connection, UsageBy.USER, now, now + HOUR_MS)
        assert (row.name, row.gpus, row.memory_peak_bytes) == ("a nn", 1, GIB)
        assert row.held_seconds == 5 + 15, "of a long silence no more than three lists' time"


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "name": None,
        "users": 1,
        "gpus": 8,
        "held_gpu_seconds": 7200.0,
        "measured_gpu_seconds": 3600.0,
        "used_gpu_seconds": 1800.0,
        "held_mig_seconds": 0.0,
        "energy_joules": None,
        "memory_peak_bytes": 3 * GIB,
    }
    assert [" ".join(line.split()) for line in table("user", [{**row, "name": "ann"}])] == [
        "user GPUs held GPU-h used GPU-h used energy kWh peak memory GiB",
        "ann 8 2.00 0.50 50% - 3.0",
    ]
    assert table("job", [row])[1].startswith("(not known)")
    assert table("user", []) == ["Nobody held a GPU in this time."]
    assert main(["usage", "--hub", "http://127.0.0.1:1"]) == 1
    assert "does not answer" in capsys.readouterr().err
