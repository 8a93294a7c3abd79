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
import threading
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

from gpufleet.hub.store.chunk import Bools, Chunk, Column, Ints

MAGIC = b"GFC"
VERSION = 1
LEVEL = 3
MAX_VALUES = 1 << 23
"""No chunk has more ticks times columns: an hour at 1 s has room for two thousand columns."""
MAX_RAW_BYTES = 8 * MAX_VALUES
"""No chunk is larger before compression; a blob that says otherwise is damaged."""

_OUTER = struct.Struct("<3sBI")
_INNER = struct.Struct("<II")
_DIRECTORY_ROWS = 4 + 1 + 8 + 8
_DELTAS, _BITMAP = 1, 2
_LIMITS = np.array([0] + [(1 << 8 * w) - 1 for w in range(1, 8)], np.uint64)
_BYTE = np.arange(8, dtype=np.uint8)

_Words = NDArray[np.uint64]
_Bytes = NDArray[np.uint8]


class CodecError(Exception):
    """A blob that is no chunk, is damaged, or is of a newer format than this program knows."""


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    """A blob and the number of its ticks."""

    data: bytes
    count: int


class _Zstd(threading.local):
    """zstd contexts are not for two threads at once, and making one costs more than a chunk."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


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
    raw = _unpack(data)
    try:
        return _decode(raw, metrics)
    except (ValueError, IndexError, struct.error) as error:
        raise CodecError(f"the chunk's contents contradict each other ({error})") from error


@functools.lru_cache(maxsize=4096)
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
    width, deltas, base, slope, residuals = _residuals(rows)

    starts = np.concatenate((np.zeros(1, np.int64), ends))[:-1]
    steps = np.diff(ids, prepend=0)
    steps[starts[starts < ends]] = ids[starts[starts < ends]]
    directory = np.empty((_DIRECTORY_ROWS, len(rows)), np.uint8)
    directory[0:4, 0] = 0
    directory[0:4, 1:] = _byte_rows(steps.astype("<u8"))[:4]
    directory[4] = width << 4 | deltas
    directory[4, 1:] |= bitmap * np.uint8(_BITMAP)
    directory[5:13] = _byte_rows(base)
    directory[13:21] = _byte_rows(slope)

    active = np.flatnonzero(width)
    octets = residuals[active].astype("<u8", copy=False).view(np.uint8)
    octets = octets.reshape(len(active), count, 8).transpose(0, 2, 1)
    planes = octets[width[active, np.newaxis] > _BYTE]
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
        chunks.append(EncodedChunk(_pack(b"".join(parts)), count))
    return chunks


def _residuals(rows: Ints) -> tuple[_Bytes, Bools, _Words, _Words, _Words]:
    """Width, deltas?, base and slope of each row of (R, T), and the residuals (R, T)."""
    low = rows.min(axis=1)
    words = rows.view(np.uint64)
    base = low.view(np.uint64)
    width = _width(rows.max(axis=1).view(np.uint64) - base)
    slope = np.zeros(len(rows), np.uint64)
    deltas = np.zeros(len(rows), np.bool_)
    residuals = words - base[:, np.newaxis]
    if rows.shape[1] > 1:
        steps = words[:, 1:] - words[:, :-1]
        signed = steps.view(np.int64)
        lowest = signed.min(axis=1).view(np.uint64)
        step_width = _width(signed.max(axis=1).view(np.uint64) - lowest)
        deltas = step_width < width
        better = np.flatnonzero(deltas)
        residuals[better, 0] = 0
        residuals[better, 1:] = steps[better] - lowest[better, np.newaxis]
        width[better] = step_width[better]
        slope[better] = lowest[better]
        base[better] = words[better, 0]
    return width, deltas, base, slope, residuals


def _width(span: _Words) -> _Bytes:
    """Bytes that hold 0 to ``span``: 0 to 8."""
    return np.searchsorted(_LIMITS, span).astype(np.uint8)


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


def _byte_rows(words: NDArray[np.uint64]) -> _Bytes:
    """(K,) words as (8, K) bytes, lowest first."""
    octets: _Bytes = words.astype("<u8", copy=False).view(np.uint8)
    return octets.reshape(-1, 8).T


def _words(octets: _Bytes) -> _Words:
    """(8, K) bytes, lowest first, as (K,) words."""
    return np.ascontiguousarray(octets.T).view("<u8")[:, 0].astype(np.uint64, copy=False)


def _pack(raw: bytes) -> bytes:
    if len(raw) > MAX_RAW_BYTES:
        raise ValueError(f"{len(raw)} bytes are too many for a chunk")
    frame = _zstd.compressor.compress(raw)
    return _OUTER.pack(MAGIC, VERSION, zlib.crc32(frame)) + frame


def _unpack(data: bytes) -> bytes:
    if len(data) < _OUTER.size:
        raise CodecError("the blob is too short to be a chunk")
    magic, version, crc = _OUTER.unpack_from(data)
    if magic != MAGIC:
        raise CodecError("the blob is no chunk: it does not begin with GFC")
    if version != VERSION:
        raise CodecError(f"the chunk has format {version}, which this gpufleet does not know")
    frame = data[_OUTER.size :]
    if zlib.crc32(frame) != crc:
        raise CodecError("the chunk is damaged: its checksum does not match")
    try:
        size = zstandard.get_frame_parameters(frame).content_size
        if not _INNER.size <= size <= MAX_RAW_BYTES:
            raise CodecError(f"the chunk claims {size} bytes, which no chunk has")
        return _zstd.decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CodecError(f"the chunk cannot be decompressed ({error})") from error


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
    values = _values(
        planes,
        width,
        directory[4] & _DELTAS != 0,
        _words(directory[5:13]),
        _words(directory[13:21]),
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


def _values(
    planes: _Bytes, width: Ints, deltas: Bools, base: _Words, slope: _Words, count: int
) -> Ints:
    """(R, T) values of rows from their byte planes, which lie one after the other."""
    octets = np.zeros((len(width), 8, count), np.uint8)
    octets[width[:, np.newaxis] > _BYTE] = planes
    words: _Words = np.ascontiguousarray(octets.transpose(0, 2, 1)).view("<u8")[..., 0]
    rows = np.flatnonzero(deltas)
    if len(rows):
        words[rows, 1:] = np.cumsum(words[rows, 1:] + slope[rows, np.newaxis], axis=1)
    words += base[:, np.newaxis]
    return words.view(np.int64)
