"""``gpufleet tui``: the fleet in a terminal, one picture of it for scripts, or the demo's fleet."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEMO_SECONDS = 60.0


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.2 <= seconds <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.2 to 60")
    return seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    add = parser.add_argument
    add("hub", nargs="?", metavar="URL", help="the hub (http://127.0.0.1:9555)")
    add(
        "--once",
        action="store_true",
        help="print one picture as text and end (so without a terminal anyway)",
    )
    add("--demo", action="store_true", help="start a demo fleet on this machine, show it, end it")
    add(
        "--view",
        choices=("fleet", "users", "alerts"),
        default="fleet",
        help="what is shown first (fleet)",
    )
    add(
        "--filter",
        default="",
        metavar="FILTER",
        help="only GPUs that pass, such as 'temp>85 & node~=dgx'",
    )
    add(
        "--sort",
        default="",
        metavar="COLUMN",
        help="column to sort by, such as temp; +temp: the other way round",
    )
    add("--group", default="", metavar="BY", help="auto, none, node, model, user or label.NAME")
    add("--theme", choices=("auto", "dark", "light", "contrast", "mono"), help="colours (auto)")
    add("--ascii", action="store_true", help="nothing but ASCII signs")
    add(
        "--no-mouse",
        action="store_true",
        help="leave the mouse to the terminal, to mark text with it",
    )
    add("--interval", type=_interval, default=1.0, metavar="S", help="seconds between pictures (1)")


def run(args: argparse.Namespace) -> int:
    """Runs the client; 1 and a sentence where it cannot."""
    from gpufleet.client.request import HubError

    try:
        if args.demo:
            with demo_fleet() as url:
                return _show(args, url)
        return _show(args, args.hub or "")
    except HubError as error:
        print(f"gpufleet tui: {error}", file=sys.stderr)
        return 1


def _show(args: argparse.Namespace, url: str) -> int:
    from gpufleet.tui import start

    return start.show(
        start.Flags(
            hub=url,
            once=args.once,
            view=args.view,
            filter=args.filter,
            sort=args.sort,
            group=args.group,
            theme=args.theme,
            ascii=args.ascii,
            mouse=not args.no_mouse,
            interval=args.interval,
        ),
        os.environ,
    )


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def demo_fleet() -> Iterator[str]:
    """A demo in the background: its hub's URL while it runs. It ends with this process."""
    import tempfile

    from gpufleet.cli import children
    from gpufleet.cli.demo_run import GPUFLEET
    from gpufleet.client.request import HubError, get_json

    ports = (free_port(), free_port())
    command: list[Any] = [*GPUFLEET, "demo", "--no-tui"]
    command += ["--http-port", str(ports[0]), "--grpc-port", str(ports[1])]
    url = f"http://127.0.0.1:{ports[0]}"
    with tempfile.TemporaryDirectory(prefix="gpufleet-tui-") as folder:
        demo = children.start("demo", command, Path(folder), os.environ)
        try:
            print("Starting the demo fleet …", file=sys.stderr, flush=True)
            deadline = time.monotonic() + DEMO_SECONDS
            while True:
                if demo.ended() is not None or time.monotonic() > deadline:
                    raise HubError(f"The demo did not start. Its last lines:\n{demo.log_tail()}")
                if "Ctrl-C" in demo.output():
                    break
                time.sleep(0.1)
            get_json(url, "/api/v1/fleet", {})
            yield url
        finally:
            if demo.ended() is None:
                demo.process.send_signal(signal.SIGINT)
            children.stop([demo], 20)
