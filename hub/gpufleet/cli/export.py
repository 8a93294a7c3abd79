"""``gpufleet export``: history as CSV or JSON lines, from a hub or straight from its database."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--hub", metavar="URL", help="ask this hub (http://127.0.0.1:9555)")
    where.add_argument(
        "--database",
        metavar="URL",
        help="read this database (sqlite:///… or postgresql+psycopg://…)",
    )
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="(csv)")
    parser.add_argument(
        "--resolution",
        choices=("samples", "minutes", "hours"),
        default="samples",
        help="every sample, or what minutes or hours say (samples)",
    )
    parser.add_argument("--start", default="-1h", metavar="TIME", help="RFC 3339 or -7d (-1h)")
    parser.add_argument("--end", default="now", metavar="TIME", help="the same (now)")
    parser.add_argument(
        "--gpu", action="append", default=[], metavar="UUID", help="this GPU only; repeatable"
    )
    parser.add_argument("--node", metavar="NAME", help="GPUs of this node only")
    parser.add_argument(
        "--metric", action="append", default=[], metavar="NAME", help="this metric; repeatable"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write here (standard output)")


def run(args: argparse.Namespace) -> int:
    """Writes the export; 1 and a sentence where there is none or it broke off."""
    from gpufleet.client.request import HubError

    pieces = _from_database(args) if args.database else _from_hub(args)
    try:
        if args.output is None:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        else:
            with args.output.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
    except (HubError, _NoExport) as error:
        print(f"gpufleet export: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:
        where = args.output or "standard output"
        print(f"gpufleet export: {where} cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


class _NoExport(Exception):
    """The database gives no export; one sentence."""


def _from_hub(args: argparse.Namespace) -> Iterator[bytes]:
    from gpufleet.client.request import USUAL_HUB, get_pieces

    query = {
        "format": args.format,
        "resolution": args.resolution,
        "start": args.start,
        "end": args.end,
        "gpu": args.gpu,
        "node": args.node,
        "metric": args.metric,
    }
    return get_pieces(args.hub or USUAL_HUB, "/api/v1/export", query)


def _from_database(args: argparse.Namespace) -> Iterator[bytes]:
    from gpufleet.hub.api.export_text import Format, export_text
    from gpufleet.hub.api.times import TimeError, parse_time
    from gpufleet.hub.store.database import open_database
    from gpufleet.hub.store.errors import HistoryError, StoreError
    from gpufleet.hub.store.export import Resolution, plan_export

    now_ms = time.time_ns() // 1_000_000
    try:
        database = open_database(args.database, exclusive=False)
    except StoreError as error:
        raise _NoExport(str(error)) from None
    try:
        plan = plan_export(
            database,
            parse_time(args.start, now_ms),
            parse_time(args.end, now_ms),
            resolution=Resolution(args.resolution),
            gpus=_names(args.gpu),
            node=args.node,
            names=_names(args.metric),
        )
        yield from export_text(plan, Format(args.format))
    except (HistoryError, StoreError, TimeError) as error:
        raise _NoExport(str(error)) from None
    finally:
        database.close()


def _names(texts: list[str]) -> list[str]:
    """As the hub takes them: repeated, comma-separated, or both."""
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]
