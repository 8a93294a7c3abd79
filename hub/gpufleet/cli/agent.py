"""``gpufleet agent``: read this node's GPUs and push them to a hub."""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpufleet.agent.log import Log

SETTINGS = {
    "hub": "hub",
    "node": "node",
    "method": "method",
    "interval": "interval",
    "slow_interval": "slow_interval",
    "state_dir": "state_dir",
    "journal": "journal",
    "label": "labels",
    "gpus": "gpus",
    "seed": "seed",
    "scenario": "scenario",
    "backfill": "backfill",
    "backfill_interval": "backfill_interval",
}
"""Flag → setting of the agent (gpufleet.agent.config)."""


RESTART_ME = 75
"""Exit status of an agent that a service manager should start again (EX_TEMPFAIL)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``run`` and ``doctor``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    run_it = actions.add_parser(
        "run",
        help="read GPUs and push until told to stop",
        description="Reads this node's GPUs and pushes them to a hub until SIGTERM or Ctrl-C. "
        "Settings come from agent.toml, then GPUFLEET_* variables (GPUFLEET_NODE=a1), then these "
        "flags.",
    )
    add = run_it.add_argument
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings (/etc/gpufleet/agent.toml if there)",
    )
    add(
        "--hub",
        action="append",
        metavar="HOST:PORT",
        help="where to push to, can be given again: tried in turn (127.0.0.1:9556)",
    )
    add("--node", metavar="NAME", help="this node's name (its host name)")
    add("--method", metavar="METHOD", help="nvml, bash, sim or auto (auto)")
    add("--interval", metavar="SECONDS", help="1, 2, 5, 10, 15, 30 or 60 (1)")
    add("--slow-interval", metavar="SECONDS", help="for fields that change rarely (30)")
    add(
        "--state-dir",
        metavar="DIR",
        help="for what the hub has not acknowledged (/var/lib/gpufleet/agent for root, else "
        "~/.local/state/gpufleet/agent)",
    )
    add("--journal", metavar="FILE", help="record every sample taken as JSON lines, for tests")
    add("--label", action="append", metavar="KEY=VALUE", help="a label of this node, can repeat")
    add_simulation(run_it)
    add("--backfill", metavar="HOURS", help="sim: send so much simulated past first (0)")
    add("--backfill-interval", metavar="SECONDS", help="sim: interval of that past (10)")
    add_doctor(actions)


def add_doctor(actions: Any) -> None:
    """Adds ``doctor``."""
    doctor = actions.add_parser(
        "doctor",
        help="say what works on this machine, what does not, and how to mend it",
        description="Looks at the driver, permissions, container, tools, state folder, hub and "
        "clock, changes nothing, and exits with 1 where something keeps the agent from working.",
    )
    add = doctor.add_argument
    add("--json", action="store_true", help="print one JSON document")
    add("--config", type=Path, metavar="FILE", help="settings (/etc/gpufleet/agent.toml if there)")
    add("--hub", action="append", metavar="HOST:PORT", help="try this hub, can be given again")
    add("--state-dir", metavar="DIR", help="try this state folder")
    add("--http-port", type=int, default=9555, metavar="PORT", help="the hub's HTTP port (9555)")


def add_simulation(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of method sim."""
    scenario = "sim: what goes wrong (nothing): demo, overheat, xid79 and others, see docs/sim.md"
    parser.add_argument("--gpus", metavar="N", help="sim: number of GPUs (3)")
    parser.add_argument("--seed", metavar="N", help="sim: another seed, other GPUs (1)")
    parser.add_argument("--scenario", metavar="NAME", help=scenario)


def run(args: argparse.Namespace) -> int:
    """Runs the agent or the doctor; 2 for wrong settings, 1 where it cannot start."""
    # What grpc's core says on stderr is no line of our log; errors reach us as statuses.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return _doctor(args) if args.action == "doctor" else _run(args)


def _doctor(args: argparse.Namespace) -> int:
    """Prints the findings; 1 if one is an error."""
    import json
    import shutil

    from gpufleet.agent import config
    from gpufleet.agent.doctor import checkup
    from gpufleet.agent.doctor.checks import all_checks
    from gpufleet.agent.doctor.text import render

    flags = {"hub": args.hub, "state_dir": args.state_dir}
    problem = ""
    try:
        settings = config.load(args.config, os.environ, flags)
    except config.ConfigError as error:
        problem = str(error)
        settings = config.load(Path(os.devnull), {}, {})
    checks = all_checks(
        checkup.Machine(),
        hubs=settings.hubs,
        state_dir=settings.state_dir,
        http_port=args.http_port,
        settings_error=problem,
    )
    findings = checkup.examine(checks)
    if args.json:
        document = checkup.document(findings, settings.node, _version())
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        width = shutil.get_terminal_size().columns
        sys.stdout.write(render(findings, width, colour=colour))
    sys.stdout.flush()
    return 0 if checkup.healthy(findings) else 1


def _run(args: argparse.Namespace) -> int:
    from gpufleet.agent import lean

    lean.load()

    from gpufleet.agent import collectors, config
    from gpufleet.agent.clock import SystemClock
    from gpufleet.agent.host import Host
    from gpufleet.agent.keeping.statedir import StateDirInUse
    from gpufleet.agent.log import Log
    from gpufleet.agent.model import CollectorUnavailable
    from gpufleet.agent.runtime import Agent
    from gpufleet.proto.logline import log_to_stderr

    flags: dict[str, Any] = {
        setting: getattr(args, flag, None) for flag, setting in SETTINGS.items()
    }
    clock, log = SystemClock(), Log(sys.stderr)
    log_to_stderr(logging.WARNING)
    try:
        settings = config.load(args.config, os.environ, flags)
        simulation = collectors.Simulation(
            node=settings.node,
            gpus=settings.gpus,
            seed=settings.seed,
            scenario=settings.scenario,
            slow_seconds=settings.slow_interval_ms / 1000,
            reveal=settings.reveal,
        )
        choice = collectors.choose(settings.method, simulation, clock.wall_ms)
    except (config.ConfigError, CollectorUnavailable) as error:
        print(f"gpufleet agent: {error}", file=sys.stderr)
        return 2
    log.info("method chosen", method=choice.collector.method, reason=choice.reason)
    try:
        agent = Agent(
            settings,
            choice.collector,
            version=_version(),
            clock=clock,
            log=log,
            machine=Host(),
            rng=random.Random(),
        )
    except StateDirInUse as error:
        print(f"gpufleet agent: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"gpufleet agent: The journal {settings.journal} cannot be opened: {error.strerror}.",
            file=sys.stderr,
        )
        return 1
    if agent.run(_stop_on_signals()):
        return _start_again(log)
    return 0


def _start_again(log: Log) -> int:
    """This very process becomes a new agent, with the libraries that are installed now."""
    log.info("starting again with the new driver")
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError as error:
        log.warning("cannot start again", reason=str(error))
        return RESTART_ME


def _stop_on_signals() -> threading.Event:
    """Set at SIGTERM or SIGINT, which PID 1 would otherwise not even get; a second one kills."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _version() -> str:
    """The installed version, from the name of its folder: importlib.metadata takes 3 MiB."""
    for folder in sys.path:
        for found in Path(folder).glob("gpufleet-*.dist-info"):
            return found.name.removeprefix("gpufleet-").removesuffix(".dist-info")
    return "0+source"
