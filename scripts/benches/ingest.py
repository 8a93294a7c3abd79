"""1,000 nodes × 8 GPUs × 30 metrics against one hub: what it costs, and whether all is stored.

Exit status 1 when a tick was lost, doubled or changed, or when a stream failed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pstats
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benches.children import BenchFailed, Child, Usage, free_ports, wait_for_port
from benches.load import CONNECTS_A_SECOND, DRAIN_SECONDS, Sent, now_ms
from benches.payloads import METRICS, Run
from benches.stored import Verdict, verify

READY_SECONDS = 30
STOP_SECONDS = 120
_PROFILE_TOP = 30


@dataclass(slots=True)
class Watch:
    """The hub's usage over the steady window and the generators' over the run."""

    start: Usage
    end: Usage
    seconds: float
    rss: list[float] = field(default_factory=list)
    scrapes: list[float] = field(default_factory=list)
    scrape_errors: list[str] = field(default_factory=list)
    scrape_bytes: int = 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench ingest", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=8, help="GPUs a node (8)")
    parser.add_argument("--seconds", type=int, default=150, help="how long nodes send (150)")
    parser.add_argument("--interval", type=int, default=1, help="seconds between ticks (1)")
    parser.add_argument("--generators", type=int, default=1, help="processes that make load (1)")
    parser.add_argument("--profiles", type=int, default=32, help="different nodes' values (32)")
    parser.add_argument(
        "--scrape", type=int, default=15, help="GET /metrics each so many seconds (15; 0: never)"
    )
    parser.add_argument("--rules", type=Path, help="alert rules in force (those that are shipped)")
    parser.add_argument("--stub", action="store_true", help="against a hub that only counts")
    parser.add_argument(
        "--profile", action="store_true", help="run the hub under cProfile (its main thread only)"
    )
    parser.add_argument("--keep", type=Path, help="keep database and logs in this new folder")
    args = parser.parse_args()
    if not 1 <= args.nodes <= 20_000 or not 1 <= args.gpus <= 16 or args.interval < 1:
        parser.error("1 to 20000 nodes of 1 to 16 GPUs at 1 s or more can be made")
    if not 3 <= args.seconds <= 3600 or not 1 <= args.generators <= 16 or args.profiles < 1:
        parser.error("3 to 3600 seconds and 1 to 16 generators can be had")
    return args


def _hub(args: argparse.Namespace, folder: Path, http: int, grpc: int) -> Child:
    if args.stub:
        command = ["-m", "benches.stub_hub", str(grpc), str(folder / "stub.json")]
    else:
        command = ["-m", "gpufleet.cli", "hub", "serve"]
        command += ["--database", f"sqlite:///{folder / 'hub.db'}"]
        command += ["--http-port", str(http), "--grpc-port", str(grpc)]
        command += ["--data-dir", str(folder / "hub")]
        if args.rules is not None:
            config = folder / "hub.toml"
            config.write_text(f"rules = {json.dumps(str(args.rules.resolve()))}\n")
            command += ["--config", str(config)]
    if args.profile:
        command = ["-m", "cProfile", "-o", str(folder / "hub.prof"), *command]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("GPUFLEET_")}
    return Child("the hub", [sys.executable, *command], folder / "hub.log", environ)


def _generators(args: argparse.Namespace, folder: Path, run: Run, port: int) -> list[Child]:
    children = []
    for first in range(args.generators):
        spec = {
            "target": f"127.0.0.1:{port}",
            "run": asdict(run),
            "first": first,
            "step": args.generators,
            "stop_ms": run.first_tick_ms + (run.ticks - 1) * run.interval_ms,
        }
        path = folder / f"load-{first}.json"
        path.write_text(json.dumps(spec))
        command = [sys.executable, "-m", "benches.load", str(path), str(folder / f"sent-{first}")]
        log = folder / f"load-{first}.log"
        children.append(Child(f"generator {first}", command, log, dict(os.environ)))
    return children


def _scrape(port: int, watch: Watch) -> None:
    """One GET of /metrics; what it says is not read, only how long it takes and its size."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Accept-Encoding": "gzip"}
    )
    begin = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
    except (urllib.error.URLError, OSError) as error:
        watch.scrape_errors.append(str(error))
        return
    watch.scrapes.append(time.monotonic() - begin)
    watch.scrape_bytes = len(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)


