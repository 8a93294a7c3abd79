"""Decodes ``Samples`` by the letter of telemetry.proto, written apart from the agent's code."""

from __future__ import annotations

from gpufleet.proto import telemetry_pb2 as pb

Cells = dict[int, int]


def decode_samples(layout: pb.Layout, samples: pb.Samples) -> list[tuple[int, list[Cells | None]]]:
    """For each tick its time and, per subject, {metric: raw value}, ``None`` if not taken."""
    assert samples.layout == layout.id
    ticks = list(samples.ticks)
    for t in range(1, len(ticks)):
        ticks[t] += ticks[t - 1]
    count, width = len(ticks), len(layout.subjects)
    owner = [s for s, subject in enumerate(layout.subjects) for _ in subject.metrics]
    metric = [m for subject in layout.subjects for m in subject.metrics]
    taken = _bits(samples.taken, count * width)
    present = _bits(samples.present, count * len(metric))
    result: list[tuple[int, list[Cells | None]]] = [
        (ticks[t], [{} if not taken or taken[t * width + s] else None for s in range(width)])
        for t in range(count)
    ]
    values = list(samples.values)
    at = 0
    for c in range(len(metric)):
        last = None
        for t in range(count):
            cells = result[t][1][owner[c]]
            there = present[c * count + t] if present else cells is not None
            assert not (there and cells is None), "a bit is set where the subject was not taken"
            if there:
                last = values[at] if last is None else last + values[at]
                last = (last + 2**63) % 2**64 - 2**63
                at += 1
                assert cells is not None
                cells[metric[c]] = last
    assert at == len(values), "values are left over"
    return result


def _bits(data: bytes, count: int) -> list[bool]:
    if not data:
        return []
    assert len(data) == (count + 7) // 8
    return [bool(data[i // 8] & 1 << i % 8) for i in range(count)]
