"""``gpufleet alerts check | test | backtest | rules``: what needs no running hub."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gpufleet.cli.failed import Failed


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Failed(f"{path} is not UTF-8 text.") from None
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}.") from None


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
        raise Failed(f"{path} has {count} mistake{'s' if count > 1 else ''}.") from None


def check(args: argparse.Namespace) -> int:
    """Says that a rules file holds no mistake, or which."""
    rules = _loaded(args.file)
    groups = {rule.group for rule in rules.rules}
    print(f"{args.file}: {len(rules.rules)} rules in {len(groups)} groups, all well.")
    return 0


def shipped(args: argparse.Namespace) -> int:
    """Prints the rules that are shipped."""
    from gpufleet.alerting.rules.defaults import default_text

    print(default_text(), end="")
    return 0


def test(args: argparse.Namespace) -> int:
    """Runs unit tests; 1 where an expectation did not come true."""
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
            raise Failed(f"{path}: {error}") from None
        for failure in failures:
            print(f"{path}: FAILED {failure}")
        failed += len(failures)
        if not failures:
            print(f"{path}: passed")
    return 1 if failed else 0


def backtest(args: argparse.Namespace) -> int:
    """Says what rules would have fired on the stored history."""
    from collections import Counter

    from gpufleet.alerting.rules.tokens import duration_ms
    from gpufleet.alerting.wording import duration
    from gpufleet.hub.alerts.backtest import backtest, oldest_ms, tested_and_not
    from gpufleet.hub.api.times import format_ms
    from gpufleet.hub.config import HubConfig, default_data_dir
    from gpufleet.hub.core import Core
    from gpufleet.hub.store.database import open_database
    from gpufleet.hub.store.errors import StoreError

    last = duration_ms(args.last)
    if not last:
        raise Failed(f"--last {args.last!r} is no duration such as 24h or 7d.")
    rules = _loaded(args.file)
    tested, left_out = tested_and_not(rules)
    end_ms = Core.now()
    counts: Counter[str] = Counter()
    try:
        database = open_database(
            args.database or HubConfig(default_data_dir()).database_url, exclusive=False
        )
        try:
            oldest = oldest_ms(database)
            if oldest is None:
                raise Failed("The database holds no samples.")
            start_ms = max(end_ms - last, oldest)
            for one in backtest(database, rules, start_ms, end_ms):
                counts[one.rule.name] += 1
                lasted = "then no data" if one.no_data else "still"
                if one.end_ms is not None:
                    lasted = duration(one.end_ms - one.fired_ms)
                where = f"{one.node} / GPU {one.gpu_index}"
                print(f"{format_ms(one.fired_ms)}  {one.rule.name}  {where}  {lasted}")
        finally:
            database.close()
    except StoreError as error:
        raise Failed(str(error)) from None
    length = f"the last {args.last}"
    if start_ms > end_ms - last:
        length = f"{duration(end_ms - start_ms)}: there is no older history"
    print(f"{sum(counts.values())} firings of {len(tested)} rules in {length}.")
    for name, count in counts.most_common():
        print(f"  {count:6d}  {name}")
    if left_out:
        names = ", ".join(rule.name for rule in left_out)
        print(f"Not in history, so not tested: {names}.")
    return 0