def _observe(
    args: argparse.Namespace, hub: Child, loads: list[Child], http: int, begin_ms: int, end_ms: int
) -> Watch:
    """Watch the hub from ``begin_ms`` to ``end_ms`` (wall clock), once a second."""
    while now_ms() < begin_ms:
        hub.check()
        time.sleep(0.2)
    start = hub.usage()
    began = time.monotonic()
    watch = Watch(start, start, 0.0)
    next_scrape = began
    while now_ms() < end_ms:
        if all(child.ended for child in loads):
            break
        usage = hub.usage()
        watch.rss.append(usage.rss_mib)
        if args.scrape and not args.stub and time.monotonic() >= next_scrape:
            next_scrape += args.scrape
            _scrape(http, watch)
        time.sleep(1)
    watch.end = hub.usage()
    watch.seconds = time.monotonic() - began
    return watch


def _plan(args: argparse.Namespace) -> tuple[Run, int]:
    """The run, and when (ms) all nodes will have connected. Encoding takes its time first."""
    interval_ms = args.interval * 1000
    seconds = args.seconds // args.interval + 1
    preparing = 3 + min(args.profiles, args.nodes) * args.gpus * seconds * 60e-6
    connecting = args.nodes / CONNECTS_A_SECOND + 2
    start_ms = now_ms() // interval_ms * interval_ms
    ticks = int((preparing + connecting) // args.interval) + seconds
    run = Run(args.nodes, args.gpus, interval_ms, start_ms, ticks, min(args.profiles, args.nodes))
    return run, start_ms + int((preparing + connecting) * 1000)


def _results(folder: Path, count: int) -> tuple[list[Sent], float]:
    results, cpu = [], 0.0
    for first in range(count):
        document = json.loads((folder / f"sent-{first}").read_text())
        cpu += document["cpu_seconds"]
        results += [Sent(**node) for node in document["nodes"]]
    return results, cpu


def _line(name: str, text: str) -> None:
    print(f"{name:<28}{text}")


def _report(run: Run, watch: Watch, results: list[Sent], load_cpu: float) -> None:
    per_tick = run.nodes * run.gpus * len(METRICS)
    cpu = watch.end.cpu_seconds - watch.start.cpu_seconds
    millions = per_tick * watch.seconds * 1000 / run.interval_ms / 1e6
    records = sum(s.count for s in results)
    _line(
        "load",
        f"{run.nodes} nodes × {run.gpus} GPUs × {len(METRICS)} metrics each"
        f" {run.interval_ms / 1000:g} s = {per_tick * 1000 / run.interval_ms:,.0f} values/s",
    )
    _line("hub, CPU", f"{cpu / watch.seconds:.3f} cores over {watch.seconds:.0f} s")
    _line("hub, CPU per M values", f"{cpu / millions:.3f} s")
    _line(
        "hub, memory",
        f"{statistics.median(watch.rss):.0f} MiB resident, {watch.end.peak_mib:.0f} MiB at peak",
    )
    if watch.scrapes:
        _line(
            "hub, /metrics",
            f"{len(watch.scrapes)} scrapes of {watch.scrape_bytes / 1e6:.1f} MB,"
            f" {statistics.median(watch.scrapes) * 1000:.0f} ms median",
        )
    if watch.scrape_errors:
        _line("hub, /metrics", f"{len(watch.scrape_errors)} failed: {watch.scrape_errors[0]}")
    _line(
        "wire",
        f"{sum(s.bytes for s in results) / (records * run.gpus):.1f} bytes per GPU-sample",
    )
    ages = [age for s in results for age in s.ack_ages_ms]
    if ages:
        _line(
            "acknowledgements",
            f"{len(ages)}; age of their oldest tick {statistics.median(ages) / 1000:.1f} s median,"
            f" {max(ages) / 1000:.1f} s at most",
        )
    _line(
        "generator",
        f"{load_cpu:.1f} s CPU, {load_cpu / (records * run.gpus * len(METRICS) / 1e6):.3f} s per M"
        f" values, at most {max(s.late_ms for s in results)} ms late",
    )


def _report_stored(run: Run, verdict: Verdict) -> None:
    values = verdict.stored * len(METRICS)
    if values:
        _line(
            "disk",
            f"{verdict.file_bytes / values:.3f} bytes a value"
            f" ({verdict.chunk_bytes / values:.3f} in chunks)",
        )
    _line(
        "ticks of GPUs",
        f"{verdict.expected} sent, {verdict.stored} stored, {verdict.lost} lost,"
        f" {verdict.doubled} doubled, {verdict.foreign} never sent",
    )
    _line("values compared", f"{verdict.values_compared}, {verdict.values_wrong} not as sent")
    for text in verdict.examples:
        print(f"  {text}")


def _check_stub(folder: Path, run: Run, results: list[Sent]) -> bool:
    document = json.loads((folder / "stub.json").read_text())
    lost = sum(s.count - document["records"].get(run.node(s.node), 0) for s in results)
    _line("records", f"{sum(s.count for s in results)} sent, {lost} not received")
    for error in document["errors"]:
        print(f"  {error}")
    return not lost and not document["errors"]


def _bench(args: argparse.Namespace, folder: Path) -> bool:
    http, grpc = free_ports(2)
    with ExitStack() as stack:
        hub = stack.enter_context(_hub(args, folder, http, grpc))
        wait_for_port(grpc, hub, READY_SECONDS)
        run, connected_ms = _plan(args)
        end_ms = run.first_tick_ms + run.ticks * run.interval_ms
        loads = [stack.enter_context(c) for c in _generators(args, folder, run, grpc)]
        # The steady window leaves out connecting, and the first minute where there is time for it.
        begin_ms = max(connected_ms, min(run.first_tick_ms + 75_000, end_ms - 60_000))
        print(f"{run.nodes} nodes send for {args.seconds} s …", flush=True)
        watch = _observe(args, hub, loads, http, begin_ms, end_ms)
        for child in loads:
            if child.wait(DRAIN_SECONDS + 60):
                raise BenchFailed(f"{child.name} failed:\n{child.tail()}")
        status = hub.terminate(STOP_SECONDS)
        if status:
            print(f"the hub ended with status {status}:\n{hub.tail()}")
        results, load_cpu = _results(folder, args.generators)
        good = status == 0
        failed = [s for s in results if s.error]
        for sent in failed[:5]:
            print(f"  {run.node(sent.node)}: {sent.error}")
        if failed:
            print(f"{len(failed)} of {len(results)} streams failed")
            good = False
        if not watch.rss or sum(s.count for s in results) == 0:
            raise BenchFailed("nothing was sent that could be measured")
        _report(run, watch, results, load_cpu)
        if args.stub:
            return _check_stub(folder, run, results) and good
        verdict = verify(folder / "hub.db", run, results)
        _report_stored(run, verdict)
        return verdict.good and good


def main() -> int:
    """Run the bench in a folder of its own."""
    args = _arguments()
    with ExitStack() as stack:
        if args.keep:
            args.keep.mkdir(parents=True)
            folder = args.keep.resolve()
        else:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="gpufleet-bench-"))
            )
        try:
            good = _bench(args, folder)
        except BenchFailed as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            if args.profile and (folder / "hub.prof").exists():
                stats = pstats.Stats(str(folder / "hub.prof"))
                stats.sort_stats("tottime").print_stats(_PROFILE_TOP)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
