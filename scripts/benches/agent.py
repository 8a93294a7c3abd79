"""What the agent costs its node: 8 GPUs at 1 Hz against a hub, on the fake driver or method sim.

On the fake driver the agent's real NVML path runs; its answers come without a real driver's
delays. Exit status 1 when the agent or the hub failed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benches.children import BenchFailed, Child, Usage, free_ports, wait_for_port

READY_SECONDS = 30
STOP_SECONDS = 30
AIM_CORES = 0.005
AIM_MIB = 45
_NODE = "bench-1"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench agent", description=__doc__)
    parser.add_argument("--method", choices=("nvml", "sim"), default="nvml")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--interval", type=int, default=1, help="seconds between ticks (1)")
    parser.add_argument("--seconds", type=int, default=60, help="how long to measure (60)")
    parser.add_argument("--settle", type=int, default=10, help="seconds before measuring (10)")
    args = parser.parse_args()
    if not 1 <= args.gpus <= 64 or not 5 <= args.seconds <= 3600 or not 0 <= args.settle <= 600:
        parser.error("1 to 64 GPUs for 5 to 3600 seconds after 0 to 600 can be measured")
    return args


def _environ(args: argparse.Namespace, folder: Path) -> dict[str, str]:
    """The agent's environment: with the fake driver for nvml."""
    environ = dict(os.environ)
    if args.method == "nvml":
        from support.fake_driver import FakeDriver, missing
        from support.fake_gpus import fleet, lively_h100

        reason = missing()
        if reason:
            raise BenchFailed(f"the fake driver cannot be built: {reason}")
        environ = FakeDriver(folder, fleet(lively_h100, args.gpus)).env(log=False)
    return {k: v for k, v in environ.items() if not k.startswith("GPUFLEET_")}


def _measure(args: argparse.Namespace, folder: Path) -> list[tuple[str, str]]:
    (port,) = free_ports(1)
    with ExitStack() as stack:
        counts = folder / "stub.json"
        command = [sys.executable, "-m", "benches.stub_hub", str(port), str(counts)]
        hub = stack.enter_context(Child("the hub", command, folder / "hub.log", dict(os.environ)))
        wait_for_port(port, hub, READY_SECONDS)
        command = [sys.executable, "-m", "gpufleet.cli", "agent", "run"]
        command += ["--hub", f"127.0.0.1:{port}", "--node", _NODE, "--method", args.method]
        command += ["--interval", str(args.interval), "--state-dir", str(folder / "state")]
        if args.method == "sim":
            command += ["--gpus", str(args.gpus)]
        log = folder / "agent.log"
        agent = stack.enter_context(Child("the agent", command, log, _environ(args, folder)))
        time.sleep(args.settle)
        start = agent.usage()
        began = time.monotonic()
        rss = []
        while time.monotonic() - began < args.seconds:
            time.sleep(1)
            rss.append(agent.usage().rss_mib)
        end = agent.usage()
        seconds = time.monotonic() - began
        if agent.terminate(STOP_SECONDS):
            raise BenchFailed(f"the agent failed:\n{agent.tail()}")
        hub.terminate(STOP_SECONDS)
        document = json.loads(counts.read_text())
        records = document["records"].get(_NODE, 0)
        if document["errors"]:
            raise BenchFailed(f"records were missing: {document['errors'][0]}")
        if not records:
            raise BenchFailed(f"the agent sent nothing:\n{agent.tail()}")
        return [
            ("load", f"{args.gpus} GPUs each {args.interval} s by method {args.method}"),
            *_lines(start, end, seconds, rss),
            ("records sent", str(records)),
        ]


def _lines(start: Usage, end: Usage, seconds: float, rss: list[float]) -> list[tuple[str, str]]:
    cores = (end.cpu_seconds - start.cpu_seconds) / seconds
    return [
        ("agent, CPU", f"{cores * 100:.2f} % of a core (aim: {AIM_CORES * 100:g} %)"),
        (
            "agent, memory",
            f"{statistics.median(rss):.1f} MiB resident, {end.peak_mib:.1f} MiB at peak"
            f" (aim: {AIM_MIB} MiB)",
        ),
    ]


def main() -> int:
    """Run the bench in a folder of its own."""
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-") as folder:
        try:
            lines = _measure(args, Path(folder))
        except BenchFailed as error:
            print(error, file=sys.stderr)
            return 1
    for name, text in lines:
        print(f"{name:<28}{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
