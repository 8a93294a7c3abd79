"""Encodes Samples straight from the comments of telemetry.proto: the oracle of the decoder."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from gpufleet.proto import telemetry_pb2 as pb


def _bitmap(bits: Sequence[bool]) -> bytes:
    data = bytearray((len(bits) + 7) // 8)
    for i, bit in enumerate(bits):
        data[i // 8] |= bit << (i % 8)
    return bytes(data)


def _wrap(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def encode(
    layout: int,
    ticks: Sequence[int],
    taken: Sequence[Sequence[bool]],
    values: Sequence[Sequence[int | None]],
) -> pb.Samples:
    """``taken[t][s]`` and ``values[t][c]``; ``None`` is absent."""
    columns = len(values[0])
    everything = all(v is not None for row in values for v in row)
    wire: list[int] = []
    for c in range(columns):
        before = 0
        for row in values:
            value = row[c]
            if value is not None:
                wire.append(_wrap(value - before))
                before = value
    return pb.Samples(
        layout=layout,
        ticks=[ticks[0], *(b - a for a, b in itertools.pairwise(ticks))],
        taken=b"" if all(map(all, taken)) else _bitmap([bit for row in taken for bit in row]),
        present=(
            b""
            if everything
            else _bitmap([row[c] is not None for c in range(columns) for row in values])
        ),
        values=wire,
    )
