"""Reads history to be carried away: page after page, never more than an hour of one GPU at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from gpufleet.client.nearest import hint
from gpufleet.hub.store.chunk import Ints
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import HistoryError
from gpufleet.hub.store.grid import hour_of
from gpufleet.hub.store.history import check_range, values_of
from gpufleet.hub.store.rollup import PARTS, ROLLUPS, USED_RATIO, sources_of
from gpufleet.hub.store.rollup_read import read_table
from gpufleet.hub.store.samples import read_samples
from gpufleet.hub.store.sources import Source
from gpufleet.hub.store.tables import HOUR_MS, hours, minutes, nodes, samples, subjects
from gpufleet.proto.catalog import Kind, Metric, SubjectKind, metrics
from gpufleet.proto.catalog import Source as Origin

PAGE_MS = {Source.SAMPLES: HOUR_MS, Source.MINUTES: 24 * HOUR_MS, Source.HOURS: 744 * HOUR_MS}
"""What is read at once of one GPU."""


class Resolution(Enum):
    """What is exported; the value is its name for people."""

    SAMPLES = "samples"
    MINUTES = "minutes"
    HOURS = "hours"

    @property
    def source(self) -> Source:
        return Source[self.name]


@dataclass(frozen=True, slots=True)
class Exported:
    """A GPU or MIG device whose history is exported, and in which node it is now."""

    subject_id: int
    uuid: str
    node: str
    index: int


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a metric's samples, or with ``part`` one of what its minutes or hours say."""

    metric: Metric
    part: str = ""

    @property
    def name(self) -> str:
        return f"{self.metric.name}_{self.part}" if self.part else self.metric.name


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one GPU in order of time.

    ``values`` by column: float64 in base units with NaN where absent, bits int64 with -1 there.
    """

    of: Exported
    times_ms: Ints
    values: tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """An export that can be made; ``pages`` makes it."""

    database: Database
    of: tuple[Exported, ...]
    columns: tuple[Column, ...]
    resolution: Resolution
    start_ms: int
    end_ms: int

    def pages(self) -> Iterator[Page]:
        """Every row, GPU by GPU; each page in a transaction of its own. StoreError as it comes."""
        width = PAGE_MS[self.resolution.source]
        for exported in self.of:
            with self.database.reading() as connection:
                span = _span(connection, self.resolution, exported.subject_id)
            start_ms, end_ms = max(self.start_ms, span[0]), min(self.end_ms, span[1])
            at = start_ms // width * width
            while at < end_ms:
                page = self._page(exported, max(at, start_ms), min(at + width, end_ms))
                if len(page.times_ms):
                    yield page
                at += width

    def _page(self, of: Exported, start_ms: int, end_ms: int) -> Page:
        with self.database.reading() as connection:
            if self.resolution is Resolution.SAMPLES:
                return _of_samples(connection, of, self.columns, start_ms, end_ms)
            return _of_rows(connection, of, self.columns, self.resolution, start_ms, end_ms)


def plan_export(
    database: Database,
    start_ms: int,
    end_ms: int,
    *,
    resolution: Resolution = Resolution.SAMPLES,
    gpus: Collection[str] = (),
    node: str | None = None,
    names: Sequence[str] = (),
) -> Plan:
    """What an export of [start, end) will hold; HistoryError says what is wrong with the question.

    Without ``gpus`` and ``node`` every GPU that was ever seen, without ``names`` every metric that
    GPUs have. MIG devices are exported where they are named.
    """
    check_range(start_ms, end_ms, 1)
    columns = tuple(_columns(names, resolution))
    with database.reading() as connection:
        found = tuple(_subjects(connection, node, gpus))
    return Plan(database, found, columns, resolution, start_ms, end_ms)


def _columns(names: Sequence[str], resolution: Resolution) -> Iterator[Column]:
    sampled = [
        metric
        for metric in metrics(SubjectKind.GPU)
        if metric.source is Origin.AGENT or metric is USED_RATIO
    ]
    if resolution is not Resolution.SAMPLES:
        sampled = [metric for metric in sampled if metric in ROLLUPS]
    known = {metric.name: metric for metric in sampled}
    for name in names:
        if name not in known:
            near = hint(name, known) or f"; there are of: {', '.join(known)}."
            raise HistoryError(f"There are no {resolution.value} of a metric {name[:60]!r}{near}")
    for metric in [known[name] for name in names] or sampled:
        if resolution is Resolution.SAMPLES:
            yield Column(metric)
        else:
            for part in ("n", *PARTS[metric.kind]):
                yield Column(metric, part)


def _subjects(
    connection: Connection, node: str | None, gpus: Collection[str]
) -> Iterator[Exported]:
    query = (
        select(
            subjects.c.id, subjects.c.key, subjects.c.kind, nodes.c.name, subjects.c.subject_index
        )
        .join(nodes, nodes.c.id == subjects.c.node_id)
        .where(subjects.c.kind != "node")
        .order_by(nodes.c.name, subjects.c.subject_index, subjects.c.key)
    )
    rows = connection.execute(query).all()
    keys = {row.key for row in rows}
    for uuid in gpus:
        if uuid not in keys:
            raise HistoryError(f"There is no GPU {uuid[:80]!r} in the database.")
    if node is not None and not any(row.name == node for row in rows):
        raise HistoryError(f"There is no node {node[:80]!r} with GPUs in the database.")
    for row in rows:
        named = row.key in gpus or (not gpus and row.kind == "gpu")
        if named and node in (None, row.name):
            yield Exported(row.id, row.key, row.name, row.subject_index)


def _span(connection: Connection, resolution: Resolution, subject_id: int) -> tuple[int, int]:
    """The hours in which there is anything of a subject: empty years are not looked at."""
    tables = {
        Resolution.SAMPLES: samples,
        Resolution.MINUTES: minutes,
        Resolution.HOURS: hours,
    }
    table = tables[resolution]
    first, last = connection.execute(
        select(func.min(table.c.start), func.max(table.c.start)).where(
            table.c.subject_id == subject_id
        )
    ).one()
    return (0, 0) if first is None else (hour_of(first), hour_of(last) + HOUR_MS)


def _of_samples(
    connection: Connection, of: Exported, columns: Sequence[Column], start_ms: int, end_ms: int
) -> Page:
    ids = {metric_id for column in columns for metric_id in sources_of(column.metric)}
    chunk = read_samples(connection, of.subject_id, start_ms, end_ms, ids)
    values = []
    for column in columns:
        metric, found = column.metric, values_of(chunk, column.metric)
        if metric.kind is Kind.BITS:
            whole: NDArray[Any] = np.array(found.raw, np.int64)
        elif metric is USED_RATIO:
            whole = np.array(found.raw, np.float64)
        else:
            whole = found.raw.astype(np.float64) * metric.multiplier / metric.divisor
        if found.present is not None:
            whole[~found.present] = -1 if metric.kind is Kind.BITS else np.nan
        values.append(whole)
    return Page(of, chunk.ticks, tuple(values))


def _of_rows(
    connection: Connection,
    of: Exported,
    columns: Sequence[Column],
    resolution: Resolution,
    start_ms: int,
    end_ms: int,
) -> Page:
    asked = list(dict.fromkeys(column.metric for column in columns))
    table = minutes if resolution is Resolution.MINUTES else hours
    found = read_table(connection, table, of.subject_id, asked, start_ms, end_ms)
    times = np.unique(np.concatenate([rows.times_ms for rows in found.values()]))
    values = []
    for column in columns:
        rows = found[column.metric.id]
        places = np.searchsorted(times, rows.times_ms)
        bits = column.part == "bits"
        whole: NDArray[Any] = (
            np.full(len(times), -1, np.int64) if bits else np.full(len(times), np.nan)
        )
        whole[places] = rows.n if column.part == "n" else rows.columns[column.part]
        values.append(whole)
    return Page(of, times.astype(np.int64), tuple(values))
