"""``gpufleet usage``: who held the fleet's GPUs, for how long, and what they did for them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

HEADINGS = ("GPUs", "held GPU-h", "used GPU-h", "used", "energy kWh", "peak memory GiB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument("--hub", metavar="URL", help="the hub (http://127.0.0.1:9555)")
    parser.add_argument(
        "--by", choices=("user", "job", "node"), default="user", help="summed up by (user)"
    )
    parser.add_argument("--node", metavar="NAME", help="one node only")
    parser.add_argument("--start", default="-1d", metavar="TIME", help="RFC 3339 or -7d (-1d)")
    parser.add_argument("--end", default="now", metavar="TIME", help="the same (now)")
    parser.add_argument("--json", action="store_true", help="print the hub's document")


def run(args: argparse.Namespace) -> int:
    """Prints a table; 1 and a sentence where the hub has no answer."""
    from gpufleet.client.request import USUAL_HUB, HubError, get_json

    query = {"by": args.by, "node": args.node, "start": args.start, "end": args.end}
    try:
        found = get_json(args.hub or USUAL_HUB, "/api/v1/usage", query)
    except HubError as error:
        print(f"gpufleet usage: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(found))
        return 0
    print(f"{found['start']} to {found['end']}")
    for line in table(found["by"], found["usage"]):
        print(line)
    return 0


def table(by: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of text columns; ``-`` where nobody told."""
    if not rows:
        return ["Nobody held a GPU in this time."]
    cells = [(by, *HEADINGS), *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    held = row["held_gpu_seconds"] + row["held_mig_seconds"]
    used, measured = row["used_gpu_seconds"], row["measured_gpu_seconds"]
    return (
        row["name"] or "(not known)",
        str(row["gpus"]),
        f"{held / 3600:.2f}",
        _number(used, 3600, 2),
        "-" if used is None or not measured else f"{used / measured:.0%}",
        _number(row["energy_joules"], 3_600_000, 2),
        _number(row["memory_peak_bytes"], 1 << 30, 1),
    )


def _number(value: float | None, unit: float, digits: int) -> str:
    return "-" if value is None else f"{value / unit:.{digits}f}"
