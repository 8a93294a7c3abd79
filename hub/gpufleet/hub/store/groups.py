"""Aggregates over many GPUs: the fleet or its groups over time, and who is at the top.

Made in SQL from minutes or hours, so that the rows of thousands of GPUs never become Python's.
What is not committed yet is not in them: they end a minute or two ago.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Select,
    String,
    Table,
    cast,
    func,
    literal,
    literal_column,
    select,
    union_all,
)

from gpufleet.hub.store.buckets import bucket_edges, bucket_width
from gpufleet.hub.store.chunk import Ints
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import HistoryError
from gpufleet.hub.store.grid import hour_of
from gpufleet.hub.store.history import check_range
from gpufleet.hub.store.retention import kept_since
from gpufleet.hub.store.rollup import ROLLUPS
from gpufleet.hub.store.sources import MINUTES_RANGE_MS, Source
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS, hours, minutes, nodes, samples, subjects
from gpufleet.proto.catalog import Kind, Metric

MAX_ROWS = 500_000
"""Minutes that one question may sum up; a longer one is answered from hours."""
MAX_TOP = 1000


class By(Enum):
    """What the GPUs are grouped by."""

    FLEET = "fleet"
    NODE = "node"
    MODEL = "model"
    GPU = "gpu"
    LABEL = "label"


COLUMNS: dict[Kind, tuple[str, ...]] = {
    Kind.GAUGE: ("avg", "min", "max", "sum"),
    Kind.COUNTER: ("increase",),
    Kind.STATE: ("min", "max"),
    Kind.BITS: ("active_seconds",),
}
"""What a group has by the metric's kind.

- gauge: ``avg`` of all samples, ``min``, ``max``, and ``sum`` of the averages of the GPUs (the
  power of a rack)
- counter: ``increase``, all GPUs together
- state: ``min``, ``max``
- bits: ``active_seconds``, all GPUs together
"""


@dataclass(frozen=True, slots=True)
class GroupSeries:
    """One group over time; NaN in ``columns`` where ``n`` is 0.

    ``group`` is a node's, a model's or a GPU's key or a label's value; ``None`` for the fleet,
    and for nodes without that label. ``subjects`` counts GPUs with a value in each bucket.
    """

    group: str | None
    n: Ints
    subjects: Ints
    columns: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups by name, over the same buckets, which begin at ``times_ms``."""

    metric: Metric
    step_ms: int
    times_ms: Ints
    series: tuple[GroupSeries, ...]
    source: Source = Source.MINUTES


@dataclass(frozen=True, slots=True)
class Top:
    """A group and its value over the whole range."""

    group: str | None
    value: float
    n: int
    subjects: int


def query_groups(
    database: Database,
    metric: Metric,
    by: By,
    start_ms: int,
    end_ms: int,
    points: int,
    *,
    label: str = "",
    subject_ids: Collection[int] | None = None,
) -> Groups:
    """Every group in buckets of [start, end), of all GPUs or of ``subject_ids``.

    ``label`` names the label with ``By.LABEL``. HistoryError says why there is no answer.
    """
    check_range(start_ms, end_ms, points)
    _check(metric, by, label)
    with database.reading() as connection:
        minute = _from_minutes(connection, start_ms, end_ms, subject_ids)
        width = bucket_width(start_ms, end_ms, points, MINUTE_MS if minute else HOUR_MS)
        query = _grouped(
            connection, metric, by, label, start_ms, end_ms, width, minute, subject_ids
        )
        found = connection.execute(query).all()
    edges = bucket_edges(start_ms, end_ms, width)
    names = COLUMNS[metric.kind]
    places: dict[str | None, GroupSeries] = {}
    count = len(edges) - 1
    for group, bucket, n, some, *values in found:
        series = places.get(group)
        if series is None:
            series = places[group] = GroupSeries(
                group,
                np.zeros(count, np.int64),
                np.zeros(count, np.int64),
                {name: np.full(count, np.nan) for name in names},
            )
        place = (int(bucket) - int(edges[0])) // width
        series.n[place] = n
        series.subjects[place] = some
        for name, value in zip(names, values, strict=True):
            series.columns[name][place] = np.nan if value is None else value
    ordered = sorted(places.values(), key=lambda s: (s.group is None, s.group or ""))
    source = Source.MINUTES if minute else Source.HOURS
    return Groups(metric, width, edges[:-1], tuple(ordered), source)


def query_top(
    database: Database,
    metric: Metric,
    column: str,
    start_ms: int,
    end_ms: int,
    limit: int,
    *,
    by: By = By.GPU,
    label: str = "",
    lowest: bool = False,
    subject_ids: Collection[int] | None = None,
) -> list[Top]:
    """The ``limit`` groups with the highest (or lowest) ``column`` over the whole range.

    HistoryError says why there is no answer.
    """
    check_range(start_ms, end_ms, 1)
    _check(metric, by, label)
    names = COLUMNS[metric.kind]
    if column not in names:
        raise HistoryError(f"{metric.name} has {', '.join(names)}, not {column!r}.")
    if not 1 <= limit <= MAX_TOP:
        raise HistoryError(f"limit must be between 1 and {MAX_TOP}, not {limit}.")
    with database.reading() as connection:
        minute = _from_minutes(connection, start_ms, end_ms, subject_ids)
        grouped = _grouped(
            connection, metric, by, label, start_ms, end_ms, None, minute, subject_ids
        ).subquery()
        value = grouped.c[column]
        query = (
            select(grouped.c.name, value, grouped.c.n, grouped.c.subjects)
            .where(value.is_not(None))
            .order_by(value if lowest else value.desc(), grouped.c.name)
            .limit(limit)
        )
        return [Top(name, float(v), int(n), int(s)) for name, v, n, s in connection.execute(query)]


