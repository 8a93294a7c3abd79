"""``gpufleet alerts``: check, test and back-test rules; list, acknowledge and silence alerts."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

ACTIONS = {
    "check": ("check a rules file", "alert_rules:check"),
    "test": ("run unit tests of rules, in promtool's format", "alert_rules:test"),
    "backtest": ("what rules would have fired on stored history", "alert_rules:backtest"),
    "list": ("alerts that are not well now", "alert_desk:alerts"),
    "ack": ("take note of an incident: no more repeats", "alert_desk:ack"),
    "close": ("end an incident by hand", "alert_desk:close"),
    "silence": ("mute mail about what matches", "alert_desk:silence"),
    "silences": ("silences and maintenance windows", "alert_desk:silences"),
    "unsilence": ("end a silence", "alert_desk:unsilence"),
    "mails": ("mails that wait, were sent or given up", "alert_desk:mails"),
    "resend": ("send a mail after all that was given up", "alert_desk:resend"),
    "rules": ("print the rules that are shipped", "alert_rules:shipped"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    made = {
        name: actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
        for name, (text, _) in ACTIONS.items()
    }
    made["check"].add_argument("file", type=Path, metavar="FILE", help="the rules file")
    made["test"].add_argument("file", type=Path, nargs="+", metavar="FILE", help="test files")
    _backtest_arguments(made["backtest"])
    for name in ("list", "ack", "close", "silence", "silences", "unsilence", "mails", "resend"):
        made[name].add_argument("--hub", metavar="URL", help="the hub (http://127.0.0.1:9555)")
    made["list"].add_argument("--state", metavar="STATE", help="pending, firing, … only")
    made["list"].add_argument("--severity", metavar="SEVERITY", help="one severity only")
    made["list"].add_argument("--node", metavar="NAME", help="one node only")
    made["list"].add_argument("--json", action="store_true", help="print the hub's document")
    for name in ("ack", "close"):
        made[name].add_argument("incident", metavar="ID", help="as `gpufleet alerts list` shows it")
        _signed(made[name])
    made["silence"].add_argument(
        "matchers", nargs="+", metavar="NAME=VALUE", help="such as node=dgx-01 or model~=H100"
    )
    made["silence"].add_argument("--for", dest="length", default="2h", metavar="TIME", help="(2h)")
    made["silence"].add_argument(
        "--maintenance", action="store_true", help="a maintenance window, not a silence"
    )
    made["silence"].add_argument("--repeat", choices=("day", "week"), help="it comes again")
    made["silence"].add_argument("--starts", default="now", metavar="TIME", help="(now)")
    _signed(made["silence"])
    made["mails"].add_argument("--state", metavar="STATE", help="queued, sent, dead, … only")
    made["resend"].add_argument("id", metavar="ID", help="as `gpufleet alerts mails` shows it")
    made["unsilence"].add_argument("id", metavar="ID", help="as `gpufleet alerts silences` shows")


def _backtest_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="(the shipped rules)")
    parser.add_argument("--last", default="24h", metavar="TIME", help="how far back (24h)")
    parser.add_argument(
        "--database", metavar="URL", help="the hub's database; it may be in use (the default one)"
    )


def _signed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", metavar="NAME", help="who you are (your login)")
    parser.add_argument("--comment", default="", metavar="TEXT", help="why")


def run(args: argparse.Namespace) -> int:
    """Runs the action; 1 and a sentence where it cannot be done."""
    from gpufleet.cli.failed import Failed
    from gpufleet.client.request import HubError

    module, _, function = ACTIONS[args.action][1].partition(":")
    try:
        status: int = getattr(import_module(f"gpufleet.cli.{module}"), function)(args)
    except (HubError, Failed) as error:
        print(f"gpufleet alerts {args.action}: {error}", file=sys.stderr)
        return 1
    return status
