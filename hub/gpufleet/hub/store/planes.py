"""Runs of integers as byte planes: each as plain or as deltas, whichever is narrower. Exact.

All arithmetic is modulo 2^64 (codec.py has the format).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpufleet.hub.store.chunk import Bools, Ints

_LIMITS = np.array([0] + [(1 << 8 * w) - 1 for w in range(1, 8)], np.uint64)
BYTE = np.arange(8, dtype=np.uint8)

Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Residuals:
    """What rows (R, T) of integers are stored as; all but ``numbers`` are (R,)."""

    width: Bytes
    """Bytes that a row's numbers need."""
    deltas: Bools
    base: Words
    slope: Words
    numbers: Words
    """(R, T), below 256 ** width."""


def residuals_of(rows: Ints) -> Residuals:
    """The narrower form of each row of (R, T), plain where both are as narrow."""
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
    return Residuals(width, deltas, base, slope, residuals)


def _width(span: Words) -> Bytes:
    """Bytes that hold 0 to ``span``: 0 to 8."""
    return np.searchsorted(_LIMITS, span).astype(np.uint8)


def byte_rows(words: NDArray[np.uint64]) -> Bytes:
    """(K,) words as (8, K) bytes, lowest first."""
    octets: Bytes = words.astype("<u8", copy=False).view(np.uint8)
    return octets.reshape(-1, 8).T


def words_of(octets: Bytes) -> Words:
    """(8, K) bytes, lowest first, as (K,) words."""
    return np.ascontiguousarray(octets.T).view("<u8")[:, 0].astype(np.uint64, copy=False)


def values_of(
    planes: Bytes, width: Ints, deltas: Bools, base: Words, slope: Words, count: int
) -> Ints:
    """(R, T) values of rows from their byte planes, which lie one after the other."""
    octets = np.zeros((len(width), 8, count), np.uint8)
    octets[width[:, np.newaxis] > BYTE] = planes
    words: Words = np.ascontiguousarray(octets.transpose(0, 2, 1)).view("<u8")[..., 0]
    rows = np.flatnonzero(deltas)
    if len(rows):
        words[rows, 1:] = np.cumsum(words[rows, 1:] + slope[rows, np.newaxis], axis=1)
    words += base[:, np.newaxis]
    return words.view(np.int64)
