"""Ticks as the ``Samples`` message and back: the column-wise layout of telemetry.proto."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise

from gpufleet.agent.records import Layout, Row, TickRecord, wrapped
from gpufleet.proto import telemetry_pb2 as pb


def encode(ticks: Sequence[TickRecord]) -> pb.Samples:
    """One message of ticks that share a layout, in ascending order."""
    layout = ticks[0].layout
    if len(ticks) == 1:
        return _encode_one(ticks[0])
    times = [ticks[0].tick_ms]
    times.extend(b.tick_ms - a.tick_ms for a, b in pairwise(ticks))
    count, width = len(ticks), len(layout.subjects)
    taken = bytearray((count * width + 7) // 8)
    all_taken = True
    for t, tick in enumerate(ticks):
        for s, row in enumerate(tick.rows):
            if row is None:
                all_taken = False
            else:
                bit = t * width + s
                taken[bit >> 3] |= 1 << (bit & 7)
    columns = sum(len(subject.metrics) for subject in layout.subjects)
    present = bytearray((columns * count + 7) // 8)
    values: list[int] = []
    all_present = True
    bit = 0
    for s, subject in enumerate(layout.subjects):
        rows = [tick.rows[s] for tick in ticks]
        for k in range(len(subject.metrics)):
            before: int | None = None
            for row in rows:
                if row is not None:
                    value = row[k]
                    if value is None:
                        all_present = False
                    else:
                        present[bit >> 3] |= 1 << (bit & 7)
                        values.append(value if before is None else wrapped(value - before))
                        before = value
                bit += 1
    return pb.Samples(
        layout=layout.id,
        ticks=times,
        taken=b"" if all_taken else bytes(taken),
        present=b"" if all_present else bytes(present),
        values=values,
    )


def _encode_one(tick: TickRecord) -> pb.Samples:
    """The live message, which is made once a second: no deltas, so no loop over columns."""
    values: list[int] = []
    whole = all_taken = True
    for row in tick.rows:
        if row is None:
            all_taken = False
        elif None in row:
            whole = False
            values.extend(value for value in row if value is not None)
        else:
            values.extend(row)  # type: ignore[arg-type]  # no None in it
    message = pb.Samples(layout=tick.layout.id, ticks=[tick.tick_ms], values=values)
    if not all_taken:
        message.taken = _bits([row is not None for row in tick.rows])
    if not whole:
        message.present = _bits(
            [
                row is not None and row[k] is not None
                for row, subject in zip(tick.rows, tick.layout.subjects, strict=True)
                for k in range(len(subject.metrics))
            ]
        )
    return message


def _bits(flags: list[bool]) -> bytes:
    packed = bytearray((len(flags) + 7) // 8)
    for bit, flag in enumerate(flags):
        if flag:
            packed[bit >> 3] |= 1 << (bit & 7)
    return bytes(packed)


def decode(layout: Layout, message: pb.Samples) -> list[tuple[int, tuple[Row | None, ...]]]:
    """Ticks and their rows, as ``encode`` was given them."""
    times: list[int] = []
    for value in message.ticks:
        times.append(times[-1] + value if times else value)
    count, width = len(times), len(layout.subjects)
    taken, present = message.taken, message.present
    values = iter(message.values)
    rows: list[list[Row | None]] = [[None] * width for _ in times]
    column = 0
    for s, subject in enumerate(layout.subjects):
        read = [t for t in range(count) if not taken or _bit(taken, t * width + s)]
        cells: list[list[int | None]] = [[None] * len(subject.metrics) for _ in read]
        for k in range(len(subject.metrics)):
            before: int | None = None
            for cell, t in zip(cells, read, strict=True):
                if not present or _bit(present, column * count + t):
                    value = next(values)
                    before = value if before is None else wrapped(before + value)
                    cell[k] = before
            column += 1
        for cell, t in zip(cells, read, strict=True):
            rows[t][s] = tuple(cell)
    return [(time, tuple(row)) for time, row in zip(times, rows, strict=True)]


def _bit(bits: bytes, at: int) -> int:
    return bits[at >> 3] >> (at & 7) & 1


def pack(message: pb.Samples) -> bytes:
    """The body of ``packed_samples``."""
    return zlib.compress(message.SerializeToString(), 6)


def unpack(data: bytes) -> pb.Samples:
    """The message that was packed."""
    return pb.Samples.FromString(zlib.decompress(data))
