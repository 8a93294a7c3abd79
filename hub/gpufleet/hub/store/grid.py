"""Cuts samples on the fixed grid of minutes: what the recorder does before it writes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpufleet.hub.store.buckets import source_step
from gpufleet.hub.store.chunk import Bools, Ints
from gpufleet.hub.store.codec import EncodedChunk, encode_node
from gpufleet.hub.store.rollup import Summary, summarise_node
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS


@dataclass(frozen=True, slots=True)
class SubjectSamples:
    """The chunk of one subject and one minute; ``start_ms`` is the minute's beginning.

    ``summary`` says what the chunk says; ``None``: it is made of the chunk where it is needed.
    """

    subject_id: int
    start_ms: int
    chunk: EncodedChunk
    summary: Summary | None = None


def minute_of(tick_ms: int) -> int:
    """Beginning of the minute."""
    return tick_ms - tick_ms % MINUTE_MS


def hour_of(tick_ms: int) -> int:
    """Beginning of the hour."""
    return tick_ms - tick_ms % HOUR_MS


def minute_chunks(
    subject_ids: Sequence[int],
    ticks: Ints,
    values: Ints,
    present: Bools | None,
    taken: Bools | None,
    subjects: Sequence[Sequence[int]],
    interval_ms: int | None = None,
) -> list[SubjectSamples]:
    """Encoded chunks of any number of ticks of a node (arguments as codec.encode_node's).

    ``subject_ids`` is parallel to ``subjects``. Each sample speaks for ``interval_ms``; without
    it for the usual distance of ``ticks``.
    """
    step_ms = interval_ms or source_step([ticks])
    minutes = ticks - ticks % MINUTE_MS
    cuts = np.flatnonzero(minutes[1:] != minutes[:-1]) + 1
    edges = [0, *cuts.tolist(), len(ticks)]
    samples: list[SubjectSamples] = []
    for first, last in itertools.pairwise(edges):
        if first == last:
            continue
        rows = slice(first, last)
        some_present = None if present is None else present[rows]
        some_taken = None if taken is None else taken[rows]
        chunks = encode_node(ticks[rows], values[rows], some_present, some_taken, subjects)
        summaries = summarise_node(values[rows], some_present, some_taken, subjects, step_ms)
        start_ms = int(minutes[first])
        samples.extend(
            SubjectSamples(subject_id, start_ms, chunk, summary)
            for subject_id, chunk, summary in zip(subject_ids, chunks, summaries, strict=True)
            if chunk is not None
        )
    return samples
