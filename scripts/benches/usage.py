"""usage: what it costs a hub to count who holds 8,000 GPUs, each on a process list every 5 s.

Lists go through what a hub does with them (decode, count, write once a minute), with time sped up.
Prints CPU a second of the fleet's time, the longest stalls, rows and bytes, and how long questions
take. With ``--storm`` every list names new jobs, which is the worst that agents can do. Exit status
1 when the hours that are stored are not those that were held.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gpufleet.hub.intake import process_view
from gpufleet.hub.store.database import Database, migrate, open_database
from gpufleet.hub.store.registry import NodeFacts, SubjectFacts, register_nodes, register_subjects
from gpufleet.hub.store.retention import stored_bytes
from gpufleet.hub.store.tables import HOUR_MS, process_usage
from gpufleet.hub.store.usage import UsageBy, query_usage, write_usage
from gpufleet.hub.usage import MAX_ENTRIES, MAX_HOLDERS, SAVE_MS, Reading, UsageMeter
from gpufleet.hub.views import ProcessView
from gpufleet.proto import telemetry_pb2 as pb

STEP_MS = 5000
START = 472_224 * HOUR_MS
USERS = 200
SHARED = 10
"""One GPU of so many is shared by three users."""
TWO_YEARS_HOURS = 17_520
REPEATS = 10


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench usage", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=8, help="GPUs a node (8)")
    parser.add_argument("--minutes", type=int, default=20, help="of the fleet's time (20)")
    parser.add_argument("--storm", action="store_true", help="new jobs on every list")
    parser.add_argument("--database", help="URL of an empty database (a temporary SQLite file)")
    args = parser.parse_args()
    if not 1 <= args.nodes <= 20_000 or not 1 <= args.gpus <= 16 or not 1 <= args.minutes <= 600:
        parser.error("1 to 20000 nodes of 1 to 16 GPUs can be had, over 1 to 600 minutes")
    return args


class NodeLoad:
    """One node's processes: jobs of 10 to 120 minutes, one after another on each GPU."""

    def __init__(self, number: int, subject_ids: list[int], storm: bool) -> None:
        self.subject_ids = subject_ids
        self.keys = [f"GPU-{subject_id:032x}" for subject_id in subject_ids]
        self._random = random.Random(number)
        self._storm = storm
        self._ends = [0] * len(subject_ids)
        self._of: list[list[pb.Process]] = [[] for _ in subject_ids]
        self._jobs = number << 20
        self._packed = b""

    def listed(self, time_ms: int) -> bytes:
        """The list that the agent sends at this time, as on the wire."""
        changed = False
        for place, end_ms in enumerate(self._ends):
            if time_ms >= end_ms:
                self._of[place] = self._begin(place)
                minutes = self._random.randint(10, 120)
                self._ends[place] = time_ms if self._storm else time_ms + minutes * 60_000
                changed = True
        if changed:
            listed = [process for of in self._of for process in of]
            self._packed = pb.Processes(processes=listed).SerializeToString()
        return pb.Processes(time_ms=time_ms).SerializeToString() + self._packed

    def _begin(self, place: int) -> list[pb.Process]:
        shared = self.subject_ids[place] % SHARED == 0
        return [self._process(place) for _ in range(3 if shared else 1)]

    def _process(self, place: int) -> pb.Process:
        self._jobs += 1
        return pb.Process(
            subject_key=self.keys[place],
            pid=self._random.randint(2, 1 << 22),
            start_ms=START - HOUR_MS,
            user=f"user{self._random.randrange(USERS):03d}",
            program="python3",
            type="C",
            memory_bytes=self._random.randint(1 << 30, 70 << 30),
            utilization_permille=self._random.randint(0, 1000),
            job=f"slurm:{self._jobs}",
        )


@dataclass(slots=True)
class Cost:
    """CPU seconds of each part, and how long each piece took."""

    decode: float = 0.0
    count: float = 0.0
    collect: float = 0.0
    write: float = 0.0
    lists: int = 0
    processes: int = 0
    written: int = 0
    collects: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    entries: int = 0


def _register(database: Database, args: argparse.Namespace) -> tuple[list[int], list[list[int]]]:
    with database.writing() as connection:
        facts = [NodeFacts(f"bench-{number:05d}") for number in range(args.nodes)]
        nodes = [record.id for record in register_nodes(connection, facts, START)]
        subjects = [
            SubjectFacts("gpu", f"GPU-{number}-{index}", node_id, index)
            for number, node_id in enumerate(nodes)
            for index in range(args.gpus)
        ]
        ids = [record.id for record in register_subjects(connection, subjects, START)]
    return nodes, [ids[at : at + args.gpus] for at in range(0, len(ids), args.gpus)]


def _count(
    meter: UsageMeter, node_id: int, load: NodeLoad, now_ms: int, body: bytes, cost: Cost
) -> None:
    """What a hub does with one list."""
    began = time.process_time()
    listed = [process_view(process) for process in pb.Processes.FromString(body).processes]
    decoded = time.process_time()
    of: dict[str, list[ProcessView]] = {}
    for process in listed:
        of.setdefault(process.gpu, []).append(process)
    gpus = [
        (Reading(subject_id, 0.9, 600.0), of[key])
        for subject_id, key in zip(load.subject_ids, load.keys, strict=True)
        if key in of
    ]
    meter.note(node_id, now_ms - STEP_MS, now_ms, gpus, now_ms)
    cost.count += time.process_time() - decoded
    cost.decode += decoded - began
    cost.lists += 1
    cost.processes += len(listed)


