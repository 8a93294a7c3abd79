"""Every question to a hub as a function that gives a typed answer. HubError is all that goes wrong.

They wait for the hub: on a screen's thread use them through ``Fetcher``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from gpufleet.client import alert_documents as alerting
from gpufleet.client import documents as now
from gpufleet.client import history_documents as past
from gpufleet.client.address import Query, path_part
from gpufleet.client.decode import read
from gpufleet.client.errors import Broken, Refused
from gpufleet.client.fields import Fields
from gpufleet.client.hub import Hub
from gpufleet.client.query import ListQuery
from gpufleet.client.table import Table, opened

ROOT = "/api/v1"
T = TypeVar("T")


def fleet(hub: Hub) -> now.Fleet:
    """Totals of the fleet."""
    return read(now.Fleet, hub.get(f"{ROOT}/fleet"))


def info(hub: Hub) -> now.Info:
    """Facts of the hub."""
    return read(now.Info, hub.get(f"{ROOT}/info"))


def nodes(hub: Hub, limit: int = 1000, cursor: str = "") -> now.NodePage:
    """Nodes by name."""
    query = {"limit": str(limit), "cursor": cursor}
    return read(now.NodePage, hub.get(f"{ROOT}/nodes", query))


def node(hub: Hub, name: str) -> now.NodeDetail:
    """One node."""
    return read(now.NodeDetail, hub.get(f"{ROOT}/nodes/{path_part(name)}"))


def gpus(hub: Hub, query: ListQuery) -> Table:
    """A part of the list."""
    return opened(hub.get(f"{ROOT}/gpus", query.page()))


def gpu(hub: Hub, uuid: str) -> now.Gpu:
    """One GPU or MIG device."""
    return read(now.Gpu, hub.get(f"{ROOT}/gpus/{path_part(uuid)}"))


def processes(hub: Hub, uuid: str) -> now.ProcessList:
    """Its processes."""
    return read(now.ProcessList, hub.get(f"{ROOT}/gpus/{path_part(uuid)}/processes"))


def groups(
    hub: Hub,
    by: str,
    *,
    filter: str = "",
    sort: str = "",
    limit: int = 1000,
    offset: int = 0,
    points: int = 0,
) -> now.GroupPage:
    """GPUs summed up by ``node``, ``model``, ``user`` or ``label.NAME``, as they are now."""
    query = {
        "by": by,
        "filter": filter,
        "sort": sort,
        "limit": str(limit),
        "offset": str(offset),
        "points": str(points),
    }
    return read(now.GroupPage, hub.get(f"{ROOT}/groups", query))


def sparklines(
    hub: Hub, uuids: Sequence[str] = (), query: ListQuery | None = None, points: int = 60
) -> now.Sparklines:
    """The recent load of these GPUs (256 at most), or of a part of the list."""
    part = query.page() if query is not None else {}
    part.pop("fields", None)
    asked: dict[str, str | Sequence[str]] = {**part, "gpu": ",".join(uuids), "points": str(points)}
    return read(now.Sparklines, hub.get(f"{ROOT}/sparklines", asked))


def catalog(hub: Hub) -> now.Catalog:
    """Every metric."""
    return read(now.Catalog, hub.get(f"{ROOT}/metrics-catalog"))


def fields(hub: Hub) -> Fields:
    """The names that filters and sort orders may use."""
    metrics = catalog(hub).metrics
    return Fields((m.name, m.kind, m.words or {}) for m in metrics if "gpu" in m.subjects)


def events(
    hub: Hub, *, uuid: str = "", node: str = "", limit: int = 100, cursor: str = ""
) -> now.EventPage:
    """Events, newest first: of a GPU, of a node, or of the whole fleet."""
    path = f"{ROOT}/gpus/{path_part(uuid)}/events" if uuid else f"{ROOT}/events"
    query = {"node": node, "limit": str(limit), "cursor": cursor}
    return read(now.EventPage, hub.get(path, query))


def history(
    hub: Hub,
    uuid: str,
    metrics: Sequence[str],
    *,
    start: str = "-1h",
    end: str = "now",
    points: int = 500,
) -> past.History:
    """One GPU over time; times as the hub takes them (RFC 3339, Unix seconds, ``-1h``)."""
    path = f"{ROOT}/gpus/{path_part(uuid)}/history"
    return read(past.History, hub.get(path, _range(metrics, start, end, points)))


def histories(
    hub: Hub,
    metrics: Sequence[str],
    *,
    uuids: Sequence[str] = (),
    node: str = "",
    start: str = "-1h",
    end: str = "now",
    points: int = 500,
) -> past.Histories:
    """Several GPUs over time."""
    query = {**_range(metrics, start, end, points), "gpu": ",".join(uuids), "node": node}
    return read(past.Histories, hub.get(f"{ROOT}/history", query))


def group_history(
    hub: Hub,
    by: str,
    metrics: Sequence[str],
    *,
    uuids: Sequence[str] = (),
    node: str = "",
    start: str = "-1h",
    end: str = "now",
    points: int = 500,
) -> past.GroupHistory:
    """Groups over time: ``fleet``, ``node``, ``model``, ``gpu`` or ``label.NAME``."""
    query = {**_range(metrics, start, end, points), "gpu": ",".join(uuids), "node": node}
    return read(past.GroupHistory, hub.get(f"{ROOT}/history", {**query, "group_by": by}))


def _range(metrics: Sequence[str], start: str, end: str, points: int) -> dict[str, str]:
    return {"metric": ",".join(metrics), "start": start, "end": end, "points": str(points)}


def alerts(
    hub: Hub, *, state: str = "", severity: str = "", node: str = "", limit: int = 1000
) -> alerting.AlertPage | None:
    """Alerts that are not well; ``None``: this hub has no alerts."""
    query = {"state": state, "severity": severity, "node": node, "limit": str(limit)}
    return _unless_absent(hub, f"{ROOT}/alerts", query, alerting.AlertPage)


def incidents(
    hub: Hub, *, state: str = "open", limit: int = 100, cursor: str = ""
) -> alerting.IncidentPage | None:
    """Incidents that are ``open``, ``resolved``, ``closed`` or ``all``; ``None``: as ``alerts``."""
    query = {"state": state, "limit": str(limit), "cursor": cursor}
    return _unless_absent(hub, f"{ROOT}/incidents", query, alerting.IncidentPage)


def incident(hub: Hub, id: str) -> tuple[alerting.Alert, alerting.IncidentHistory]:
    """One incident and what happened to it."""
    document = hub.get(f"{ROOT}/incidents/{path_part(id)}")
    return read(alerting.Alert, document), read(alerting.IncidentHistory, document)


def acknowledge(hub: Hub, id: str, by: str, comment: str = "") -> None:
    """Stops repeats of an incident's mails."""
    hub.post(f"{ROOT}/incidents/{path_part(id)}/ack", {"by": by, "comment": comment})


