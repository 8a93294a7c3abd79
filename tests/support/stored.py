"""A temporary database with helpers to fill it and to see everything in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gpufleet.hub.store.chunk import Chunk
from gpufleet.hub.store.database import Database, open_database
from gpufleet.hub.store.grid import SubjectSamples, minute_chunks
from gpufleet.hub.store.samples import read_samples
from gpufleet.hub.store.write import EventRow, NodeFlush, write_flushes
from support.places import url_in

HOUR = 472_222 * 3_600_000
"""Beginning of an hour in 2023."""
FOR_EVER = 253_402_300_800_000


@contextmanager
def temporary_database(folder: Path) -> Iterator[Database]:
    database = open_database(url_in(folder))
    try:
        yield database
    finally:
        database.close()


def minutes(subject_id: int, ticks: Sequence[int], metric: int = 20) -> list[SubjectSamples]:
    """Chunks in which the value of ``metric`` is the tick's number of seconds, modulo 1000."""
    column = np.array(ticks, np.int64)
    return minute_chunks(
        [subject_id], column, (column // 1000 % 1000)[:, np.newaxis], None, None, [[metric]]
    )


def flush(
    database: Database,
    chunks: Sequence[SubjectSamples] = (),
    *,
    node_id: int = 1,
    epoch: int = 1,
    seq: int = 1,
    events: Sequence[EventRow] = (),
    last_seen_ms: int = HOUR,
) -> None:
    with database.writing() as connection:
        write_flushes(connection, [NodeFlush(node_id, epoch, seq, last_seen_ms, chunks, events)])


def stored(database: Database, subject_id: int) -> Chunk:
    """Everything stored of a subject."""
    with database.reading() as connection:
        return read_samples(connection, subject_id, 0, FOR_EVER)


def said(chunk: Chunk) -> Mapping[int, Mapping[int, int]]:
    """Tick → catalogue id → value."""
    out: dict[int, dict[int, int]] = {int(tick): {} for tick in chunk.ticks}
    for metric, column in chunk.columns.items():
        for row, tick in enumerate(chunk.ticks.tolist()):
            if column.present is None or column.present[row]:
                out[tick][metric] = int(column.values[row])
    return out


def spans(database: Database) -> list[tuple[int, int, int]]:
    """(subject, start, span) of every chunk."""
    with database.reading() as connection:
        rows = connection.exec_driver_sql(
            "SELECT subject_id, start, span_ms FROM samples ORDER BY subject_id, start"
        )
        return [(row.subject_id, row.start, row.span_ms) for row in rows]
