"""What the hub says of the past: series of a GPU, of several, of groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Numbers = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One metric column by column; which columns there are depends on its ``kind``."""

    unit: str
    kind: str
    time: tuple[str, ...]
    n: tuple[int, ...]
    gpus: tuple[int, ...] | None
    avg: Numbers | None
    min: Numbers | None
    max: Numbers | None
    sum: Numbers | None
    last: Numbers | None
    increase: Numbers | None
    bits: tuple[tuple[str, ...], ...] | None
    active_seconds: Numbers | None


@dataclass(frozen=True, slots=True)
class History:
    """One GPU's series by metric; with ``raw`` every point is one sample."""

    uuid: str
    start: str
    end: str
    step_seconds: float
    raw: bool
    source: str
    series: Mapping[str, Series]


@dataclass(frozen=True, slots=True)
class GpuHistory:
    """One of several GPUs."""

    uuid: str
    node: str
    index: int
    name: str
    series: Mapping[str, Series]


@dataclass(frozen=True, slots=True)
class Histories:
    """Several GPUs in buckets of one width."""

    start: str
    end: str
    step_seconds: float
    source: str
    gpus: tuple[GpuHistory, ...]


@dataclass(frozen=True, slots=True)
class GroupSeries:
    """A group's series by metric; ``group`` is ``None`` for nodes without the label."""

    group: str | None
    series: Mapping[str, Series]


@dataclass(frozen=True, slots=True)
class GroupHistory:
    """Groups over time; they end a minute or two ago."""

    start: str
    end: str
    step_seconds: float
    source: str
    group_by: str
    groups: tuple[GroupSeries, ...]
