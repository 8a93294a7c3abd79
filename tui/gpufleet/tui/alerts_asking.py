"""Alerts as the hub tells them, and what it is told of them."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from typing import Any

from gpufleet.client.address import path_part
from gpufleet.client.moments import milliseconds
from gpufleet.tui.asking import Hub
from gpufleet.tui.picture import Alert
from gpufleet.tui.timeline import moment

MOST_ALERTS = "1000"


def alerts(hub: Hub) -> list[Alert]:
    """Every alert that is not well now; what silences them is asked for where one does."""
    found = hub.get("/api/v1/alerts", {"limit": MOST_ALERTS})["alerts"]
    silences: Mapping[str, str] = {}
    if any(entry["silenced"] for entry in found):
        told = hub.get("/api/v1/silences")["silences"]
        silences = {silence["id"]: _silence(silence) for silence in told}
    return [alert(entry, silences) for entry in found]


def alert(entry: Mapping[str, Any], silences: Mapping[str, str]) -> Alert:
    """One alert as the view shows it."""
    node, index = str(entry["node"]), entry["gpu_index"]
    place = node if index is None else f"{node} / GPU {index}"
    key = entry["incident"] or f"{entry['alertname']} {entry['gpu_uuid'] or node}"
    more = (entry["description"], entry["advice"], *entry["reasons"], *entry["processes"])
    by = entry["acknowledged"]
    since = entry["fired_at"] or entry["since"]
    return Alert(
        key=str(key),
        name=str(entry["alertname"]),
        severity=str(entry["severity"]),
        state=str(entry["state"]).replace("_", " "),
        place=place,
        incident=entry["incident"],
        uuid=entry["gpu_uuid"],
        node=node,
        since_ms=milliseconds(since) if since else None,
        summary=str(entry["summary"]),
        more=tuple(str(line) for line in more if line),
        acknowledged="" if by is None else _with_comment(str(by["by"]), str(by["comment"])),
        silenced="; ".join(silences.get(i, "by a silence") for i in entry["silenced"]),
    )


def _silence(silence: Mapping[str, Any]) -> str:
    until = moment(milliseconds(silence["ends"]), 7 * 86400)
    return _with_comment(f"until {until} by {silence['author']}", str(silence["comment"]))


def _with_comment(text: str, comment: str) -> str:
    return f"{text}: {comment}" if comment else text


def acknowledge(hub: Hub, of: Alert | None, comment: str) -> str:
    """Takes note of an incident; what became of it, one sentence."""
    if of is None:
        return "This alert has ended meanwhile."
    if of.incident is None:
        return "This alert is pending yet: only what has fired can be acknowledged."
    path = f"/api/v1/incidents/{path_part(of.incident)}/ack"
    hub.post(path, {"by": author(), "comment": comment})
    return "Acknowledged: it is mailed no more until it resolves."


def silence(hub: Hub, of: Alert | None, seconds: int, comment: str) -> str:
    """Mutes mail about this rule on this GPU or node; what became of it, one sentence."""
    if of is None:
        return "This alert has ended meanwhile."
    matchers = [_matcher("alertname", of.name), _matcher("node", of.node or "")]
    if of.uuid:
        matchers.append(_matcher("gpu", of.uuid))
    body = {"matchers": matchers, "ends": f"+{seconds}s", "author": author(), "comment": comment}
    hub.post("/api/v1/silences", body)
    return f"Silenced: no mail about {of.name} of {of.place} meanwhile."


def _matcher(name: str, value: str) -> dict[str, str]:
    return {"name": name, "op": "=", "value": value}


def author() -> str:
    """Whose name an order bears."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody at a terminal"


def named(found: Sequence[Alert] | None, key: str) -> Alert | None:
    """The alert of a key, if it is still there."""
    return next((one for one in found or () if one.key == key), None)
