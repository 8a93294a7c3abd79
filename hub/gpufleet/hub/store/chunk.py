"""A chunk in memory: the samples of one subject, column by column, and how chunks join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Column:
    """Scaled integers of one metric, one a tick.

    ``present`` is ``None`` where every tick has a value; where it is False the number in
    ``values`` means nothing.
    """

    values: Ints
    present: Bools | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples of one subject in strictly increasing ticks (Unix milliseconds).

    ``columns`` maps catalogue ids to columns as long as ``ticks``. A metric without a value at
    any tick has no column; a tick without any value is still a tick: the subject answered.
    """

    ticks: Ints
    columns: Mapping[int, Column]


EMPTY = Chunk(np.empty(0, np.int64), {})


def union(*chunks: Chunk) -> Chunk:
    """One chunk with every tick of ``chunks``; of a tick in several, the first chunk's sample."""
    filled = [chunk for chunk in chunks if len(chunk.ticks)]
    if len(filled) < 2:
        return filled[0] if filled else EMPTY
    joined = _concatenate(filled)
    if bool(np.all(joined.ticks[1:] > joined.ticks[:-1])):
        return joined
    _, first = np.unique(joined.ticks, return_index=True)
    return take(joined, first)


def take(chunk: Chunk, rows: NDArray[np.intp] | Bools | slice) -> Chunk:
    """The samples of ``chunk`` at ``rows``, in that order; columns left without values go."""
    columns: dict[int, Column] = {}
    for metric, column in chunk.columns.items():
        values = column.values[rows]
        if column.present is None:
            columns[metric] = Column(values)
            continue
        present = column.present[rows]
        if present.any():
            columns[metric] = Column(values, None if present.all() else present)
    ticks = chunk.ticks[rows]
    return Chunk(ticks, columns if len(ticks) else {})


def between(chunk: Chunk, start_ms: int, end_ms: int) -> Chunk:
    """The samples of ``chunk`` with start_ms <= tick < end_ms."""
    first, last = np.searchsorted(chunk.ticks, (start_ms, end_ms))
    if first == 0 and last == len(chunk.ticks):
        return chunk
    return take(chunk, slice(int(first), int(last)))


def _concatenate(chunks: Sequence[Chunk]) -> Chunk:
    ticks = np.concatenate([chunk.ticks for chunk in chunks])
    metrics = sorted({metric for chunk in chunks for metric in chunk.columns})
    return Chunk(ticks, {metric: _concatenate_column(chunks, metric) for metric in metrics})


def _concatenate_column(chunks: Sequence[Chunk], metric: int) -> Column:
    columns = [chunk.columns.get(metric) for chunk in chunks]
    whole = [column.values for column in columns if column is not None and column.present is None]
    if len(whole) == len(chunks):
        return Column(np.concatenate(whole))
    values, present = [], []
    for chunk, column in zip(chunks, columns, strict=True):
        count = len(chunk.ticks)
        if column is None:
            column = Column(np.zeros(count, np.int64), np.zeros(count, np.bool_))
        values.append(column.values)
        present.append(np.ones(count, np.bool_) if column.present is None else column.present)
    return Column(np.concatenate(values), np.concatenate(present))
