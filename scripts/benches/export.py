"""export: a year of a GPU carried away, by the command from the database and over HTTP from a hub.

Prints rows, bytes, seconds, and the memory of who makes the rows. Exit status 1 when a row is
missing, or more memory was taken than ``--max-mib``: by the command in all, by the hub beside what
it has without an export.
"""

from __future__ import annotations

import argparse
import http.client
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benches.children import BenchFailed, Child, free_ports, wait_for_port
from benches.history import COLUMNS, training
from benches.history_http import START_SECONDS, wait_ready
from gpufleet.hub.store.chunk import Chunk, Column
from gpufleet.hub.store.codec import encode_chunk
from gpufleet.hub.store.database import Database, migrate, open_database
from gpufleet.hub.store.registry import NodeFacts, SubjectFacts, register_nodes, register_subjects
from gpufleet.hub.store.tables import HOUR_MS, samples
from gpufleet.proto.catalog import BY_NAME

PIECE_BYTES = 1 << 16


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench export", description=__doc__)
    parser.add_argument("--days", type=int, default=365, help="days that are exported (365)")
    parser.add_argument("--interval", type=int, default=10, help="seconds between samples (10)")
    parser.add_argument("--max-mib", type=int, default=100, help="memory at most (100)")
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv")
    args = parser.parse_args()
    if not 1 <= args.days <= 800 or args.interval not in (1, 2, 5, 10, 15, 30, 60):
        parser.error("1 to 800 days at 1, 2, 5, 10, 15, 30 or 60 s can be exported")
    args.start_ms = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS - args.days * 24 * HOUR_MS
    args.end_ms = args.start_ms + args.days * 24 * HOUR_MS
    args.rows = args.days * 86_400 // args.interval
    return args


def _fill(database: Database, args: argparse.Namespace) -> None:
    """Hours of one GPU as they are once they are merged; all have the same values."""
    with database.writing() as connection:
        (node,) = register_nodes(connection, [NodeFacts("bench")], args.start_ms)
        facts = [SubjectFacts("gpu", "GPU-0", node.id, 0, "H100")]
        (gpu,) = register_subjects(connection, facts, args.start_ms)
    step_ms = args.interval * 1000
    values = training(HOUR_MS // step_ms)
    columns = {BY_NAME[name].id: values[:, place] for place, name in enumerate(COLUMNS)}
    made = {metric: Column(columns[metric], None) for metric in sorted(columns)}
    ticks = np.arange(0, HOUR_MS, step_ms)
    with database.writing() as connection:
        for start in range(args.start_ms, args.end_ms, HOUR_MS):
            chunk = encode_chunk(Chunk(start + ticks, made))
            row = {"subject_id": gpu.id, "start": start, "span_ms": HOUR_MS}
            connection.execute(samples.insert(), row | {"count": chunk.count, "data": chunk.data})


def _range(args: argparse.Namespace) -> dict[str, str]:
    return {"start": f"{args.start_ms / 1000:.0f}", "end": f"{args.end_ms / 1000:.0f}"}


def _by_command(url: str, folder: Path, args: argparse.Namespace) -> bool:
    file = folder / "out"
    command = [sys.executable, "-m", "gpufleet.cli", "export", "--database", url]
    command += ["--output", str(file), "--format", args.format]
    command += [word for name, value in _range(args).items() for word in (f"--{name}", value)]
    began = time.monotonic()
    with Child("the command", command, folder / "export.log", dict(os.environ)) as child:
        if child.wait(3600):
            raise BenchFailed(child.tail())
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    with file.open("rb") as written:
        rows = sum(1 for _ in written)
    size = file.stat().st_size
    file.unlink()
    print(f"command: {_told(rows, size, seconds)}, {peak:.0f} MiB resident at most")
    return rows == args.rows + (args.format == "csv") and peak <= args.max_mib


def _by_hub(url: str, folder: Path, args: argparse.Namespace) -> bool:
    http_port, grpc_port = free_ports(2)
    command = [sys.executable, "-m", "gpufleet.cli", "hub", "serve", "--database", url]
    command += ["--http-port", str(http_port), "--grpc-port", str(grpc_port)]
    # What is older than its retention would be forgotten under the export.
    environ = {**os.environ, "GPUFLEET_RETENTION_SAMPLES_DAYS": str(args.days + 1)}
    with Child("hub", command, folder / "hub.log", environ) as hub:
        wait_for_port(http_port, hub, START_SECONDS)
        wait_ready(http_port, hub)
        before = hub.usage()
        query = "&".join(f"{name}={value}" for name, value in _range(args).items())
        connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=60)
        began = time.monotonic()
        connection.request("GET", f"/api/v1/export?format={args.format}&{query}")
        answer = connection.getresponse()
        rows = size = 0
        while piece := answer.read(PIECE_BYTES):
            rows += piece.count(b"\n")
            size += len(piece)
        seconds = time.monotonic() - began
        connection.close()
        peak = hub.usage().peak_mib
        hub.terminate(30)
    print(
        f"hub: {_told(rows, size, seconds)}, {before.rss_mib:.0f} MiB resident before, "
        f"{peak:.0f} MiB at most"
    )
    return rows == args.rows + (args.format == "csv") and peak - before.rss_mib <= args.max_mib


def _told(rows: int, size: int, seconds: float) -> str:
    return f"{rows} rows, {size / 1e6:.0f} MB in {seconds:.0f} s"


def main() -> int:
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'bench.db'}"
        migrate(url)
        database = open_database(url)
        try:
            _fill(database, args)
        finally:
            database.close()
        try:
            good = [_by_command(url, Path(folder), args), _by_hub(url, Path(folder), args)]
        except BenchFailed as failed:
            print(failed, file=sys.stderr)
            return 1
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
