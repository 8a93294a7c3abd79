"""history-read: a day of one GPU at 1 s, stored, merged and read as points of a chart.

Exit status 1 when what is read differs from numpy on the same buckets.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpufleet.hub.store.database import Database, open_database
from gpufleet.hub.store.grid import minute_chunks
from gpufleet.hub.store.history import Request, query_history
from gpufleet.hub.store.merge import GRACE_MS, merge_some
from gpufleet.hub.store.tables import HOUR_MS
from gpufleet.hub.store.write import NodeFlush, write_flushes
from gpufleet.proto.catalog import BY_NAME

START = 472_222 * HOUR_MS
SUBJECT = 1
REPEATS = 30


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench history", description=__doc__)
    parser.add_argument("--hours", type=int, default=24, help="hours that are read (24)")
    parser.add_argument("--points", type=int, default=500, help="points at most (500)")
    args = parser.parse_args()
    if not 1 <= args.hours <= 360 or not 1 <= args.points <= 20_000:
        parser.error("1 to 360 hours can be read, as 1 to 20000 points")
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


def _store(database: Database, values: NDArray[np.int64]) -> None:
    ticks = START + 1000 * np.arange(len(values))
    ids = [BY_NAME[name].id for name in COLUMNS]
    began = time.process_time()
    chunks = minute_chunks([SUBJECT], ticks, values, None, None, [ids])
    encoded = time.process_time()
    with database.writing() as connection:
        write_flushes(connection, [NodeFlush(1, 1, 1, START, chunks)])
    written = time.process_time()
    size = sum(len(part.chunk.data) for part in chunks)
    print(
        f"one GPU alone: encode {(encoded - began) / values.size * 1e9:.0f} ns a value, "
        f"write {(written - encoded) / len(chunks) * 1e6:.0f} us of CPU a chunk"
    )
    print(f"minute chunks: {size / values.size:.3f} B a value")
    began = time.process_time()
    while merge_some(database, START + len(values) * 1000 + GRACE_MS):
        pass
    hours = max(1, len(values) // 3600)
    print(f"merge: {(time.process_time() - began) / hours * 1e3:.1f} ms of CPU a subject and hour")
    with database.reading() as connection:
        merged = connection.exec_driver_sql("SELECT sum(length(data)) FROM samples").scalar()
    print(f"hour chunks: {(merged or 0) / values.size:.3f} B a value")


def main() -> int:
    args = _arguments()
    metric = BY_NAME["power_watts"]
    values = training(args.hours * 3600)
    end_ms = START + args.hours * HOUR_MS
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{Path(folder) / 'bench.db'}")
        try:
            _store(database, values)
            times = []
            for _ in range(REPEATS):
                began = time.perf_counter()
                answer = query_history(
                    database, [Request(SUBJECT, metric)], START, end_ms, args.points
                )
                times.append(time.perf_counter() - began)
        finally:
            database.close()
    points = answer.series[0].points
    print(
        f"history-read: {args.hours} h of {metric.name} at 1 s as {len(points.n)} points of "
        f"{answer.step_ms // 1000} s: median {statistics.median(times) * 1e3:.1f} ms, "
        f"worst {max(times) * 1e3:.1f} ms"
    )
    watts = values[:, COLUMNS.index(metric.name)] / metric.divisor
    starts = np.maximum(points.times_ms - START, 0) // 1000
    average = np.add.reduceat(watts, starts) / np.diff(starts, append=len(watts))
    if not (
        np.allclose(points.columns["avg"], average, rtol=1e-12)
        and np.array_equal(points.columns["max"], np.maximum.reduceat(watts, starts))
    ):
        print("the points are not those of numpy on the same buckets", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
