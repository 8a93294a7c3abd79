"""The terminal client in a real pseudo-terminal: its CPU and memory, first frame, key to screen.

64 GPUs at 2 Hz, then 8,000 GPUs at 1 Hz, against the hub's HTTP application in another process.
Figures are printed; none of them fails anything.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benches.children import BenchFailed, Child, free_ports, usage_of, wait_for_port
from support.pty_screen import PtyScreen

READY_SECONDS = 60
SIZE = (120, 40)
KEYS = 20


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench tui", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="how long each fleet runs (20)")
    parser.add_argument("--settle", type=int, default=5, help="seconds before measuring (5)")
    parser.add_argument("--nodes", type=int, default=1000, help="nodes of the large fleet (1000)")
    args = parser.parse_args()
    if not 2 <= args.seconds <= 600 or not 0 <= args.settle <= 60 or not 1 <= args.nodes <= 1250:
        parser.error("2 to 600 seconds of 1 to 1250 nodes can be measured")
    return args


@contextmanager
def _client(nodes: int, interval: float, folder: Path) -> Iterator[tuple[PtyScreen, float]]:
    """The client with its hub; also when it was started, by the monotonic clock."""
    folder.mkdir()
    (port,) = free_ports(1)
    with ExitStack() as stack:
        command = [sys.executable, "-m", "benches.tui_hub", str(port), str(nodes), str(folder)]
        hub = stack.enter_context(Child("the hub", command, folder / "hub.log", dict(os.environ)))
        wait_for_port(port, hub, READY_SECONDS)
        environ = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        environ |= {"XDG_CONFIG_HOME": str(folder), "NO_COLOR": ""}
        command = [sys.executable, "-m", "gpufleet.cli", "tui", f"http://127.0.0.1:{port}"]
        started = time.monotonic()
        shown = PtyScreen([*command, "--interval", str(interval)], environ, SIZE)
        yield stack.enter_context(shown), started


def _first_frame(shown: PtyScreen, started: float, folder: Path) -> tuple[float, float]:
    """Seconds from the start, and from the hub's first answer, to a screen with GPUs."""
    while "node0" not in shown.text():
        shown.read(0.005)
        if time.monotonic() - started > READY_SECONDS:
            raise BenchFailed(f"no frame came:\n{shown.text()}")
    seen = time.monotonic()
    answered = folder / "answered"
    while not answered.exists():
        shown.read(0.05)
    return seen - started, seen - float(answered.read_text())


def _use(shown: PtyScreen, seconds: float) -> tuple[float, float, float]:
    """Share of a core, resident MiB (median) and MiB at peak over some seconds."""
    pid = shown.process.pid
    start, began = usage_of(pid), time.monotonic()
    resident = []
    while time.monotonic() - began < seconds:
        shown.read(0.2)
        resident.append(usage_of(pid).rss_mib)
    end = usage_of(pid)
    cores = (end.cpu_seconds - start.cpu_seconds) / (time.monotonic() - began)
    return cores, statistics.median(resident), end.peak_mib


def _key_to_screen(shown: PtyScreen, folder: Path) -> list[float]:
    """Milliseconds from a key to the first byte on the screen, while the hub does not answer."""
    (folder / "slow").touch()
    shown.settle(0.5, 3)
    found = []
    for turn in range(KEYS):
        time.sleep(0.11)
        shown.settle(0.01, 0.3)
        before = shown.received
        pressed = time.monotonic()
        shown.type("\x1bOB" if turn % 2 == 0 else "\x1bOA")
        while shown.received == before and time.monotonic() - pressed < 5:
            shown.read(0.05)
        found.append((time.monotonic() - pressed) * 1000)
    return found


def _measure(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str]]:
    for name, nodes, interval, aims in (
        ("64 GPUs at 2 Hz", 8, 0.5, "2 % of a core, 40 MiB"),
        (f"{args.nodes * 8:,} GPUs at 1 Hz", args.nodes, 1.0, "10 % of a core"),
    ):
        own = folder / str(nodes)
        with _client(nodes, interval, own) as (shown, started):
            whole, after = _first_frame(shown, started, own)
            yield (
                f"{name}, first frame",
                (
                    f"{after * 1000:.0f} ms after the hub's answer (aim: 300),"
                    f" {whole:.2f} s after the start of Python"
                ),
            )
            _use(shown, args.settle)
            cores, resident, peak = _use(shown, args.seconds)
            yield (
                f"{name}, use",
                (
                    f"{cores * 100:.1f} % of a core, {resident:.1f} MiB resident,"
                    f" {peak:.1f} at peak (aim: {aims})"
                ),
            )
            if nodes > 8:
                shown.type(" ")
                cores, resident, peak = _use(shown, args.seconds)
                yield f"{name}, a node open", f"{cores * 100:.1f} % of a core"
            keys = _key_to_screen(shown, own)
            yield (
                f"{name}, key to screen",
                (
                    f"{statistics.median(keys):.1f} ms median, {max(keys):.1f} ms at most of"
                    f" {len(keys)}, the hub silent (aim: 50)"
                ),
            )


def main() -> int:
    """Run the bench in a folder of its own."""
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-") as folder:
        try:
            for name, text in _measure(args, Path(folder)):
                print(f"{name:<30}{text}", flush=True)
        except (BenchFailed, AssertionError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
