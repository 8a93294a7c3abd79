"""``gpufleet hub``: serve the fleet; migrate, copy and restore its database; forget nodes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufleet.cli import nodes

if TYPE_CHECKING:
    from gpufleet.hub.config import HubConfig

SETTINGS = ("database", "data_dir", "http_port", "grpc_port", "listen", "rules", "journal")
"""Flags that are settings of the hub (gpufleet.hub.config)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``serve``, ``migrate``, ``backup``, ``restore``, ``nodes`` and ``test-email``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    serve = actions.add_parser(
        "serve",
        help="run the hub",
        description="Runs the hub until SIGTERM or Ctrl-C. Settings come from hub.toml, then "
        "GPUFLEET_* variables (GPUFLEET_HTTP_PORT=9555), then these flags.",
    )
    _database(serve)
    serve.add_argument("--http-port", metavar="PORT", help="REST and /metrics (9555)")
    serve.add_argument("--grpc-port", metavar="PORT", help="where agents push to (9556)")
    serve.add_argument("--listen", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    serve.add_argument(
        "--rules", metavar="FILE", help="alert rules (those that are shipped); edits are watched"
    )
    serve.add_argument(
        "--journal", metavar="FILE", help="record the position of everything received, for tests"
    )
    migrate = actions.add_parser(
        "migrate",
        help="bring the database's schema up to date",
        description="Brings the database's schema up to date. On SQLite serve does it by itself.",
    )
    _database(migrate)
    backup = actions.add_parser(
        "backup",
        help="copy the SQLite database while the hub runs",
        description="Writes a whole, checked copy of the SQLite database to FILE. The hub may run"
        " and goes on. Of PostgreSQL use pg_dump -Fc or pg_basebackup.",
    )
    backup.add_argument("file", type=Path, metavar="FILE", help="a new file")
    _database(backup)
    restore = actions.add_parser(
        "restore",
        help="put such a copy in the database's place",
        description="Puts a copy in the place of the SQLite database, while no hub runs. What was"
        " there is kept beside it.",
    )
    restore.add_argument("file", type=Path, metavar="FILE", help="a copy made by backup")
    _database(restore)
    about = "list the nodes of a running hub, forget one that is gone"
    nodes.add_arguments(actions.add_parser("nodes", help=about))
    test_email = actions.add_parser(
        "test-email",
        help="send a sample mail, and say what went wrong if it did not go",
        description="Sends a sample alert mail the way hub.toml says, to every recipient of its"
        " routes or to those named. The hub need not run.",
    )
    test_email.add_argument(
        "--to", action="append", default=[], metavar="ADDRESS", help="send it to this one instead"
    )
    _database(test_email)


def _database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings (/etc/gpufleet/hub.toml if there)",
    )
    parser.add_argument(
        "--database", metavar="URL", help="sqlite:///… or postgresql+psycopg://… (in the data dir)"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where the hub keeps its files (/var/lib/gpufleet/hub for root, else "
        "~/.local/share/gpufleet/hub)",
    )


def run(args: argparse.Namespace) -> int:
    """Loads the settings and does what was asked: 2 for wrong settings, 1 if it cannot start."""
    if args.action == "nodes":
        return nodes.run(args)
    from gpufleet.hub import config

    flags: dict[str, Any] = {name: getattr(args, name, None) for name in SETTINGS}
    try:
        settings = config.load(args.config, os.environ, flags)
    except config.ConfigError as error:
        print(f"gpufleet hub: {error}", file=sys.stderr)
        return 2
    if args.action == "test-email":
        return _test_email(settings, args.to)
    from gpufleet.hub import app

    if args.action in ("backup", "restore"):
        return _copy(args, settings)
    _log_to_stderr()
    try:
        return app.migrate(settings) if args.action == "migrate" else app.serve(settings)
    except app.CannotStart as error:
        print(f"gpufleet hub: {error}", file=sys.stderr)
        return 1


def _copy(args: argparse.Namespace, settings: HubConfig) -> int:
    from gpufleet.hub import copies
    from gpufleet.hub.store.errors import StoreError

    act = copies.back_up if args.action == "backup" else copies.put_back
    try:
        print(act(settings, args.file))
    except StoreError as error:
        print(f"gpufleet hub {args.action}: {error}", file=sys.stderr)
        return 1
    return 0


def _test_email(settings: HubConfig, to: list[str]) -> int:
    from gpufleet.hub.mail.trial import NotTried, try_out

    try:
        found = try_out(settings.mail, to)
    except NotTried as error:
        print(f"gpufleet hub test-email: {error}", file=sys.stderr)
        return 2
    way = settings.mail.mail_dir or "the mail server"
    for recipient, trouble in found.items():
        if trouble:
            print(f"gpufleet hub test-email: {recipient}: {trouble}", file=sys.stderr)
        else:
            print(f"{recipient}: {way} took the sample mail.")
    return 1 if any(found.values()) else 0


def _log_to_stderr() -> None:
    """From info on; Alembic's steps are told by their result."""
    from gpufleet.proto.logline import log_to_stderr

    log_to_stderr(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