def _save(database: Database, meter: UsageMeter, now_ms: int, cost: Cost, everything: bool) -> None:
    """What a flush does for usage."""
    began, clock = time.process_time(), time.perf_counter()
    rows = meter.changed(now_ms, everything=everything)
    collected = time.perf_counter()
    cost.collect += time.process_time() - began
    if not rows:
        return
    collecting = collected - clock
    began, clock = time.process_time(), time.perf_counter()
    with database.writing() as connection:
        write_usage(connection, rows)
    if not everything:  # as a hub does when it ends
        cost.collects.append(collecting)
        cost.writes.append(time.perf_counter() - clock)
    cost.write += time.process_time() - began
    cost.written += len(rows)
    meter.saved(now_ms)


def _run(database: Database, args: argparse.Namespace) -> tuple[Cost, float]:
    """All lists; the cost, and how many GPU-seconds were held."""
    nodes, ids = _register(database, args)
    loads = [NodeLoad(number, of, args.storm) for number, of in enumerate(ids)]
    meter, cost = UsageMeter(START), Cost()
    steps = args.minutes * SAVE_MS // STEP_MS
    for step in range(1, steps + 1):
        now_ms = START + step * STEP_MS
        for node_id, load in zip(nodes, loads, strict=True):
            _count(meter, node_id, load, now_ms, load.listed(now_ms), cost)
        for second in range(STEP_MS // 1000):  # a hub's rounds
            _save(database, meter, now_ms + 1000 * second, cost, everything=False)
        cost.entries = max(cost.entries, meter.entries)
    _save(database, meter, now_ms, cost, everything=True)
    return cost, steps * STEP_MS / 1000 * args.nodes * args.gpus


def _line(name: str, text: str) -> None:
    print(f"{name:<26}{text}")


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.0f} ms median, {max(seconds) * 1e3:.0f} ms at most"


def _report(database: Database, args: argparse.Namespace, cost: Cost, before: int) -> None:
    seconds = args.minutes * 60
    gpus = args.nodes * args.gpus
    _line(
        "load",
        f"{args.nodes} nodes x {args.gpus} GPUs: {cost.lists / seconds:.0f} lists and"
        f" {cost.processes / seconds:.0f} processes a second, for {args.minutes} min",
    )
    parts = {name: getattr(cost, name) for name in ("decode", "count", "collect", "write")}
    told = ", ".join(f"{name} {each / seconds * 1e3:.1f}" for name, each in parts.items())
    _line("CPU, ms a second", f"{sum(parts.values()) / seconds * 1e3:.1f}: {told}")
    _line(
        "pieces of a minute's rows",
        f"{len(cost.writes)}; collected in {_spread(cost.collects)}, written in"
        f" {_spread(cost.writes)}",
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    _line(
        "memory",
        f"{cost.entries} holders of running hours at most (bounds: {MAX_HOLDERS} a GPU and hour,"
        f" {MAX_ENTRIES} in all); {peak:.0f} MiB resident, the load included",
    )
    with database.reading() as connection:
        rows = connection.exec_driver_sql(f"SELECT count(*) FROM {process_usage}").scalar_one()
        size = stored_bytes(connection) - before
    spans = gpus * -(-args.minutes // 60)
    _line(
        "disk",
        f"{rows} rows of {cost.written} written, {size / rows:.0f} B a row, {size / 1e6:.1f} MB;"
        f" {rows / spans:.1f} rows a GPU and hour, {size / spans * TWO_YEARS_HOURS / 1e6:.1f} MB a"
        " GPU in 2 years of such hours",
    )


def _ask(database: Database, end_ms: int) -> None:
    def timed(name: str, question: Callable[[], int]) -> None:
        times = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            found = question()
            times.append(time.perf_counter() - began)
        _line(f"question by {name}", f"{statistics.median(times) * 1e3:.0f} ms, {found} rows")

    for by in UsageBy:

        def question(by: UsageBy = by) -> int:
            with database.reading() as connection:
                return len(query_usage(connection, by, START, end_ms))

        timed(by.value, question)


def _held(database: Database) -> float:
    with database.reading() as connection:
        query = f"SELECT sum(held_seconds) FROM {process_usage}"
        return float(connection.exec_driver_sql(query).scalar_one())


def main() -> int:
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-") as folder:
        url = args.database or f"sqlite:///{Path(folder) / 'bench.db'}"
        migrate(url)
        database = open_database(url)
        try:
            with database.reading() as connection:
                before = stored_bytes(connection)
            cost, wanted = _run(database, args)
            _report(database, args, cost, before)
            _ask(database, START + args.minutes * SAVE_MS)
            held = _held(database)
        finally:
            database.close()
    _line("held", f"{held / 3600:.1f} GPU-hours stored of {wanted / 3600:.1f}")
    return 0 if abs(held - wanted) <= wanted * 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
