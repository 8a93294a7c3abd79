"""Where a mail leads: the hub, Grafana, or the command that shows the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from gpufleet.alerting.incident import Incident

BEFORE_MS = 30 * 60_000
"""Links and charts begin so long before the first bad sample."""
PLACEHOLDERS = ("node", "gpu", "uuid", "model", "from", "to")

_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses that mails may lead to, without a slash at the end; "": there is none."""

    external_url: str = ""
    """The hub's, as people reach it."""
    grafana_url: str = ""
    """A dashboard: with ``{node}`` and so on in it, or Grafana's variables are appended."""


@dataclass(frozen=True, slots=True)
class Link:
    """A button."""

    text: str
    url: str


def incident_link(incident: Incident, places: Places) -> Link | None:
    """The incident at the hub."""
    if not places.external_url:
        return None
    return Link(
        "Incident",
        f"{places.external_url}/api/v1/incidents/{quote(incident.id, '', errors='replace')}",
    )


def of(incident: Incident, places: Places, now_ms: int) -> tuple[Link, ...]:
    """The buttons of a mail that this incident leads."""
    found = []
    if places.grafana_url:
        found.append(Link("Open in Grafana", grafana_url(incident, places.grafana_url, now_ms)))
    here = incident_link(incident, places)
    if here is not None:
        found.append(Link("Open the incident", here.url))
    return tuple(found)


def grafana_url(incident: Incident, base: str, now_ms: int) -> str:
    """The dashboard with this node and GPU chosen, from 30 min before until now."""
    end = incident.resolved_ms or incident.closed_ms or now_ms
    values = {
        "node": incident.node,
        "gpu": "" if incident.gpu_index is None else str(incident.gpu_index),
        "uuid": incident.subject_key,
        "model": incident.gpu_name,
        "from": str(incident.since_ms - BEFORE_MS),
        "to": str(end),
    }
    if _PLACEHOLDER.search(base):
        return _PLACEHOLDER.sub(lambda match: quote(values[match[1]], "", errors="replace"), base)
    variables = {"var-node": values["node"], "from": values["from"], "to": values["to"]}
    if incident.gpu_index is not None:
        variables["var-gpu"] = values["uuid"]
    return f"{base}{'&' if '?' in base else '?'}{urlencode(variables, errors='replace')}"


def commands(incidents: Sequence[Incident], places: Places) -> tuple[str, ...]:
    """What to type: to see it, where no link leads to it, and to stop repeats while it lasts."""
    found = []
    if not places.external_url:
        found.append("gpufleet alerts list")
    open_ones = [one for one in incidents if one.open and one.acknowledged_ms is None]
    if len(open_ones) == 1 and re.fullmatch(r"[\w.-]+", open_ones[0].id):
        found.append(f"gpufleet alerts ack {open_ones[0].id}")
    return tuple(found)
