"""What is known of the fleet at one moment: all that views draw. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpufleet.client.lines import Line, Row
from gpufleet.tui.boxes import Zone
from gpufleet.tui.canvas import Canvas

OLD_SECONDS = 5.0
"""A picture older than this, and than three intervals, is shown in grey."""


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket of a series; ``None`` where there is no value."""

    time_ms: int
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Past:
    """Series of one GPU by metric, in buckets of ``step_ms`` from ``start_ms`` to ``end_ms``."""

    uuid: str
    start_ms: int
    end_ms: int
    step_ms: int
    source: str
    series: Mapping[str, Sequence[Point]]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as the alerts view shows it. ``key`` tells it from the others."""

    key: str
    name: str
    severity: str
    state: str
    """``firing``, ``pending``, ``no data`` or ``recovering``."""
    place: str
    incident: str | None = None
    """The hub's id of it; ``None`` while it is pending."""
    uuid: str | None = None
    node: str | None = None
    since_ms: int | None = None
    summary: str = ""
    more: tuple[str, ...] = ()
    """What it means, what to do, why, and who runs there: a line each."""
    acknowledged: str = ""
    """Who did, and what they said; empty where nobody did."""
    silenced: str = ""
    """Until when, by whom; empty where it is not."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The newest of everything."""

    hub: str
    now_ms: int
    taken_ms: int | None = None
    """When the rows were taken; ``None`` before the first answer."""
    interval_seconds: float = 1.0
    trouble: str = ""
    """Why there is no answer just now, one sentence."""
    fleet: Mapping[str, Any] | None = None
    """``/api/v1/fleet``."""
    rows: Sequence[Row] = ()
    fresh: Mapping[str, Row] = field(default_factory=dict)
    """Newer rows with all fields, by UUID, of GPUs that are seen."""
    sparks: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    spark_seconds: float = 5.0
    """Seconds that one cell of a sparkline stands for."""
    fleet_load: Sequence[float | None] = ()
    fleet_power: Sequence[float | None] = ()
    """Recent means of load and shares of the power limit, newest last, one a half cell."""
    gpu: Mapping[str, Any] | None = None
    """``/api/v1/gpus/{uuid}`` of the GPU in detail."""
    gpu_trouble: str = ""
    past: Past | None = None
    events: Sequence[Mapping[str, Any]] = ()
    alerts: Sequence[Alert] | None = None
    """``None``: not yet told."""
    alerts_trouble: str = ""
    note: str = ""
    """What became of the last order, one sentence."""

    @property
    def age_seconds(self) -> float | None:
        """How old the rows are."""
        return None if self.taken_ms is None else max(self.now_ms - self.taken_ms, 0) / 1000

    @property
    def old(self) -> bool:
        """Whether this is a picture of the past that should not look like the present."""
        age = self.age_seconds
        return age is not None and age > max(OLD_SECONDS, 3 * self.interval_seconds)


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawn screen: cells, what can be clicked, and how many lines its list shows at once."""

    canvas: Canvas
    zones: Sequence[Zone]
    page: int
    top: int = 0
    visible: Sequence[Line] = ()
    """The lines that are seen."""
