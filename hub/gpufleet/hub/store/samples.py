"""Reads the exact samples of a subject: for history, export and tests."""

from __future__ import annotations

import logging
from collections.abc import Collection

from sqlalchemy import Connection, select

from gpufleet.hub.store.chunk import Chunk, between, union
from gpufleet.hub.store.codec import CodecError, decode_chunk
from gpufleet.hub.store.grid import hour_of
from gpufleet.hub.store.tables import samples
from gpufleet.proto.logline import said

log = logging.getLogger(__name__)


def read_samples(
    connection: Connection,
    subject_id: int,
    start_ms: int,
    end_ms: int,
    metrics: Collection[int] | None = None,
) -> Chunk:
    """Every stored sample with start_ms <= tick < end_ms; with ``metrics`` only those columns.

    A chunk that cannot be read is left out, and the log says so.
    """
    query = (
        select(samples.c.start, samples.c.span_ms, samples.c.data)
        .where(
            samples.c.subject_id == subject_id,
            samples.c.start >= hour_of(start_ms),
            samples.c.start < end_ms,
        )
        .order_by(samples.c.start)
    )
    chunks = []
    for start, span_ms, data in connection.execute(query):
        if start + span_ms <= start_ms:
            continue
        try:
            chunks.append(between(decode_chunk(data, metrics), start_ms, end_ms))
        except CodecError as error:
            log.error(
                "stored chunk unreadable %s", said(subject_id=subject_id, start=start, reason=error)
            )
    return union(*chunks)
