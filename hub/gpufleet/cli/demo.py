"""``gpufleet demo``: a hub and agents on this machine, in a temporary directory, to look at."""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from gpufleet.cli import children, demo_plan, demo_screen
from gpufleet.cli.demo_plan import Plan
from gpufleet.cli.demo_run import GPUFLEET, Demo, DemoFailed, Ended, clean_environment

HOST = "127.0.0.1"
GPU_PROBE_SECONDS = 10.0


def _between(low: int, high: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {low} to {high}")
        return number

    return whole


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours <= 48:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours from 0 to 48")
    return hours


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the demo's options."""
    add = parser.add_argument
    add("--nodes", type=_between(1, 32), default=4, metavar="N", help="nodes (4)")
    add("--gpus", type=_between(1, 16), default=8, metavar="N", help="simulated GPUs a node (8)")
    add("--hours", type=_hours, default=6.0, metavar="H", help="hours of history sent first (6)")
    add("--duration", type=_seconds, metavar="S", help="end after S seconds of it (else Ctrl-C)")
    add(
        "--no-tui",
        action="store_true",
        help="lines of text, no full screen (so without a terminal)",
    )
    port = _between(1, 65535)
    add("--http-port", type=port, default=9555, metavar="PORT", help="REST and /metrics (9555)")
    add("--grpc-port", type=port, default=9556, metavar="PORT", help="where agents push (9556)")


def check_port(option: str, port: int) -> None:
    """DemoFailed if somebody listens on this port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise DemoFailed(
                f"Port {port} on {HOST} cannot be used ({os.strerror(error.errno or 0)}): end what "
                f"holds it (ss -ltnp 'sport = :{port}' names it), or choose another with {option}."
            ) from None


def has_real_gpu(folder: Path) -> bool:
    """True if the NVIDIA driver opens here and shows a GPU in good time."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    command = (*GPUFLEET, "snapshot", "--method", "nvml")
    probe = children.start("gpu-probe", command, folder, clean_environment())
    deadline = time.monotonic() + GPU_PROBE_SECONDS
    try:
        while probe.ended() is None and time.monotonic() < deadline:
            if children.wait_for_signal(0.1) in children.ENDING:
                raise Ended
    finally:
        children.stop([probe], 0)
    return probe.ended() == 0 and '"uuid"' in probe.output()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A directory that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="gpufleet-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def full_screen(args: argparse.Namespace) -> bool:
    """Whether to open the terminal client: on a terminal that can, where it is installed."""
    if args.no_tui or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return os.environ.get("TERM", "dumb") != "dumb" and find_spec("wcwidth") is not None


def run(args: argparse.Namespace) -> int:
    """Starts everything, shows it, ends everything."""
    children.take_signals()
    try:
        if args.http_port == args.grpc_port:
            raise DemoFailed("--http-port and --grpc-port must differ: give two free ports.")
        check_port("--http-port", args.http_port)
        check_port("--grpc-port", args.grpc_port)
        with temporary_folder() as folder:
            _run_in(folder, args)
    except DemoFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except Ended:
        pass
    print("\nThe demo has ended: nothing of it is left running, its files are removed.")
    return 0


def _run_in(folder: Path, args: argparse.Namespace) -> None:
    real = socket.gethostname() if has_real_gpu(folder) else None
    nodes = demo_plan.nodes(args.nodes, args.gpus, real)
    plan = Plan(nodes, args.hours, HOST, args.http_port, args.grpc_port)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    demo = Demo(plan, folder, colour and os.environ.get("TERM") != "dumb")
    started = time.monotonic()
    try:
        print("Starting the hub and the agents …", flush=True)
        demo.start_hub()
        first = demo.start_agents()
        took = time.monotonic() - started
        if full_screen(args):
            demo.show(args.duration)
            return
        print(demo_screen.start_screen(plan, first, took, str(folder), demo.pen), flush=True)
        demo.watch(first, args.duration)
    finally:
        demo.stop()
