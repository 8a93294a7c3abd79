"""How much a question of history would read, so that none fills the hub's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, func, select

from gpufleet.hub.store.errors import HistoryError
from gpufleet.hub.store.grid import hour_of
from gpufleet.hub.store.retention import kept_since
from gpufleet.hub.store.rollup import PARTS, ROLLUPS, sources_of
from gpufleet.hub.store.sources import Source, choose_source
from gpufleet.hub.store.tables import hours, minutes, samples, subjects
from gpufleet.proto.catalog import Metric

MAX_VALUES = 10_000_000
"""Values that one question may read: a second or two, and some 150 MiB meanwhile."""


def affordable_source(
    connection: Connection,
    asked: Sequence[tuple[int, Metric]],
    start_ms: int,
    end_ms: int,
    points: int,
) -> Source:
    """What answers about metrics of subjects (ids): what fits the range, or the next coarser.

    Metrics without rollup are read from samples whatever it is. HistoryError: all is too much.
    """
    kept = kept_since(connection)
    best = choose_source(start_ms, end_ms, points, kept)
    values = 0
    for source in (Source.SAMPLES, Source.MINUTES, Source.HOURS):
        forgotten = source is Source.MINUTES and start_ms < kept.minutes_from_ms
        if source.value < best.value or forgotten:
            continue
        values = _values(connection, source, asked, start_ms, end_ms)
        if values <= MAX_VALUES:
            return source
    raise HistoryError(
        f"That would read {values / 1e6:.1f} million stored values, and one question may read"
        f" {MAX_VALUES // 1_000_000} million; ask for a shorter range, fewer GPUs or fewer metrics."
    )


def _values(
    connection: Connection,
    source: Source,
    asked: Sequence[tuple[int, Metric]],
    start_ms: int,
    end_ms: int,
) -> int:
    sampled: dict[int, set[int]] = {}
    summed: dict[int, list[Metric]] = {}
    for subject_id, metric in asked:
        if source is Source.SAMPLES or metric not in ROLLUPS:
            sampled.setdefault(subject_id, set()).update(sources_of(metric))
        else:
            summed.setdefault(subject_id, []).append(metric)
    columns = {subject_id: len(ids) for subject_id, ids in sampled.items()}
    values = _of_samples(connection, columns, start_ms, end_ms) if columns else 0
    if summed:
        values += _of_rows(connection, source, summed, start_ms, end_ms)
    return values


def _of_samples(
    connection: Connection, columns: Mapping[int, int], start_ms: int, end_ms: int
) -> int:
    """Values in the chunks that touch the range; ``columns``: how many are read, by subject id."""
    query = (
        select(samples.c.subject_id, func.sum(samples.c.count))
        .where(
            samples.c.subject_id.in_(sorted(columns)),
            samples.c.start >= hour_of(start_ms),
            samples.c.start < end_ms,
        )
        .group_by(samples.c.subject_id)
    )
    return sum(int(count) * columns[subject] for subject, count in connection.execute(query))


def _of_rows(
    connection: Connection,
    source: Source,
    metrics: Mapping[int, Sequence[Metric]],
    start_ms: int,
    end_ms: int,
) -> int:
    """Values in minutes or hours of the range at most: as if there were no gaps.

    ``metrics``: what is read, by subject id.
    """
    table = minutes if source is Source.MINUTES else hours
    own = (
        table.c.subject_id == subjects.c.id,
        table.c.start >= hour_of(start_ms),
        table.c.start < end_ms,
    )
    # Two look-ups in the key of each subject; a count would read every row.
    query = select(
        subjects.c.id,
        select(func.min(table.c.start)).where(*own).scalar_subquery(),
        select(func.max(table.c.start)).where(*own).scalar_subquery(),
    ).where(subjects.c.id.in_(sorted(metrics)))
    values = 0
    for subject, first, last in connection.execute(query):
        if first is not None:
            rows = (last - first) // source.value + 1
            values += rows * sum(1 + len(PARTS[metric.kind]) for metric in metrics[subject])
    return values