def _check(metric: Metric, by: By, label: str) -> None:
    if metric not in ROLLUPS:
        known = ", ".join(sorted(m.name for m in ROLLUPS))
        raise HistoryError(f"{metric.name} is not summed up over time; these are: {known}.")
    if (by is By.LABEL) != bool(label):
        raise HistoryError("Name the label to group by, and only with group_by=label.")


def _from_minutes(
    connection: Connection, start_ms: int, end_ms: int, subject_ids: Collection[int] | None
) -> bool:
    count = (
        len(subject_ids)
        if subject_ids is not None
        else connection.execute(select(func.count()).select_from(subjects)).scalar_one()
    )
    span_ms = end_ms - start_ms
    return (
        span_ms <= MINUTES_RANGE_MS
        and count * span_ms // MINUTE_MS <= MAX_ROWS
        and start_ms >= kept_since(connection).minutes_from_ms
    )


def _grouped(
    connection: Connection,
    metric: Metric,
    by: By,
    label: str,
    start_ms: int,
    end_ms: int,
    width: int | None,
    minute: bool,
    subject_ids: Collection[int] | None,
) -> Select[Any]:
    """(name, bucket, n, subjects, then COLUMNS); ``width`` ``None``: one bucket."""
    if minute:
        parts = [_each(minutes, metric, start_ms, end_ms, width, subject_ids)]
    else:
        # Hours that are not merged yet have only minutes.
        waiting: ColumnElement[int] = literal_column(str(MINUTE_MS))
        oldest = connection.execute(
            select(func.min(samples.c.start)).where(samples.c.span_ms == waiting)
        ).scalar()
        merged_to = end_ms if oldest is None else min(hour_of(oldest), end_ms)
        begin = hour_of(start_ms)
        parts = [_each(hours, metric, begin, merged_to, width, subject_ids)]
        if merged_to < end_ms:
            first = max(begin, merged_to)
            parts.append(_each(minutes, metric, first, end_ms, width, subject_ids))
    rows = union_all(*parts).subquery()
    per_subject = _sums(metric, rows.c).subquery()
    name = _name(by, label)
    one = (
        select(
            name.label("name"),
            per_subject.c.bucket,
            func.sum(per_subject.c.n).label("n"),
            func.count().label("subjects"),
            *_together(metric, per_subject.c),
        )
        .select_from(
            per_subject.join(subjects, subjects.c.id == per_subject.c.subject_id).join(
                nodes, nodes.c.id == subjects.c.node_id
            )
        )
        .group_by(name, per_subject.c.bucket)
    )
    return one


def _each(
    table: Table,
    metric: Metric,
    start_ms: int,
    end_ms: int,
    width: int | None,
    subject_ids: Collection[int] | None,
) -> Select[Any]:
    """Rows of a table with their buckets."""
    n = table.c[f"{metric.name}_n"]
    start = table.c.start
    bucket: ColumnElement[Any] = literal(0) if width is None else start - start % width
    stored = [name for name in COLUMNS[metric.kind] if name != "sum"]
    query = (
        select(
            table.c.subject_id,
            bucket.label("bucket"),
            n.label("n"),
            *(table.c[f"{metric.name}_{name}"].label(name) for name in stored),
        )
        # From the subjects to their rows: the primary key begins with the subject.
        .select_from(subjects.join(table, table.c.subject_id == subjects.c.id))
        .where(start >= start_ms, start < end_ms, n > 0)
    )
    if subject_ids is None:  # MIG devices are parts of GPUs
        return query.where(subjects.c.kind == "gpu")
    return query.where(subjects.c.id.in_(sorted(subject_ids)))


def _sums(metric: Metric, rows: Any) -> Select[Any]:
    """Each subject's rows of a bucket in one."""
    columns: list[ColumnElement[Any]] = []
    for name in COLUMNS[metric.kind]:
        if name == "avg":
            weighted = func.sum(cast(rows.avg, Float) * rows.n) / func.sum(rows.n)
            columns.append(weighted.label("avg"))
        elif name in ("min", "max"):
            columns.append(getattr(func, name)(rows[name]).label(name))
        elif name != "sum":
            columns.append(func.sum(rows[name]).label(name))
    return select(rows.subject_id, rows.bucket, func.sum(rows.n).label("n"), *columns).group_by(
        rows.subject_id, rows.bucket
    )


def _together(metric: Metric, rows: Any) -> list[ColumnElement[Any]]:
    """The subjects of a group in one."""
    columns: list[ColumnElement[Any]] = []
    for name in COLUMNS[metric.kind]:
        if name == "avg":
            columns.append((func.sum(rows.avg * rows.n) / func.sum(rows.n)).label("avg"))
        elif name == "sum":
            columns.append(func.sum(rows.avg).label("sum"))
        elif name in ("min", "max"):
            columns.append(getattr(func, name)(rows[name]).label(name))
        else:
            columns.append(func.sum(rows[name]).label(name))
    return columns


def _name(by: By, label: str) -> ColumnElement[Any]:
    if by is By.NODE:
        return nodes.c.name
    if by is By.MODEL:
        return subjects.c.name
    if by is By.GPU:
        return subjects.c.key
    if by is By.LABEL:
        value: ColumnElement[Any] = nodes.c.labels[label].as_string()
        return value
    return cast(literal_column("NULL"), String)
