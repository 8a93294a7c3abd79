"""The chunk format: samples of one subject as a small blob, exact to the last bit.

A blob is ``GFC``, the format version (one byte), the CRC-32 of the rest and the rest: one zstd
frame. Format version 1 in the frame, little-endian, T ticks and K columns:

    u32 T, u32 K
    4 x K   bytes of the catalogue ids, each as the difference to the one before; ids ascend,
            the first column is the ticks and has id 0
    1 x K   bit 0: deltas, bit 1: has a bitmap, bits 4-7: width w in bytes (0-8)
    8 x K   bytes of ``base``
    8 x K   bytes of ``slope``
    w x T   for each column: w byte planes of T residuals
    T / 8   for each column with a bitmap: bit t is set where tick t has a value

All arithmetic is modulo 2^64. Without deltas value[t] = base + residual[t]; with deltas
value[t] = base + the sum of (slope + residual[i]) over 0 < i <= t. A constant has width 0, and so
has a straight line, such as the ticks of an undisturbed agent. Byte planes (all lowest bytes, then
all second ones) put like beside like, and what is zero costs nothing after zstd.

Every version ever written stays readable.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpufleet.hub.store.chunk import Bools, Chunk, Column, Ints
from gpufleet.hub.store.envelope import CodecError, pack, unpack
from gpufleet.hub.store.planes import BYTE, byte_rows, residuals_of, values_of, words_of

__all__ = ["CodecError", "EncodedChunk", "decode_chunk", "encode_chunk", "encode_node"]

MAX_VALUES = 1 << 23
"""No chunk has more ticks times columns: an hour at 1 s has room for two thousand columns."""
_INNER = struct.Struct("<II")
_DIRECTORY_ROWS = 4 + 1 + 8 + 8
_DELTAS, _BITMAP = 1, 2


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    """A blob and the number of its ticks."""

    data: bytes
    count: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """Columns of several subjects side by side: ids, and where each subject's columns end."""

    ids: Ints
    ends: Ints
    order: NDArray[np.intp] | None
    """Columns in ascending order of ids within each subject; ``None``: they already are."""


def encode_node(
    ticks: Ints,
    values: Ints,
    present: Bools | None,
    taken: Bools | None,
    subjects: Sequence[Sequence[int]],
) -> list[EncodedChunk | None]:
    """One blob for each subject of a node, ``None`` for one that was read at none of the ticks.

    ``ticks`` is (T,) and strictly increasing, ``values`` (T, C) scaled integers of all columns of
    all subjects side by side, ``present`` (T, C) where they are values, ``taken`` (T, S) where a
    subject was read; ``None``: everywhere. ``subjects`` holds each subject's catalogue ids in the
    order of its columns. What is present of a subject that was not taken is not stored.
    """
    layout = _layout(tuple(tuple(ids) for ids in subjects))
    if values.shape != (len(ticks), len(layout.ids)):
        raise ValueError(f"values are {values.shape}, not {(len(ticks), len(layout.ids))}")
    columns = np.ascontiguousarray(values.T)
    shown = None if present is None or present.all() else np.ascontiguousarray(present.T)
    if layout.order is not None:
        columns = columns[layout.order]
        shown = None if shown is None else shown[layout.order]
    if not len(ticks):
        return [None] * len(subjects)
    if taken is None or taken.all():
        return list(_encode(ticks, columns, shown, layout.ids, layout.ends))
    return _encode_partly_taken(ticks, columns, shown, layout, taken)


def encode_chunk(chunk: Chunk) -> EncodedChunk:
    """The blob of one subject's samples (at least one tick)."""
    ids = sorted(chunk.columns)
    shape = (len(ids), len(chunk.ticks))
    columns = np.empty(shape, np.int64)
    present: Bools | None = None
    for row, metric in enumerate(ids):
        column = chunk.columns[metric]
        columns[row] = column.values
        if column.present is not None:
            present = np.ones(shape, np.bool_) if present is None else present
            present[row] = column.present
    ends = np.array([len(ids)], np.int64)
    return _encode(chunk.ticks, columns, present, np.array(ids, np.int64), ends)[0]


