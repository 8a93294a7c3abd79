"""Writes flushes: the chunks, events and watermarks of whole nodes, the same twice as once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from gpufleet.hub.store.bulk import Row, upsert_rows
from gpufleet.hub.store.chunk import Chunk, between, union
from gpufleet.hub.store.codec import CodecError, EncodedChunk, decode_chunk, encode_chunk
from gpufleet.hub.store.dialect import batches, insert_or_ignore
from gpufleet.hub.store.grid import SubjectSamples, hour_of
from gpufleet.hub.store.retention import samples_from
from gpufleet.hub.store.rollup import Summary, summarise_chunk
from gpufleet.hub.store.rollup_write import Key, write_rollups
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS, events, hours, minutes, nodes, samples
from gpufleet.proto.logline import said

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event. Its identity is (subject_id, time_ms, node_id, epoch, seq, ordinal).

    (epoch, seq) is the record in which the node sent it, ``ordinal`` its place in that record;
    the hub numbers its own events in an epoch of its own.
    """

    subject_id: int
    time_ms: int
    node_id: int
    epoch: int
    seq: int
    ordinal: int
    kind: str
    severity: str
    message: str
    code: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeFlush:
    """All of a node that is to be committed at once.

    (epoch, seq) is the last record that is in here or was committed before; (0, 0) leaves the
    watermark as it is.
    """

    node_id: int
    epoch: int
    seq: int
    last_seen_ms: int
    chunks: Sequence[SubjectSamples] = ()
    events: Sequence[EventRow] = ()


@dataclass(frozen=True, slots=True)
class _Row:
    span_ms: int
    chunk: EncodedChunk


def write_flushes(connection: Connection, flushes: Sequence[NodeFlush]) -> None:
    """Write flushes of any nodes in the transaction of ``Database.writing``.

    A chunk joins the stored one of its minute, or of its hour once that is merged; of a tick that
    is stored already the stored sample stays. Events that are there stay. Watermarks only rise.
    """
    _write_chunks(connection, flushes)
    rows = [_event_values(event) for flush in flushes for event in flush.events]
    if rows:
        connection.execute(insert_or_ignore(connection, events), rows)
    _raise_watermarks(connection, flushes)


@dataclass(slots=True)
class _Target:
    """A row of ``samples`` that is to be written, and of what."""

    span_ms: int
    stored: EncodedChunk | None
    parts: list[SubjectSamples] = field(default_factory=list)


def _write_chunks(connection: Connection, flushes: Sequence[NodeFlush]) -> None:
    pending = [part for flush in flushes for part in flush.chunks]
    kept_from = samples_from(connection) if pending else 0
    if any(part.start_ms < kept_from for part in pending):
        # Their rows would hide what is left of these minutes and hours: the rest is forgotten.
        count = len(pending)
        pending = [part for part in pending if part.start_ms >= kept_from]
        log.warning("samples came after their retention %s", said(chunks=count - len(pending)))
    if not pending:
        return
    stored = _stored(connection, {(part.subject_id, part.start_ms): None for part in pending})
    targets: dict[Key, _Target] = {}
    for part in pending:
        key = part.subject_id, hour_of(part.start_ms)
        span_ms = HOUR_MS
        if key not in stored or stored[key].span_ms != HOUR_MS:
            key, span_ms = (part.subject_id, part.start_ms), MINUTE_MS
        if key not in targets:
            targets[key] = _Target(span_ms, stored[key].chunk if key in stored else None)
        targets[key].parts.append(part)
    rows: list[Row] = []
    touched: dict[Key, Summary] = {}
    touched_hours: dict[Key, Summary] = {}
    for key, target in targets.items():
        (first, *more) = target.parts
        if target.stored is None and not more and first.summary is not None:
            rows.append(chunk_row(key, target.span_ms, first.chunk))
            touched[key] = first.summary
            continue
        chunks = [] if target.stored is None else [target.stored]
        whole, encoded = joined(key, [*chunks, *(part.chunk for part in target.parts)])
        rows.append(chunk_row(key, target.span_ms, encoded))
        known = [part.summary.step_ms for part in target.parts if part.summary is not None]
        step_ms = min(known, default=None)
        if target.span_ms == HOUR_MS:
            _summarise(touched_hours, key, whole, step_ms)
        for start_ms in {part.start_ms for part in target.parts}:
            minute = between(whole, start_ms, start_ms + MINUTE_MS)
            _summarise(touched, (first.subject_id, start_ms), minute, step_ms)
    upsert_rows(connection, samples, rows)
    write_rollups(connection, minutes, touched)
    write_rollups(connection, hours, touched_hours)


