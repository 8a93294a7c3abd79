"""The command line's entry: finds the module of a command, runs it, and says errors in a sentence.

Nothing but the named command's module is imported, so that ``gpufleet --help`` is instant and an
agent's installation works without the packages of the hub.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, cast


class CommandModule(Protocol):
    """What a module of a command offers. It imports its part inside these functions."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table: where the command lives, what it says in --help, what it needs."""

    module: str
    help: str
    extra: str


COMMANDS: dict[str, Command] = {
    "agent": Command("gpufleet.cli.agent", "read this node's GPUs and push them to a hub", "agent"),
    "snapshot": Command(
        "gpufleet.cli.snapshot", "print every GPU of this machine as JSON, without a hub", "agent"
    ),
    "hub": Command("gpufleet.cli.hub", "collect from agents, keep history, serve it", "hub"),
    "export": Command(
        "gpufleet.cli.export",
        "write history as CSV or JSON lines, from a hub or its database",
        "hub",
    ),
    "usage": Command("gpufleet.cli.usage", "who held the GPUs, for how long, and used them", "hub"),
    "alerts": Command(
        "gpufleet.cli.alerts", "list, acknowledge and silence alerts; check and test rules", "hub"
    ),
    "tui": Command("gpufleet.cli.tui", "the fleet in this terminal", "tui"),
    "demo": Command("gpufleet.cli.demo", "a whole fleet on this machine, to look at", "agent,hub"),
}

SIGINT_STATUS = 130
SIGPIPE_STATUS = 141


def _version() -> str:
    from importlib import metadata

    try:
        return f"gpufleet {metadata.version('gpufleet')}"
    except metadata.PackageNotFoundError:
        return "gpufleet, run from source without an installation"


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one sentence, and which knows the parser that it ended in."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})
        self.set_defaults(parser=self)

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and where the help is; exits with 2."""
        stop = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"{self.prog}: {message}{stop} See '{self.prog} --help'.\n")

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """The error for words that no argument takes, with the option that may have been meant."""
        word = words[0].partition("=")[0]
        known = re.findall(r"--[a-z][a-z-]*", self.format_help())
        near = difflib.get_close_matches(word, known, 1)
        hint = f", did you mean {near[0]}?" if near else ""
        self.error(f"there is no {word!r} here{hint}")


class _Version(argparse.Action):
    """--version, which looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(_version())
        parser.exit()


def _parser(named: str | None) -> Parser:
    """The parser of every command; only the named one's module is imported and adds arguments."""
    parser = Parser(
        prog="gpufleet",
        description="Watch a fleet of NVIDIA GPUs.",
        epilog="gpufleet COMMAND --help says more about one command.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    parser.add_argument(
        "--debug", action="store_true", help="show the whole traceback of an unexpected error"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        description = command.help[0].upper() + command.help[1:] + "."
        sub = commands.add_parser(name, help=command.help, description=description)
        if name == named:
            _module(command).add_arguments(sub)
    return parser


def _module(command: Command) -> CommandModule:
    return cast(CommandModule, importlib.import_module(command.module))


EXTRA_OF_MODULE = {"psycopg": "postgres"}
"""Packages that a command needs only for some settings, and the extra that brings them."""


def _missing_extra(name: str, error: ModuleNotFoundError) -> str:
    extra = EXTRA_OF_MODULE.get(str(error.name).partition(".")[0], COMMANDS[name].extra)
    return (
        f"gpufleet {name} needs the Python package that has {error.name!r}, which is not "
        f"installed here: run pip install 'gpufleet[{extra}]'."
    )


def _unexpected(name: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    return (
        f"gpufleet {name} failed unexpectedly: {type(error).__name__}{': ' if text else ''}{text}. "
        f"gpufleet --debug {name} … shows where; please report it with that."
    )


RELATIVE_TIME = re.compile(r"-[0-9.]+[a-z]+")


def _times_joined(words: Sequence[str]) -> list[str]:
    """``--start -7d`` as ``--start=-7d``: argparse would take such a time for an option."""
    joined: list[str] = []
    for word in words:
        before = joined[-1] if joined else ""
        if RELATIVE_TIME.fullmatch(word) and before.startswith("--") and "=" not in before:
            joined[-1] = f"{before}={word}"
        else:
            joined.append(word)
    return joined


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 done, 1 failed, 2 wrongly called."""
    arguments = _times_joined(sys.argv[1:] if argv is None else argv)
    named = next((word for word in arguments if not word.startswith("-")), None)
    try:
        args, unknown = _parser(named).parse_known_args(arguments)
        if unknown:
            args.parser.refuse(unknown)
        status = _module(COMMANDS[args.command]).run(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return SIGINT_STATUS
    except BrokenPipeError:
        # The reader went away (`| head`). The interpreter flushes stdout once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGPIPE_STATUS
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
            return 1
        name = named or ""
        ours = str(getattr(error, "name", "gpufleet")).startswith("gpufleet")
        if isinstance(error, ModuleNotFoundError) and name in COMMANDS and not ours:
            print(_missing_extra(name, error), file=sys.stderr)
        else:
            print(_unexpected(name, error), file=sys.stderr)
        return 1
