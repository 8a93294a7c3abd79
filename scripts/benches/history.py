"""history: days of GPUs at 1 s through the ordinary writes, with time sped up, then read back.

Minute after minute is flushed, hours are merged and what is old is forgotten, as a hub does it.
Prints what it cost, the size on disk by table, and how long questions over 1 h to 2 y take over
HTTP, of a hub started on that database. Exit status 1 when the last day read back differs from
numpy on the same buckets, or the database is larger than ``--max-bytes``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.exc import OperationalError

from benches.children import BenchFailed
from benches.history_http import ask_hub
from gpufleet.hub.store.database import Database, migrate, open_database
from gpufleet.hub.store.grid import minute_chunks
from gpufleet.hub.store.history import Request, query_history
from gpufleet.hub.store.merge import GRACE_MS
from gpufleet.hub.store.registry import NodeFacts, SubjectFacts, register_nodes, register_subjects
from gpufleet.hub.store.retention import Retention, stored_bytes
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS
from gpufleet.hub.store.upkeep import Upkeep
from gpufleet.hub.store.write import NodeFlush, write_flushes
from gpufleet.proto.catalog import BY_NAME, Kind

DAY_MS = 24 * HOUR_MS
DAY_SECONDS = 86_400
REPEATS = 20
POWER = BY_NAME["power_watts"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench history", description=__doc__)
    parser.add_argument("--days", type=int, default=30, help="days that are written (30)")
    parser.add_argument("--gpus", type=int, default=8, help="GPUs of the one node (8)")
    parser.add_argument("--points", type=int, default=500, help="points at most (500)")
    parser.add_argument("--max-bytes", type=int, help="bound of the whole database (none)")
    parser.add_argument("--database", help="URL of an empty database (a temporary SQLite file)")
    args = parser.parse_args()
    if not 1 <= args.days <= 400 or not 1 <= args.gpus <= 16 or not 1 <= args.points <= 20_000:
        parser.error("1 to 400 days of 1 to 16 GPUs can be written, and read as 1 to 20000 points")
    args.start_ms = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS - args.days * DAY_MS
    return args


COLUMNS = (
    "utilization_ratio",
    "memory_controller_utilization_ratio",
    "encoder_utilization_ratio",
    "decoder_utilization_ratio",
    "memory_used_bytes",
    "memory_free_bytes",
    "memory_reserved_bytes",
    "memory_total_bytes",
    "temperature_celsius",
    "memory_temperature_celsius",
    "power_watts",
    "power_average_watts",
    "power_limit_watts",
    "energy_joules_total",
    "clock_graphics_hertz",
    "clock_sm_hertz",
    "clock_memory_hertz",
    "clock_video_hertz",
    "performance_state",
    "pcie_link_generation",
    "pcie_link_width",
    "pcie_replay_total",
    "ecc_corrected_volatile_total",
    "ecc_uncorrected_volatile_total",
    "remapped_rows_pending",
    "remapped_rows_failed",
    "recovery_action",
    "throttle_reasons",
    "throttle_thermal_seconds_total",
    "throttle_power_seconds_total",
)


def training(count: int, seed: int = 1) -> NDArray[np.int64]:
    """(count, columns) scaled integers of a GPU that trains, noise included."""
    rng = np.random.default_rng(seed)
    wave = 0.94 + 0.03 * np.sin(np.arange(count) / 70) + rng.normal(0, 0.02, count)
    load = np.clip(np.where(np.arange(count) % 97 < 6, wave * 0.3, wave), 0, 1)
    power = np.round(120_000 + 550_000 * load + rng.normal(0, 6_000, count))
    smooth = np.ones(20) / 20
    used = 71_234_567_168 + 2_097_152 * np.cumsum(rng.random(count) < 0.02)
    clock = 1980 - 15 * np.round((load > 0.9) * rng.integers(0, 5, count))
    capped = load > 0.93
    values: dict[str, object] = {
        "utilization_ratio": np.round(load * 100) * 10,
        "memory_controller_utilization_ratio": np.round(load * 60) * 10,
        "memory_used_bytes": used,
        "memory_free_bytes": 85_020_809_984 - used,
        "memory_reserved_bytes": 500_000_000,
        "memory_total_bytes": 85_520_809_984,
        "temperature_celsius": np.round(np.convolve(power / 12_000 + 20, smooth)[:count]),
        "memory_temperature_celsius": np.round(np.convolve(power / 11_000 + 26, smooth)[:count]),
        "power_watts": power,
        "power_average_watts": np.round(np.convolve(power, np.ones(2) / 2)[:count]),
        "power_limit_watts": 700_000,
        "energy_joules_total": 9_000_000_000_000 + np.cumsum(power),
        "clock_graphics_hertz": clock,
        "clock_sm_hertz": clock,
        "clock_memory_hertz": 2619,
        "clock_video_hertz": 1545,
        "pcie_link_generation": 5,
        "pcie_link_width": 16,
        "throttle_reasons": 4 * capped,
        "throttle_power_seconds_total": np.cumsum(capped * rng.integers(800, 1000, count)),
    }
    return np.stack(
        [np.broadcast_to(np.asarray(values.get(n, 0), np.int64), (count,)) for n in COLUMNS], 1
    )


Values = NDArray[np.int64]


def _day(number: int, gpus: int, before: list[Values]) -> list[Values]:
    """A day of each GPU; counters go on from the day before."""
    days = []
    for gpu in range(gpus):
        values = training(DAY_SECONDS, seed=1000 * gpu + number)
        if before:
            for place, name in enumerate(COLUMNS):
                if BY_NAME[name].kind is Kind.COUNTER:
                    values[:, place] += before[gpu][-1, place] - values[0, place]
        days.append(values)
    return days


def _register(database: Database, gpus: int, start_ms: int) -> tuple[int, list[int]]:
    with database.writing() as connection:
        (node,) = register_nodes(connection, [NodeFacts("bench", {"rack": "1"})], start_ms)
        facts = [SubjectFacts("gpu", f"GPU-{n}", node.id, n, "H100") for n in range(gpus)]
        return node.id, [record.id for record in register_subjects(connection, facts, start_ms)]


def _write(database: Database, args: argparse.Namespace) -> tuple[list[int], list[Values]]:
    """All days, minute by minute; ids of the GPUs, and their last day."""
    node_id, ids = _register(database, args.gpus, args.start_ms)
    upkeep = Upkeep(database, Retention(max_bytes=args.max_bytes))
    layout = [[BY_NAME[name].id for name in COLUMNS]] * args.gpus
    encode = write = care = 0.0
    slowest = heaviest = 0.0
    days: list[Values] = []
    for number in range(args.days):
        days = _day(number, args.gpus, days)
        whole = np.concatenate(days, axis=1)
        for first in range(0, DAY_SECONDS, 60):
            start = args.start_ms + number * DAY_MS + first * 1000
            began = time.process_time()
            ticks = start + 1000 * np.arange(60)
            rows = whole[first : first + 60]
            chunks = minute_chunks(ids, ticks, rows, None, None, layout, 1000)
            encoded = time.process_time()
            seq = (start - args.start_ms) // 1000 + 60
            with database.writing() as connection:
                write_flushes(connection, [NodeFlush(node_id, 1, seq, start, chunks)])
            written = time.process_time()
            clock = time.perf_counter()
            upkeep.turn(start + MINUTE_MS + GRACE_MS)
            slowest = max(slowest, time.perf_counter() - clock)
            encode += encoded - began
            write += written - encoded
            turn = time.process_time() - written
            heaviest = max(heaviest, turn)
            care += turn
    end_ms = args.start_ms + args.days * DAY_MS
    for minute in range(60):  # what an idle hub does in its next minutes
        upkeep.turn(end_ms + GRACE_MS + minute)
    turns = args.days * 1440
    each = turns * args.gpus
    print(
        f"written: {args.days} days of {args.gpus} GPUs x {len(COLUMNS)} metrics at 1 s; CPU: "
        f"encode and sum up {encode / each * 1e6:.0f} us a GPU's minute, write "
        f"{write / turns * 1e3:.2f} ms a flush of {args.gpus} GPUs, merge and forget "
        f"{care / turns * 1e3:.2f} ms a turn, the longest {slowest * 1e3:.0f} ms, "
        f"the heaviest {heaviest * 1e3:.0f} ms of CPU"
    )
    return ids, days


def _sizes(database: Database) -> None:
    with database.reading() as connection:
        print(f"in all: {stored_bytes(connection) / 1e6:.1f} MB in use")
        for name in ("samples", "minutes", "hours"):
            rows = connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
            if database.is_postgresql:
                query = f"SELECT pg_total_relation_size('{name}')"
            else:
                query = (
                    "SELECT sum(pgsize) FROM dbstat WHERE name IN "
                    f"(SELECT name FROM sqlite_master WHERE tbl_name = '{name}')"
                )
            size = connection.exec_driver_sql(query).scalar_one() or 0
            each = f", {size / rows:.0f} B a row" if rows else ""
            print(f"  {name}: {size / 1e6:.1f} MB, {rows} rows{each}")
        ticks = connection.exec_driver_sql("SELECT sum(count) FROM samples").scalar() or 0
        data = connection.exec_driver_sql("SELECT sum(length(data)) FROM samples").scalar() or 0
        print(f"  samples: {int(data) / (int(ticks) * len(COLUMNS)):.3f} B a value")


def _check(database: Database, gpu: int, day: Values, end_ms: int, points: int) -> bool:
    """The last day of one GPU is what numpy says."""
    start_ms = end_ms - DAY_MS
    found = query_history(database, [Request(gpu, POWER)], start_ms, end_ms, points)
    read = found.series[0].points
    watts = day[:, COLUMNS.index(POWER.name)] / POWER.divisor
    starts = np.maximum(read.times_ms - start_ms, 0) // 1000
    average = np.add.reduceat(watts, starts) / np.diff(starts, append=len(watts))
    return np.allclose(read.columns["avg"], average, rtol=1e-12) and np.array_equal(
        read.columns["max"], np.maximum.reduceat(watts, starts)
    )


def main() -> int:
    args = _arguments()
    end_ms = args.start_ms + args.days * DAY_MS
    good = True
    with tempfile.TemporaryDirectory() as folder:
        url = args.database or f"sqlite:///{Path(folder) / 'bench.db'}"
        migrate(url)
        database = open_database(url)
        try:
            ids, last = _write(database, args)
            try:
                _sizes(database)
            except OperationalError as error:
                print(f"sizes by table are not known: {error}", file=sys.stderr)
            good = _bounded(database, args.max_bytes)
            if not _check(database, ids[0], last[0], end_ms, args.points):
                print("the points are not those of numpy on the same buckets", file=sys.stderr)
                good = False
        finally:
            database.close()
        try:
            ask_hub(url, Path(folder), args.gpus, end_ms, args.points)
        except BenchFailed as failed:
            print(failed, file=sys.stderr)
            good = False
    return 0 if good else 1


def _bounded(database: Database, max_bytes: int | None) -> bool:
    """Whether the database is as small as retention promises."""
    if max_bytes is None:
        return True
    with database.reading() as connection:
        used = stored_bytes(connection)
    print(f"bound: {used / 1e6:.1f} MB of {max_bytes / 1e6:.1f} MB")
    return used <= max_bytes


if __name__ == "__main__":
    sys.exit(main())
