"""Samples on the wire, decoded; whatever does not add up is refused with a sentence."""

from __future__ import annotations

import contextlib
import zlib

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.hub.wire import (
    MAX_UNPACKED_BYTES,
    Layout,
    WireError,
    decode_layout,
    decode_samples,
    unpack_samples,
)
from gpufleet.proto import telemetry_pb2 as pb
from support.samples_wire import encode

LAYOUT = Layout(1, (("gpu", "GPU-a"), ("gpu", "GPU-b")), ((20, 23, 31), (20,)), 4)
INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[int], list[list[bool]], list[list[int | None]]]:
    """Ticks, who was read, and values (None: absent) of LAYOUT's four columns."""
    ticks = sorted(draw(st.sets(st.integers(1, 2**53), min_size=1, max_size=6)))
    taken = [[draw(st.booleans()), draw(st.booleans())] for _ in ticks]
    values: list[list[int | None]] = [
        [draw(st.none() | INT64) if row[subject] else None for subject in (0, 0, 0, 1)]
        for row in taken
    ]
    return ticks, taken, values


@given(batches())
def test_what_was_encoded_by_the_letter_of_the_protocol_is_decoded(
    batch: tuple[list[int], list[list[bool]], list[list[int | None]]],
) -> None:
    ticks, taken, values = batch
    samples = decode_samples(encode(1, ticks, taken, values), LAYOUT)
    assert samples.ticks.tolist() == ticks
    got_taken = np.ones((len(ticks), 2), bool) if samples.taken is None else samples.taken
    assert got_taken.tolist() == taken
    present = np.ones((len(ticks), 4), bool) if samples.present is None else samples.present
    got = [
        [int(v) if p else None for v, p in zip(row, mask, strict=True)]
        for row, mask in zip(samples.values, present, strict=True)
    ]
    assert got == values


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_decoded_but_never_raises_anything_else(data: bytes) -> None:
    try:
        message = pb.Samples.FromString(data)
    except DecodeError:
        return
    with contextlib.suppress(WireError):
        samples = decode_samples(message, LAYOUT)
        assert samples.values.shape == (len(samples.ticks), LAYOUT.columns)


@pytest.mark.parametrize(
    "message",
    [
        pb.Samples(layout=1),
        pb.Samples(layout=1, ticks=[1], values=[1, 2, 3]),
        pb.Samples(layout=1, ticks=[1], values=[1, 2, 3], present=b"\x0f"),
        pb.Samples(layout=1, ticks=[1], values=[1, 2, 3, 4], present=b"\x0f\x00"),
        pb.Samples(layout=1, ticks=[1], values=[1, 2, 3, 4], taken=b"\x01"),
        pb.Samples(layout=1, ticks=[1], values=[1, 2, 3, 4], taken=b"\x01", present=b"\x0f"),
        pb.Samples(layout=1, ticks=[5, 0], values=[0] * 8),
    ],
    ids=[
        "no tick",
        "too few",
        "too few present",
        "long bitmap",
        "not taken",
        "untaken value",
        "tick",
    ],
)
def test_a_message_that_does_not_add_up_is_refused(message: pb.Samples) -> None:
    with pytest.raises(WireError):
        decode_samples(message, LAYOUT)


def test_a_packed_batch_that_would_unpack_beyond_the_bound_is_refused() -> None:
    bomb = zlib.compress(b"\0" * (MAX_UNPACKED_BYTES + 1))
    with pytest.raises(WireError, match="16 MiB"):
        unpack_samples(bomb)


def test_a_packed_batch_that_is_cut_off_or_garbage_is_refused() -> None:
    packed = zlib.compress(pb.Samples(layout=1, ticks=[1], values=[1, 2, 3, 4]).SerializeToString())
    assert unpack_samples(packed).layout == 1
    for broken in (packed[:-3], b"garbage", zlib.compress(b"\xff\xff\xff")):
        with pytest.raises(WireError):
            unpack_samples(broken)


@pytest.mark.parametrize(
    "subjects",
    [
        [],
        [("fan", "x", [1])],
        [("gpu", "", [1])],
        [("gpu", "a", [1, 1])],
        [("gpu", "a", [0])],
        [("gpu", "a", [1]), ("gpu", "a", [2])],
    ],
)
def test_a_layout_that_repeats_or_names_nothing_is_refused(
    subjects: list[tuple[str, str, list[int]]],
) -> None:
    message = pb.Layout(
        id=1, subjects=[pb.LayoutSubject(kind=k, key=key, metrics=m) for k, key, m in subjects]
    )
    with pytest.raises(WireError):
        decode_layout(message)
