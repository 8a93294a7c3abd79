"""``gpufleet alerts`` at a running hub: alerts, incidents, silences and mails."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from typing import Any

from gpufleet.cli.failed import Failed


def _hub(args: argparse.Namespace) -> Any:
    from gpufleet.client.hub import Hub
    from gpufleet.client.request import USUAL_HUB

    return Hub(args.hub or USUAL_HUB)


def alerts(args: argparse.Namespace) -> int:
    """Lists the alerts that are not well now."""
    import json

    wanted = {"state": args.state, "severity": args.severity, "node": args.node}
    query = {k: str(v) for k, v in wanted.items() if v is not None}
    found = _hub(args).get("/api/v1/alerts", {**query, "limit": 1000})
    if args.json:
        print(json.dumps(found))
        return 0
    if not found["alerts"] and query:
        of_all = _hub(args).get("/api/v1/alerts", {"limit": 1})["total"]
        print(f"No such alert; {of_all} of other kinds." if of_all else "All is well.")
    elif not found["alerts"]:
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
        raise Failed("Say who you are with --by NAME.") from None


def ack(args: argparse.Namespace) -> int:
    """Takes note of an incident."""
    return _post(args, "ack", "acknowledged")


def close(args: argparse.Namespace) -> int:
    """Ends an incident."""
    return _post(args, "close", "closed")


def _post(args: argparse.Namespace, action: str, done: str) -> int:
    from urllib.parse import quote

    path = f"/api/v1/incidents/{quote(args.incident, safe='')}/{action}"
    found = _hub(args).post(path, {"by": _who(args), "comment": args.comment})
    print(f"{done}: {found['alertname']}, {found['summary']}")
    return 0


def silence(args: argparse.Namespace) -> int:
    """Mutes mail about what matches."""
    from gpufleet.alerting.notify.muting import MatcherError, parse_matcher

    try:
        matchers = [parse_matcher(text) for text in args.matchers]
    except MatcherError as error:
        raise Failed(str(error)) from None
    body = {
        "kind": "maintenance" if args.maintenance else "silence",
        "matchers": [{"name": m.name, "op": m.op, "value": m.value} for m in matchers],
        "starts": args.starts,
        "ends": _end(args.starts, args.length),
        "repeat": args.repeat,
        "author": _who(args),
        "comment": args.comment,
    }
    found = _hub(args).post("/api/v1/silences", body)
    print(f"{found['id']}: muted from {found['starts']} to {found['ends']}")
    return 0


def _end(starts: str, length: str) -> str:
    """``length`` after ``starts``, both as the hub's API writes times."""
    from gpufleet.alerting.rules.tokens import duration_ms

    lasts_ms = duration_ms(length.removeprefix("+"))
    if not lasts_ms:
        raise Failed(f"--for {length!r} is no duration such as 30m, 2h or 1d.")
    if starts == "now":
        return f"+{lasts_ms // 1000}s"
    offset_ms = duration_ms(starts[1:]) if starts[:1] in ("+", "-") else None
    if offset_ms is not None:
        end_ms = (offset_ms if starts[0] == "+" else -offset_ms) + lasts_ms
        return f"{'+' if end_ms >= 0 else '-'}{abs(end_ms) // 1000}s"
    try:
        start = datetime.fromisoformat(starts)
    except ValueError:
        wanted = "+1h, -30m or 2026-01-31T22:00:00Z"
        raise Failed(f"--starts {starts!r} is no time such as {wanted}.") from None
    return (start + timedelta(milliseconds=lasts_ms)).isoformat()


def silences(args: argparse.Namespace) -> int:
    """Lists silences and maintenance windows."""
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


def unsilence(args: argparse.Namespace) -> int:
    """Ends a silence."""
    from urllib.parse import quote

    _hub(args).delete(f"/api/v1/silences/{quote(args.id, safe='')}")
    print(f"{args.id}: ended")
    return 0


def mails(args: argparse.Namespace) -> int:
    """Lists the newest mails."""
    query = {"limit": 1000} | ({"state": args.state} if args.state else {})
    found = _hub(args).get("/api/v1/emails", query)
    if not found["emails"]:
        print("No mails.")
    for mail in found["emails"]:
        why = f": {mail['error']}" if mail["error"] else ""
        print(
            f"{mail['id']}  {mail['created']}  {mail['state']:8}  {mail['recipient']}"
            f"  {mail['subject']}{why}"
        )
    return 0


def resend(args: argparse.Namespace) -> int:
    """Sends a mail that was given up."""
    from urllib.parse import quote

    _hub(args).post(f"/api/v1/emails/{quote(args.id, safe='')}/send", {})
    print(f"{args.id}: is sent again")
    return 0
