"""``gpufleet snapshot``: every GPU of this machine as one JSON document, without any hub."""

from __future__ import annotations

import argparse
import json
import os
import sys

from gpufleet.cli.agent import add_simulation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument("--method", metavar="METHOD", help="nvml, bash, sim or auto (auto)")
    parser.add_argument("--pretty", action="store_true", help="indent the document")
    parser.add_argument("--node", metavar="NAME", help="this node's name (its host name)")
    add_simulation(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the document; 1 and a sentence where there is no driver, 2 for wrong flags."""
    from gpufleet.agent import collectors, config, snapshot
    from gpufleet.agent.clock import SystemClock
    from gpufleet.agent.model import CollectorUnavailable
    from gpufleet.agent.processes.attribution import prolog_files

    names = ("method", "node", "gpus", "seed", "scenario")
    clock = SystemClock()
    try:
        settings = config.load(None, os.environ, {name: getattr(args, name) for name in names})
        simulation = collectors.Simulation(
            settings.node,
            settings.gpus,
            settings.seed,
            settings.scenario,
            reveal=settings.reveal,
        )
        collector = collectors.choose(settings.method, simulation, clock.wall_ms).collector
    except (config.ConfigError, CollectorUnavailable) as error:
        print(f"gpufleet snapshot: {error}", file=sys.stderr)
        return 2
    prolog = prolog_files(collector.method, settings.prolog_dir)
    try:
        document = snapshot.take(collector, settings.node, clock, prolog)
    except CollectorUnavailable as error:
        print(f"gpufleet snapshot: {error}", file=sys.stderr)
        return 1
    json.dump(document, sys.stdout, indent=2 if args.pretty else None, ensure_ascii=False)
    sys.stdout.write("\n")
    return 0
