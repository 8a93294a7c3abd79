"""Decodes what agents send into numpy; whatever does not add up is a WireError with a sentence."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from gpufleet.proto import telemetry_pb2 as pb

MAX_SUBJECTS = 512
MAX_METRICS = 512
MAX_COLUMNS = 16_384
MAX_TICKS = 600
MAX_UNPACKED_BYTES = 16 << 20
_KINDS = frozenset({"gpu", "mig", "node"})


class WireError(Exception):
    """A message that cannot be understood. The text is one sentence for the agent's operator."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of samples: ``metrics[s]`` are the catalogue ids of ``subjects[s]``."""

    id: int
    subjects: tuple[tuple[str, str], ...]
    """(kind, key) a subject."""
    metrics: tuple[tuple[int, ...], ...]
    columns: int


@dataclass(frozen=True, slots=True)
class Samples:
    """T ticks of the S subjects and C columns of a layout; scaled integers as they came.

    ``taken`` is bool (T, S), ``present`` bool (T, C); ``None`` means all. ``values`` is int64
    (T, C), 0 where not present.
    """

    ticks: NDArray[np.int64]
    taken: NDArray[np.bool_] | None
    present: NDArray[np.bool_] | None
    values: NDArray[np.int64]


def decode_layout(message: pb.Layout) -> Layout:
    """The layout of a stream, within the bounds of this module."""
    if not 0 < len(message.subjects) <= MAX_SUBJECTS:
        raise WireError(
            f"A layout names {len(message.subjects)} subjects; 1 to {MAX_SUBJECTS} are allowed."
        )
    subjects = tuple((s.kind, s.key) for s in message.subjects)
    metrics = tuple(tuple(s.metrics) for s in message.subjects)
    for (kind, key), ids in zip(subjects, metrics, strict=True):
        check_subject(kind, key)
        if len(ids) > MAX_METRICS or len(set(ids)) != len(ids) or 0 in ids:
            raise WireError(f"The layout's columns of {key[:64]!r} repeat or are too many.")
    if len(set(subjects)) != len(subjects):
        raise WireError("A layout names a subject twice.")
    columns = sum(len(ids) for ids in metrics)
    if columns > MAX_COLUMNS:
        raise WireError(f"A layout has {columns} columns; {MAX_COLUMNS} are allowed.")
    return Layout(message.id, subjects, metrics, columns)


def check_subject(kind: str, key: str) -> None:
    """A kind that there is, and a key that SQL and labels can hold."""
    if kind not in _KINDS or not 0 < len(key) <= 256:
        raise WireError(f"A subject has the unknown kind {kind[:32]!r} or no proper key.")
    if not key.isprintable():
        raise WireError("A subject's key has control characters.")


def unpack_samples(data: bytes) -> pb.Samples:
    """The Samples inside ``packed_samples``, never more than MAX_UNPACKED_BYTES of them."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, MAX_UNPACKED_BYTES)
        if inflater.unconsumed_tail or not inflater.eof:
            raise WireError("A packed batch is cut off, or larger than 16 MiB unpacked.")
        return pb.Samples.FromString(plain)
    except (zlib.error, DecodeError) as error:
        raise WireError(f"A packed batch cannot be read: {error}.") from None


def _bits(data: bytes, count: int, what: str) -> NDArray[np.bool_]:
    if len(data) != (count + 7) // 8:
        raise WireError(f"The bitmap of {what} holds {len(data)} bytes for {count} bits.")
    array = np.frombuffer(data, dtype=np.uint8)
    return np.unpackbits(array, count=count, bitorder="little").view(np.bool_)


def decode_samples(message: pb.Samples, layout: Layout) -> Samples:
    """The samples of one message, laid out by the layout that it names."""
    count = len(message.ticks)
    columns = layout.columns
    if not 0 < count <= MAX_TICKS:
        raise WireError(f"A batch has {count} ticks; 1 to {MAX_TICKS} are allowed.")
    taken: NDArray[np.bool_] | None = None
    if message.taken:
        subjects = len(layout.subjects)
        taken = _bits(message.taken, count * subjects, "taken").reshape(count, subjects)
    values = np.array(message.values, dtype=np.int64)
    per_column: NDArray[np.bool_] | None = None
    if taken is not None and not taken.all():
        per_column = np.repeat(taken, [len(ids) for ids in layout.metrics], axis=1).T
    if not message.present and per_column is None:
        if len(values) != columns * count:
            raise WireError(f"A batch has {len(values)} values for {columns} columns × {count}.")
        if count == 1:
            return Samples(_ticks(message), taken, None, values.reshape(1, columns))
        matrix = np.cumsum(values.reshape(columns, count), axis=1, dtype=np.int64)
        return Samples(_ticks(message), taken, None, np.ascontiguousarray(matrix.T))
    if per_column is not None and not message.present:
        present = per_column
    else:
        present = _bits(message.present, columns * count, "present").reshape(columns, count)
    if len(values) != int(np.count_nonzero(present)):
        raise WireError(f"A batch has {len(values)} values, but its bitmap says otherwise.")
    if per_column is not None and bool((present & ~per_column).any()):
        raise WireError("A batch has values of a subject that it says was not read.")
    if count > 1 and len(values):
        values = _undelta(values, np.count_nonzero(present, axis=1))
    matrix = np.zeros((columns, count), dtype=np.int64)
    matrix[present] = values
    return Samples(
        _ticks(message), taken, np.ascontiguousarray(present.T), np.ascontiguousarray(matrix.T)
    )


def part_of(samples: Samples, first: int, last: int) -> Samples:
    """The samples' ticks from place ``first`` to before ``last``."""
    return Samples(
        samples.ticks[first:last],
        None if samples.taken is None else samples.taken[first:last],
        None if samples.present is None else samples.present[first:last],
        samples.values[first:last],
    )


def _ticks(message: pb.Samples) -> NDArray[np.int64]:
    ticks = np.cumsum(np.array(message.ticks, dtype=np.int64), dtype=np.int64)
    if bool((ticks[1:] <= ticks[:-1]).any()):  # not their differences: those wrap around
        raise WireError("The ticks of a batch do not increase.")
    return ticks


def _undelta(values: NDArray[np.int64], per_column: NDArray[np.intp]) -> NDArray[np.int64]:
    """Sums within each column: a running sum over all, less what came before the column.

    int64 wraps around in both, so the difference is exact.
    """
    sums = np.cumsum(values, dtype=np.int64)
    ends = np.cumsum(per_column)
    before = np.where(ends - per_column > 0, sums[ends - per_column - 1], 0)
    result: NDArray[np.int64] = sums - np.repeat(before, per_column)
    return result
