"""One incident as people see it (in mail, REST and the clients), and a notice of its change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpufleet.alerting.state import OPEN, Kind, Scope, Severity, State


@dataclass(frozen=True, slots=True)
class Incident:
    """What is known of one rule's trouble with one subject. Times are Unix ms UTC.

    It is told from rows and live facts by the hub; whoever renders it needs nothing else.
    ``None`` and "" mean not known, or that it does not apply.
    """

    id: str
    """Stable for good, printable, from rule, subject and start."""
    alertname: str
    group: str
    severity: Severity
    scope: Scope
    state: State
    node: str
    subject_key: str
    """UUID of the GPU or MIG device; the node's name at node scope."""
    gpu_index: int | None = None
    gpu_name: str = ""
    """The model as the driver says it; "" at node scope."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The rule's labels over the node's."""
    since_ms: int = 0
    """t0: the first bad sample."""
    fired_ms: int | None = None
    resolved_ms: int | None = None
    last_sample_ms: int | None = None
    value: float | None = None
    """Newest value of the metric that the condition compares, in base units."""
    peak: float | None = None
    """The worst value while it was open (greatest for >, least for <)."""
    threshold: float | None = None
    comparison: str = ""
    """``>`` and so on between metric and threshold, "" where the condition is no comparison."""
    metric: str = ""
    """The catalogue's name, "" where there is none."""
    unit: str = ""
    summary: str = ""
    description: str = ""
    advice: str = ""
    """What to do, in plain words."""
    reasons: tuple[str, ...] = ()
    """Reasons of the GPU's health, or of the incident itself, a sentence each."""
    processes: tuple[str, ...] = ()
    """Who runs on it: one line a process ("alice python 40.1 GiB, job 4711")."""
    users: tuple[str, ...] = ()
    count: int = 1
    """Times an event came (Xids); 1 for conditions."""
    first_seen_ms: int | None = None
    last_seen_ms: int | None = None
    acknowledged_by: str = ""
    acknowledged_ms: int | None = None
    acknowledged_comment: str = ""
    closed_by: str = ""
    closed_ms: int | None = None
    closed_comment: str = ""
    for_ms: int = 0
    """How long the condition must hold."""
    repeat: bool = True
    """False: mailed once, whatever it lasts."""
    subject_id: int = 0
    """The hub's id of the subject, for its history."""

    @property
    def open(self) -> bool:
        """Neither resolved nor closed."""
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class Notice:
    """A transition that people may have to be told of. It is a row, written with the transition."""

    id: int
    """Ascending in the order of writing."""
    incident_id: str
    kind: Kind
    time_ms: int
    """When it happened, by the clock that drives the rule."""
    noted_ms: int
    """When the hub noted it, by the hub's clock: what waiting and repeating count from."""
    text: str = ""
    by: str = ""
    """Who did it, where a person did."""
    value: float | None = None