def decode_chunk(data: bytes, metrics: Collection[int] | None = None) -> Chunk:
    """The samples of a blob; with ``metrics`` only those columns, which is faster.

    CodecError for anything that ``encode_node`` did not make.
    """
    raw = unpack(data)
    try:
        return _decode(raw, metrics)
    except (ValueError, IndexError, struct.error) as error:
        raise CodecError(f"the chunk's contents contradict each other ({error})") from error


@functools.lru_cache(maxsize=256)
def _layout(subjects: tuple[tuple[int, ...], ...]) -> _Layout:
    ends = np.cumsum([len(ids) for ids in subjects], dtype=np.int64)
    order: list[int] = []
    for ids, end in zip(subjects, ends.tolist(), strict=True):
        if len(set(ids)) != len(ids) or any(not 0 < i < 1 << 32 for i in ids):
            raise ValueError("catalogue ids of a subject must be different and positive")
        first = end - len(ids)
        order.extend(first + i for i in sorted(range(len(ids)), key=ids.__getitem__))
    flat = np.array([i for ids in subjects for i in ids], np.int64)
    index = np.array(order, np.intp)
    if len(index) == 0 or bool(np.all(index[1:] > index[:-1])):
        return _Layout(flat, ends, None)
    return _Layout(flat[index], ends, index)


def _encode_partly_taken(
    ticks: Ints,
    columns: Ints,
    present: Bools | None,
    layout: _Layout,
    taken: Bools,
) -> list[EncodedChunk | None]:
    """Subjects read at every tick together, each of the others on the ticks at which it was."""
    whole: Bools = np.asarray(taken.all(axis=0))
    starts = np.concatenate((np.zeros(1, np.int64), layout.ends))[:-1]
    sizes = layout.ends - starts
    chunks: list[EncodedChunk | None] = [None] * len(whole)
    rows = np.repeat(whole, sizes)
    together = _encode(
        ticks,
        columns[rows],
        None if present is None else present[rows],
        layout.ids[rows],
        np.cumsum(sizes[whole], dtype=np.int64),
    )
    for subject, chunk in zip(np.flatnonzero(whole).tolist(), together, strict=True):
        chunks[subject] = chunk
    for subject in np.flatnonzero(~whole & taken.any(axis=0)).tolist():
        at = taken[:, subject]
        own = slice(int(starts[subject]), int(layout.ends[subject]))
        chunks[subject] = _encode(
            ticks[at],
            columns[own][:, at],
            None if present is None else present[own][:, at],
            layout.ids[own],
            sizes[subject : subject + 1],
        )[0]
    return chunks


def _encode(
    ticks: Ints, columns: Ints, present: Bools | None, ids: Ints, ends: Ints
) -> list[EncodedChunk]:
    """Blobs of subjects that share their ticks; ``columns`` is (C, T), ``ends`` cuts it."""
    count = len(ticks)
    bitmap: Bools = np.zeros(len(ids), np.bool_)
    if present is not None:
        some: Bools = np.asarray(present.any(axis=1))
        if not some.all():
            columns, present, ids = columns[some], present[some], ids[some]
            ends = _sums(some)[ends]
        bitmap = np.asarray(~present.all(axis=1))
        if bitmap.any():
            columns = _fill(columns, present, bitmap)
    rows = np.concatenate((ticks[np.newaxis], columns))
    stored = residuals_of(rows)
    width = stored.width

    starts = np.concatenate((np.zeros(1, np.int64), ends))[:-1]
    steps = np.diff(ids, prepend=0)
    steps[starts[starts < ends]] = ids[starts[starts < ends]]
    directory = np.empty((_DIRECTORY_ROWS, len(rows)), np.uint8)
    directory[0:4, 0] = 0
    directory[0:4, 1:] = byte_rows(steps.astype("<u8"))[:4]
    directory[4] = width << 4 | stored.deltas
    directory[4, 1:] |= bitmap * np.uint8(_BITMAP)
    directory[5:13] = byte_rows(stored.base)
    directory[13:21] = byte_rows(stored.slope)

    active = np.flatnonzero(width)
    octets = stored.numbers[active].astype("<u8", copy=False).view(np.uint8)
    octets = octets.reshape(len(active), count, 8).transpose(0, 2, 1)
    planes = octets[width[active, np.newaxis] > BYTE]
    plane_ends = np.cumsum(width, dtype=np.int64)
    bitmaps = None if present is None else np.packbits(present[bitmap], 1, "little")
    bitmap_ends = _sums(bitmap)

    chunks = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if count * (end - start + 1) > MAX_VALUES:
            raise ValueError(f"{count} ticks of {end - start} metrics are too many for a chunk")
        parts = [
            _INNER.pack(count, end - start + 1),
            np.concatenate((directory[:, :1], directory[:, start + 1 : end + 1]), axis=1).tobytes(),
            planes[: plane_ends[0]].tobytes(),
            planes[plane_ends[start] : plane_ends[end]].tobytes(),
        ]
        if bitmaps is not None:
            parts.append(bitmaps[bitmap_ends[start] : bitmap_ends[end]].tobytes())
        chunks.append(EncodedChunk(pack(b"".join(parts)), count))
    return chunks


