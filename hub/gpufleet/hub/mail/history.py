"""Reads what the chart of a mail shows from stored samples."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.mail.letter import History
from gpufleet.alerting.mail.picture import Line, label_of
from gpufleet.hub.store.chunk import Chunk
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.samples import read_samples
from gpufleet.proto.catalog import BY_ID, BY_NAME

_DERIVED = {"memory_used_ratio": ("memory_used_bytes", "memory_total_bytes")}
"""What the hub derives and does not store, as the ratio of two metrics."""


def stored_history(database: Database) -> History:
    """Lines of stored samples; an incident whose metric is not stored has an empty one."""

    def lines(incidents: Sequence[Incident], start_ms: int, end_ms: int) -> list[Line]:
        with database.reading() as connection:
            return [_line(connection, one, start_ms, end_ms) for one in incidents]

    return lines


def _line(connection: Connection, incident: Incident, start_ms: int, end_ms: int) -> Line:
    names = _DERIVED.get(incident.metric, (incident.metric,))
    if any(name not in BY_NAME for name in names):
        return Line(label_of(incident), ())
    wanted = [BY_NAME[name].id for name in names]
    chunk = read_samples(connection, incident.subject_id, start_ms, end_ms, wanted)
    columns = [_values(chunk, metric) for metric in wanted]
    values = columns[0]
    if len(columns) == 2:
        values = [
            one / other if one is not None and other else None
            for one, other in zip(*columns, strict=True)
        ]
    return Line(label_of(incident), list(zip(chunk.ticks.tolist(), values, strict=True)))


def _values(chunk: Chunk, metric_id: int) -> list[float | None]:
    column = chunk.columns.get(metric_id)
    if column is None:
        return [None] * len(chunk.ticks)
    metric = BY_ID[metric_id]
    present = [True] * len(chunk.ticks) if column.present is None else column.present.tolist()
    return [
        metric.value(value) if there else None
        for value, there in zip(column.values.tolist(), present, strict=True)
    ]
