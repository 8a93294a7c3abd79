"""``gpufleet hub nodes``: which nodes a hub knows, and forgetting one that is gone for good."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpufleet.client.hub import Hub

HEADINGS = ("NODE", "STATE", "GPUS", "LAST HEARD", "METHOD", "AGENT")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``list`` and ``forget``."""
    wishes = parser.add_subparsers(dest="wish", metavar="WISH", required=True)
    listing = wishes.add_parser("list", help="every node that the hub knows")
    listing.add_argument("--json", action="store_true", help="print the hub's rows")
    forget = wishes.add_parser(
        "forget",
        help="show a node no more that is gone for good",
        description="Takes a node that is down, and its GPUs, out of every list and metric. Its "
        "history stays for as long as retention keeps it; if its agent comes back, so does it.",
    )
    forget.add_argument("node", nargs="+", metavar="NODE", help="name of a node that is down")
    for wish in (listing, forget):
        wish.add_argument("--hub", metavar="URL", help="the hub (http://127.0.0.1:9555)")


def run(args: argparse.Namespace) -> int:
    """Does what was asked; 1 and a sentence where the hub has no answer or will not."""
    from contextlib import closing

    from gpufleet.client.address import USUAL_HUB
    from gpufleet.client.errors import HubError
    from gpufleet.client.hub import Hub

    try:
        with closing(Hub(args.hub or USUAL_HUB)) as hub:
            if args.wish == "list":
                return _list(every_node(hub), as_json=args.json)
            for name in args.node:
                print(forget(hub, name))
    except HubError as error:
        print(f"gpufleet hub nodes: {error}", file=sys.stderr)
        return 1
    return 0


def every_node(hub: Hub) -> list[Mapping[str, Any]]:
    """Rows of ``/api/v1/nodes``, all pages; HubError as the hub's client has it."""
    rows: list[Mapping[str, Any]] = []
    cursor = ""
    while True:
        page = hub.get("/api/v1/nodes", {"cursor": cursor} if cursor else None)
        rows += page["nodes"]
        cursor = page["next_cursor"]
        if not cursor:
            return rows


def forget(hub: Hub, name: str) -> str:
    """What was forgotten, in a sentence; HubError with the hub's reason if it would not."""
    from gpufleet.client.address import path_part

    gone = hub.delete(f"/api/v1/nodes/{path_part(name)}")
    gpus = "its GPU" if gone["gpus"] == 1 else f"its {gone['gpus']} GPUs"
    return f"Node {gone['name']} and {gpus} are forgotten; their history stays."


def _list(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(rows))
        return 0
    for line in table(rows):
        print(line)
    return 0


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of text columns; ``-`` where nothing is known."""
    if not rows:
        return ["This hub knows no node: point agents at it with gpufleet agent run --hub."]
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        "up" if row["up"] else "down",
        str(row["gpus"]),
        row["receipt_time"] or "-",
        row["method"] or "-",
        row["agent_version"] or "-",
    )