def _fill(columns: Ints, present: Bools, partly: Bools) -> Ints:
    """``columns`` with the last value before each absent one in its place (or the first)."""
    shown = present[partly]
    source = np.where(shown, np.arange(shown.shape[1]), 0)
    np.maximum.accumulate(source, axis=1, out=source)
    source = np.maximum(source, shown.argmax(axis=1)[:, np.newaxis])
    filled = columns.copy()
    filled[partly] = np.take_along_axis(columns[partly], source, axis=1)
    return filled


def _sums(flags: Bools) -> Ints:
    """How many are set before each place, and in all: one longer than ``flags``."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(flags, dtype=np.int64)))


def _decode(raw: bytes, metrics: Collection[int] | None) -> Chunk:
    count, columns = _INNER.unpack_from(raw)
    octets = np.frombuffer(raw, np.uint8)
    offset = _INNER.size + _DIRECTORY_ROWS * columns
    if count < 1 or columns < 1 or count * columns > MAX_VALUES or offset > len(octets):
        raise ValueError("counts")
    directory = octets[_INNER.size : offset].reshape(_DIRECTORY_ROWS, columns)
    ids = np.cumsum(np.ascontiguousarray(directory[0:4].T).view("<u4")[:, 0].astype(np.int64))
    flags = directory[4]
    width = (flags >> 4).astype(np.int64)
    bitmap = flags & _BITMAP != 0
    ends = np.cumsum(width)
    bitmap_bytes = (count + 7) // 8
    if (
        ids[0] != 0
        or bool(np.any(ids[1:] <= ids[:-1]))
        or int(width.max()) > 8
        or bitmap[0]
        or offset + int(ends[-1]) * count + int(bitmap.sum()) * bitmap_bytes != len(octets)
    ):
        raise ValueError("directory")
    planes = octets[offset : offset + int(ends[-1]) * count].reshape(-1, count)
    rows = list(range(columns))
    if metrics is not None:
        rows = [row for row, metric in enumerate(ids.tolist()) if row == 0 or metric in metrics]
        picked = np.zeros(columns, np.bool_)
        picked[rows] = True
        planes = planes[np.repeat(picked, width)]
    directory, width = directory[:, rows], width[rows]
    values = values_of(
        planes,
        width,
        directory[4] & _DELTAS != 0,
        words_of(directory[5:13]),
        words_of(directory[13:21]),
        count,
    )
    ticks = values[0]
    if bool(np.any(ticks[1:] <= ticks[:-1])):
        raise ValueError("ticks")
    bits = octets[offset + int(ends[-1]) * count :].reshape(-1, bitmap_bytes)
    bitmap_index = np.cumsum(bitmap) - 1
    decoded: dict[int, Column] = {}
    for position, row in enumerate(rows[1:], 1):
        present = None
        if bitmap[row]:
            present = np.unpackbits(bits[bitmap_index[row]], count=count, bitorder="little").view(
                np.bool_
            )
        decoded[int(ids[row])] = Column(values[position], present)
    return Chunk(ticks, decoded)
