"""``gpufleet alerts``: check, test and back-test rules; list, acknowledge and silence alerts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

ACTIONS = {
    "check": ("check a rules file", "_check"),
    "test": ("run unit tests of rules, in promtool's format", "_test"),
    "backtest": ("what rules would have fired on stored history", "_backtest"),
    "list": ("alerts that are not well now", "_list"),
    "ack": ("take note of an incident: no more repeats", "_ack"),
    "close": ("end an incident by hand", "_close"),
    "silence": ("mute mail about what matches", "_silence"),
    "silences": ("silences and maintenance windows", "_silences"),
    "unsilence": ("end a silence", "_unsilence"),
    "rules": ("print the rules that are shipped", "_rules"),
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
    for name in ("list", "ack", "close", "silence", "silences", "unsilence"):
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
    from gpufleet.client.request import HubError

    try:
        status: int = globals()[ACTIONS[args.action][1]](args)
    except (HubError, _Failed) as error:
        print(f"gpufleet alerts {args.action}: {error}", file=sys.stderr)
        return 1
    return status


class _Failed(Exception):
    """It cannot be done; one sentence."""


# Rules


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise _Failed(f"{path} is not UTF-8 text.") from None
    except OSError as error:
        raise _Failed(f"{path} cannot be read: {error.strerror}.") from None


def _loaded(path: Path | None) -> Any:
    """The rules of a file, or those that are shipped; every mistake is printed."""
    from gpufleet.alerting.rules.defaults import default_rules
    from gpufleet.alerting.rules.file import RulesError, read_rules
    from gpufleet.hub.alert_names import alert_schema

    if path is None:
        return default_rules(alert_schema())
    try:
        return read_rules(_read(path), alert_schema(), str(path))
    except RulesError as error:
        for problem in error.problems:
            print(f"{path}: {problem}", file=sys.stderr)
        count = len(error.problems)
        raise _Failed(f"{path} has {count} mistake{'s' if count > 1 else ''}.") from None


def _check(args: argparse.Namespace) -> int:
    rules = _loaded(args.file)
    groups = {rule.group for rule in rules.rules}
    print(f"{args.file}: {len(rules.rules)} rules in {len(groups)} groups, all well.")
    return 0


def _rules(args: argparse.Namespace) -> int:
    from gpufleet.alerting.rules.defaults import default_text

    print(default_text(), end="")
    return 0


def _test(args: argparse.Namespace) -> int:
    from gpufleet.alerting.rules.rule import RuleSet
    from gpufleet.alerting.rules.unit_tests import rule_files, run_tests
    from gpufleet.alerting.rules.unit_world import TestFileError
    from gpufleet.hub.alert_names import alert_schema

    failed = 0
    for path in args.file:
        text = _read(path)
        try:
            names = rule_files(text)
            found = [_loaded(path.parent / name) for name in names] or [_loaded(None)]
            rules = RuleSet(tuple(rule for one in found for rule in one.rules), str(path))
            failures = run_tests(text, rules, alert_schema())
        except TestFileError as error:
            raise _Failed(f"{path}: {error}") from None
        for failure in failures:
            print(f"{path}: FAILED {failure}")
        failed += len(failures)
        if not failures:
            print(f"{path}: passed")
    return 1 if failed else 0


def _backtest(args: argparse.Namespace) -> int:
    from collections import Counter

    from gpufleet.alerting.rules.tokens import duration_ms
    from gpufleet.alerting.wording import duration
    from gpufleet.hub.alerts.backtest import backtest, tested_and_not
    from gpufleet.hub.api.times import format_ms
    from gpufleet.hub.config import HubConfig, default_data_dir
    from gpufleet.hub.core import Core
    from gpufleet.hub.store.database import open_database
    from gpufleet.hub.store.errors import StoreError

    last = duration_ms(args.last)
    if not last:
        raise _Failed(f"--last {args.last!r} is no duration such as 24h or 7d.")
    rules = _loaded(args.file)
    tested, left_out = tested_and_not(rules)
    end_ms = Core.now()
    counts: Counter[str] = Counter()
    try:
        database = open_database(
            args.database or HubConfig(default_data_dir()).database_url, exclusive=False
        )
        try:
            for one in backtest(database, rules, end_ms - last, end_ms):
                counts[one.rule.name] += 1
                lasted = "still" if one.end_ms is None else duration(one.end_ms - one.fired_ms)
                where = f"{one.node} / GPU {one.gpu_index}"
                print(f"{format_ms(one.fired_ms)}  {one.rule.name}  {where}  {lasted}")
        finally:
            database.close()
    except StoreError as error:
        raise _Failed(str(error)) from None
    print(f"{sum(counts.values())} firings of {len(tested)} rules in the last {args.last}.")
    for name, count in counts.most_common():
        print(f"  {count:6d}  {name}")
    if left_out:
        names = ", ".join(rule.name for rule in left_out)
        print(f"Not in history, so not tested: {names}.")
    return 0


# A running hub


def _hub(args: argparse.Namespace) -> Any:
    from gpufleet.client.hub import Hub
    from gpufleet.client.request import USUAL_HUB

    return Hub(args.hub or USUAL_HUB)


def _list(args: argparse.Namespace) -> int:
    import json

    query = {"state": args.state, "severity": args.severity, "node": args.node, "limit": 1000}
    found = _hub(args).get("/api/v1/alerts", {k: v for k, v in query.items() if v is not None})
    if args.json:
        print(json.dumps(found))
        return 0
    if not found["alerts"]:
        print("All is well.")
    for alert in found["alerts"]:
        marks = ("acknowledged " if alert["acknowledged"] else "") + (
            "silenced" if alert["silenced"] else ""
        )
        print(
            f"{alert['incident'] or '-':16}  {alert['severity']:8}  {alert['state']:10}  "
            f"{alert['since']}  {alert['alertname']}: {alert['summary']} {marks}".rstrip()
        )
    if found["total"] > len(found["alerts"]):
        print(f"and {found['total'] - len(found['alerts'])} more")
    return 0


def _who(args: argparse.Namespace) -> str:
    import getpass

    if args.by:
        return str(args.by)
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise _Failed("Say who you are with --by NAME.") from None


def _ack(args: argparse.Namespace) -> int:
    return _post(args, "ack", "acknowledged")


def _close(args: argparse.Namespace) -> int:
    return _post(args, "close", "closed")


def _post(args: argparse.Namespace, action: str, done: str) -> int:
    from urllib.parse import quote

    path = f"/api/v1/incidents/{quote(args.incident, safe='')}/{action}"
    found = _hub(args).post(path, {"by": _who(args), "comment": args.comment})
    print(f"{done}: {found['alertname']}, {found['summary']}")
    return 0


def _silence(args: argparse.Namespace) -> int:
    from gpufleet.alerting.notify.muting import MatcherError, parse_matcher

    try:
        matchers = [parse_matcher(text) for text in args.matchers]
    except MatcherError as error:
        raise _Failed(str(error)) from None
    body = {
        "kind": "maintenance" if args.maintenance else "silence",
        "matchers": [{"name": m.name, "op": m.op, "value": m.value} for m in matchers],
        "starts": args.starts,
        "ends": args.length if args.length[:1] in "+-" else f"+{args.length}",
        "repeat": args.repeat,
        "author": _who(args),
        "comment": args.comment,
    }
    found = _hub(args).post("/api/v1/silences", body)
    print(f"{found['id']}: muted from {found['starts']} to {found['ends']}")
    return 0


def _silences(args: argparse.Namespace) -> int:
    found = _hub(args).get("/api/v1/silences")["silences"]
    if not found:
        print("Nothing is silenced.")
    for one in found:
        matchers = " ".join(f"{m['name']}{m['op']}{m['value']}" for m in one["matchers"]) or "all"
        state = "active" if one["active"] else "waiting"
        again = f" each {one['repeat']}" if one["repeat"] else ""
        print(
            f"{one['id']}  {state:7}  {one['starts']} to {one['ends']}{again}  {matchers}"
            f"  {one['author']}: {one['comment']}"
        )
    return 0


def _unsilence(args: argparse.Namespace) -> int:
    from urllib.parse import quote

    _hub(args).delete(f"/api/v1/silences/{quote(args.id, safe='')}")
    print(f"{args.id}: ended")
    return 0