def _summarise(rows: dict[Key, Summary], key: Key, chunk: Chunk, step_ms: int | None) -> None:
    summary = summarise_chunk(chunk, step_ms)
    if summary is not None:
        rows[key] = summary


def _stored(connection: Connection, keys: Mapping[Key, object]) -> dict[Key, _Row]:
    """Rows into which chunks of ``keys`` (subject, minute) go: of that minute, or merged hours."""
    wanted: dict[int, set[int]] = {}
    for subject_id, start_ms in keys:
        wanted.setdefault(subject_id, set()).add(start_ms)
    alike: dict[frozenset[int], list[int]] = {}
    for subject_id, starts in wanted.items():
        alike.setdefault(frozenset(starts), []).append(subject_id)
    found: dict[Key, _Row] = {}
    for common, subject_ids in alike.items():
        for some_subjects in batches(subject_ids):
            for some_starts in batches(sorted(common)):
                found.update(_stored_rows(connection, some_subjects, some_starts))
    return found


def _stored_rows(
    connection: Connection, subject_ids: list[int], starts: list[int]
) -> Iterator[tuple[Key, _Row]]:
    full = {hour_of(start) for start in starts}
    # Every start stands in one IN list, so that (subject_id, start) seeks on the primary key.
    query = select(
        samples.c.subject_id, samples.c.start, samples.c.span_ms, samples.c.count, samples.c.data
    ).where(
        samples.c.subject_id.in_(subject_ids),
        samples.c.start.in_(sorted(full.union(starts))),
        or_(samples.c.span_ms == HOUR_MS, samples.c.start.in_(starts)),
    )
    for subject_id, start, span_ms, count, data in connection.execute(query):
        yield (subject_id, start), _Row(span_ms, EncodedChunk(data, count))


def joined(key: Key, chunks: Sequence[EncodedChunk]) -> tuple[Chunk, EncodedChunk]:
    """The union of chunks, the first wins. One that is damaged is lost, and the log says so."""
    readable = []
    for chunk in chunks:
        try:
            readable.append(decode_chunk(chunk.data))
        except CodecError as error:
            found = said(subject_id=key[0], start=key[1], reason=error)
            log.error("stored chunk unreadable %s", found)
    whole = union(*readable)
    if len(chunks) == 1 or not readable:
        return whole, chunks[0]
    return whole, encode_chunk(whole)


def chunk_row(key: Key, span_ms: int, chunk: EncodedChunk) -> Row:
    """A row of ``samples``."""
    return (*key, span_ms, chunk.count, chunk.data)


def _event_values(event: EventRow) -> dict[str, object]:
    return {
        "subject_id": event.subject_id,
        "time_ms": event.time_ms,
        "node_id": event.node_id,
        "epoch": event.epoch,
        "seq": event.seq,
        "ordinal": event.ordinal,
        "kind": event.kind,
        "severity": event.severity,
        "code": event.code,
        "message": event.message,
        "data": dict(event.data),
    }


_RAISE = (
    update(nodes)
    .where(
        nodes.c.id == bindparam("node"),
        or_(
            nodes.c.epoch < bindparam("new_epoch"),
            and_(nodes.c.epoch == bindparam("new_epoch"), nodes.c.seq < bindparam("new_seq")),
        ),
    )
    .values(epoch=bindparam("new_epoch"), seq=bindparam("new_seq"))
)
_SEEN = (
    update(nodes)
    .where(nodes.c.id == bindparam("node"), nodes.c.last_seen_ms < bindparam("seen_ms"))
    .values(last_seen_ms=bindparam("seen_ms"))
)


def _raise_watermarks(connection: Connection, flushes: Sequence[NodeFlush]) -> None:
    marks = [
        {"node": flush.node_id, "new_epoch": flush.epoch, "new_seq": flush.seq} for flush in flushes
    ]
    seen = [{"node": flush.node_id, "seen_ms": flush.last_seen_ms} for flush in flushes]
    if marks:
        connection.execute(_RAISE, marks)
        connection.execute(_SEEN, seen)
