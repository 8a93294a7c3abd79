"""Phrases of mails: what an alert is about, whom it concerns, since when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.mail.plain import plain
from gpufleet.alerting.state import Scope
from gpufleet.alerting.wording import duration, quantity

_SUFFIXES = ("_celsius", "_ratio", "_bytes", "_watts", "_hertz", "_total", "_joules", "_seconds")
_SIGNS = {">=": "≥", "<=": "≤", "==": "=", "!=": "≠"}


def model_name(name: str) -> str:
    """``H100 80GB HBM3`` of ``NVIDIA H100 80GB HBM3``."""
    return plain(name.removeprefix("NVIDIA "), 80)


def metric_words(metric: str) -> str:
    """``memory used`` of ``memory_used_ratio``."""
    for suffix in _SUFFIXES:
        if metric.endswith(suffix):
            metric = metric.removesuffix(suffix)
            break
    return plain(metric.replace("_", " "))


def compares(incident: Incident) -> bool:
    """Whether it is about a metric and its threshold: else its value is nothing to show alone."""
    return bool(incident.comparison and incident.metric) and incident.threshold is not None


def comparison(incident: Incident) -> str:
    """``temperature 91 °C > 80 °C``; the summary where the alert compares no number."""
    if not compares(incident):
        return plain(incident.summary or incident.alertname, 140).rstrip(".")
    sign = _SIGNS.get(incident.comparison, incident.comparison)
    limit = quantity(incident.threshold, incident.unit)
    value = quantity(worst(incident), incident.unit)
    return f"{metric_words(incident.metric)} {value} {sign} {limit}"


def worst(incident: Incident) -> float | None:
    """The value to name: the newest, if it is still over the threshold, else the peak."""
    value, limit = incident.value, incident.threshold
    if value is None or not incident.open:
        return incident.peak if incident.peak is not None else value
    if limit is not None and incident.peak is not None:
        holds = value >= limit if incident.comparison.startswith(">") else value <= limit
        if incident.comparison[:1] in "<>" and not holds:
            return incident.peak
    return value


def excess(incident: Incident) -> float:
    """How far it is past its threshold; a greater number is worse."""
    value = worst(incident)
    if value is None or incident.threshold is None:
        return 0.0
    way = -1.0 if incident.comparison.startswith("<") else 1.0
    return way * (value - incident.threshold) / (abs(incident.threshold) or 1.0)


def lead(incidents: Sequence[Incident]) -> Incident:
    """The one that a mail is named by: of the most frequent alert the worst."""
    counts = Counter(one.alertname for one in incidents)
    return max(
        incidents,
        key=lambda one: (one.severity.rank, counts[one.alertname], excess(one), -one.since_ms),
    )


def device(incident: Incident) -> str:
    """``GPU 3``, ``MIG device 1``, or "" for a node."""
    if incident.scope is Scope.NODE:
        return ""
    kind = "GPU" if incident.scope is Scope.GPU else "MIG device"
    return f"{kind} {'?' if incident.gpu_index is None else incident.gpu_index}"


def whom(incidents: Iterable[Incident]) -> str:
    """``GPU 3 on gpu-01``, ``3 GPUs on 2 nodes``, ``node gpu-01``, ``4 nodes``."""
    found = list(incidents)
    subjects = {(one.scope, one.subject_key): one for one in found}
    nodes = {one.node for one in found}
    if len(subjects) == 1:
        (only,) = subjects.values()
        name = plain(only.node, 60)
        return f"node {name}" if only.scope is Scope.NODE else f"{device(only)} on {name}"
    where = f"on {plain(next(iter(nodes)), 60)}" if len(nodes) == 1 else f"on {len(nodes)} nodes"
    parts = []
    for scope, word in ((Scope.GPU, "GPU"), (Scope.MIG, "MIG device"), (Scope.NODE, "node")):
        count = sum(one is scope for one, _ in subjects)
        if count:
            parts.append(f"{count} {word}{'s' if count > 1 else ''}")
    if all(one is Scope.NODE for one, _ in subjects):
        return parts[0]
    return f"{' and '.join(parts)} {where}"


def lasted_ms(incident: Incident, now_ms: int) -> int:
    """From its first bad sample until it ended, or until now."""
    end = incident.resolved_ms or incident.closed_ms or now_ms
    return max(0, end - incident.since_ms)


def lasted(incident: Incident, now_ms: int) -> str:
    """The same in words."""
    return duration(lasted_ms(incident, now_ms))


def clock(at_ms: int, zone: tzinfo, *, date: bool = True) -> str:
    """``2026-11-26 10:31:07 +01:00``: local time of the hub, its offset from UTC printed."""
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    offset = local.strftime("%z")
    form = "%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S"
    return f"{local.strftime(form)} {offset[:3]}:{offset[3:5]}"