def close(hub: Hub, id: str, by: str, comment: str = "") -> None:
    """Ends an incident that will not resolve by itself."""
    hub.post(f"{ROOT}/incidents/{path_part(id)}/close", {"by": by, "comment": comment})


def silences(hub: Hub) -> alerting.SilenceList | None:
    """Silences and maintenance windows; ``None``: this hub has no alerts."""
    return _unless_absent(hub, f"{ROOT}/silences", {}, alerting.SilenceList)


def silence(
    hub: Hub,
    matchers: Sequence[alerting.Matcher],
    *,
    ends: str,
    author: str,
    comment: str,
    starts: str = "",
    kind: str = "silence",
    repeat: str = "",
) -> alerting.Silence:
    """Mutes the mails of what all matchers match, from ``starts`` (now) to ``ends``, RFC 3339."""
    body: dict[str, Any] = {
        "kind": kind,
        "matchers": [{"name": m.name, "op": m.op, "value": m.value} for m in matchers],
        "ends": ends,
        "author": author,
        "comment": comment,
    }
    more = {name: value for name, value in (("starts", starts), ("repeat", repeat)) if value}
    return read(alerting.Silence, hub.post(f"{ROOT}/silences", body | more))


def unsilence(hub: Hub, id: str) -> None:
    """Ends a silence."""
    hub.delete(f"{ROOT}/silences/{path_part(id)}")


def rules(hub: Hub) -> alerting.RuleList | None:
    """The alert rules in force; ``None``: this hub has no alerts."""
    return _unless_absent(hub, f"{ROOT}/rules", {}, alerting.RuleList)


def _unless_absent(hub: Hub, path: str, query: Query, kind: type[T]) -> T | None:
    try:
        document = hub.get(path, query)
    except Refused as error:
        if error.status == 404:
            return None
        raise
    if document is None:
        raise Broken("The answer is empty: is it a hub?")
    return read(kind, document)
