"""The chunk codec gives back what it was given, or says that it cannot."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpufleet.hub.store.chunk import Chunk, Column
from gpufleet.hub.store.codec import (
    CodecError,
    EncodedChunk,
    decode_chunk,
    encode_chunk,
    encode_node,
)

INT64 = np.iinfo(np.int64)
START = 1_700_000_040_000

# ``golden()`` as the first release wrote it: never to be changed.
GOLDEN_V1 = (
    "474643010a940bf628b52ffd20a2ad0200b4030300000005000000000113062c00200012508040ca"
    "fb00000403ff0000e600ff0000cf8b0100ff01000080e8b800030b424200002c0000010280050a00"
    "7a0213c2c554f18089aeee40049951206e9480918112"
)


def extremes() -> st.SearchStrategy[int]:
    edges = [INT64.min, INT64.min + 1, -1, 0, 1, 255, 256, 2**32, INT64.max - 1, INT64.max]
    return st.one_of(st.sampled_from(edges), st.integers(INT64.min, INT64.max), st.integers(0, 300))


@st.composite
def nodes(
    draw: st.DrawFn,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[list[int]]]:
    """Ticks, values, present and taken of a node, with the ids of its subjects."""
    subjects = draw(
        st.lists(
            st.lists(st.integers(1, 2**32 - 1) | st.integers(1, 80), max_size=5, unique=True),
            min_size=1,
            max_size=4,
        )
    )
    count = draw(st.integers(1, 12))
    gaps = draw(st.lists(st.integers(1, 10**7), min_size=count, max_size=count))
    ticks = START + np.cumsum(np.array(gaps, np.int64))
    width = sum(len(ids) for ids in subjects)
    values = draw(hnp.arrays(np.int64, (count, width), elements=extremes()))
    present = draw(hnp.arrays(np.bool_, (count, width)))
    taken = draw(hnp.arrays(np.bool_, (count, len(subjects))))
    return ticks, values, present, taken, subjects


def samples(chunk: Chunk) -> dict[int, dict[int, int]]:
    """Tick → catalogue id → value: what a chunk says, however it is laid out."""
    said: dict[int, dict[int, int]] = {int(tick): {} for tick in chunk.ticks}
    for metric, column in chunk.columns.items():
        for row, tick in enumerate(chunk.ticks):
            if column.present is None or column.present[row]:
                said[int(tick)][metric] = int(column.values[row])
    return said


@given(node=nodes(), masks=st.tuples(st.booleans(), st.booleans()))
@settings(max_examples=150, deadline=None)
def test_a_node_comes_back_exactly_subject_by_subject(node, masks) -> None:
    ticks, values, present, taken, subjects = node
    shown = present if masks[0] else None
    read = taken if masks[1] else None
    chunks = encode_node(ticks, values, shown, read, subjects)
    first = 0
    for subject, ids in enumerate(subjects):
        expected = {
            int(tick): {
                metric: int(values[row, first + column])
                for column, metric in enumerate(ids)
                if shown is None or shown[row, first + column]
            }
            for row, tick in enumerate(ticks)
            if read is None or read[row, subject]
        }
        first += len(ids)
        chunk = chunks[subject]
        if not expected:
            assert chunk is None
            continue
        assert chunk is not None
        assert chunk.count == len(expected)
        assert samples(decode_chunk(chunk.data)) == expected


@given(
    values=hnp.arrays(np.int64, st.integers(1, 3600), elements=extremes(), fill=extremes()),
    step=st.sampled_from([1, 1000, 60_000]),
)
@settings(max_examples=40, deadline=None)
def test_any_run_of_integers_comes_back(values, step) -> None:
    ticks = START + step * np.arange(len(values))
    chunk = decode_chunk(encode_chunk(Chunk(ticks, {20: Column(values)})).data)
    assert np.array_equal(chunk.ticks, ticks)
    assert np.array_equal(chunk.columns[20].values, values)
    assert chunk.columns[20].present is None


@given(node=nodes(), wanted=st.sets(st.integers(1, 80)))
@settings(max_examples=50, deadline=None)
def test_decoding_some_columns_is_decoding_all_and_forgetting_the_others(node, wanted) -> None:
    ticks, values, present, _, subjects = node
    for ids, chunk in zip(
        subjects, encode_node(ticks, values, present, None, subjects), strict=True
    ):
        assert chunk is not None
        some = wanted | set(ids[:1])
        everything = samples(decode_chunk(chunk.data))
        assert samples(decode_chunk(chunk.data, some)) == {
            tick: {metric: value for metric, value in said.items() if metric in some}
            for tick, said in everything.items()
        }


def test_a_tick_without_any_value_stays_a_tick() -> None:
    ticks = START + 1000 * np.arange(3)
    present = np.array([[True], [False], [False]])
    (chunk,) = encode_node(ticks, np.full((3, 1), 7, np.int64), present, None, [[20]])
    assert chunk is not None
    assert samples(decode_chunk(chunk.data)) == {START: {20: 7}, START + 1000: {}, START + 2000: {}}
    (nothing,) = encode_node(ticks, np.full((3, 1), 7, np.int64), ~present & False, None, [[20]])
    assert nothing is not None
    assert decode_chunk(nothing.data).columns == {}
    assert nothing.count == 3


def test_a_metric_without_any_value_takes_no_room() -> None:
    ticks = START + 1000 * np.arange(60)
    values = np.random.default_rng(1).integers(0, 1000, (60, 2))
    present = np.ones((60, 2), np.bool_)
    present[:, 1] = False
    (with_absent,) = encode_node(ticks, values, present, None, [[20, 21]])
    (without,) = encode_node(ticks, values[:, :1], None, None, [[20]])
    assert with_absent == without


def test_an_undisturbed_minute_of_constants_is_tiny() -> None:
    ticks = START + 1000 * np.arange(60)
    values = np.tile(np.array([5, 80_000_000_000, 0]), (60, 1))
    (chunk,) = encode_node(ticks, values, None, None, [[1, 13, 50]])
    assert chunk is not None
    assert len(chunk.data) < 80


def test_the_same_id_twice_in_a_subject_is_refused() -> None:
    with pytest.raises(ValueError, match="different"):
        encode_node(np.array([START]), np.zeros((1, 2), np.int64), None, None, [[20, 20]])


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3\)"):
        encode_node(np.array([START]), np.zeros((1, 3), np.int64), None, None, [[20, 21]])


def golden() -> Chunk:
    return Chunk(
        START + np.array([0, 1000, 3000]),
        {
            1: Column(np.array([970, 970, 970])),
            20: Column(np.array([61, 61, -5]), np.array([True, False, True])),
            26: Column(np.array([2**40, 2**40 + 300, 2**40 + 2**33])),
            70: Column(np.array([INT64.min, INT64.max, 0])),
        },
    )


def test_format_version_1_stays_readable() -> None:
    assert samples(decode_chunk(bytes.fromhex(GOLDEN_V1))) == samples(golden())


@given(data=st.binary(max_size=200))
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_chunk(data)


@given(flips=st.lists(st.integers(0, 10**9), min_size=1, max_size=3, unique=True))
def test_a_damaged_chunk_is_refused(flips: list[int]) -> None:
    whole = encode_chunk(golden()).data
    damaged = bytearray(whole)
    for flip in flips:
        damaged[flip % len(whole)] ^= 1 << flip % 8
    if bytes(damaged) != whole:
        with pytest.raises(CodecError):
            decode_chunk(bytes(damaged))


@given(cut=st.integers(0, 10**6))
def test_a_chunk_cut_short_is_refused(cut: int) -> None:
    whole = encode_chunk(golden()).data
    with pytest.raises(CodecError):
        decode_chunk(whole[: cut % len(whole)])


def forged(raw: bytes) -> bytes:
    """A blob with a right checksum around any contents."""
    frame = zstandard.ZstdCompressor().compress(raw)
    return b"GFC\x01" + zlib.crc32(frame).to_bytes(4, "little") + frame


def contents(chunk: EncodedChunk) -> bytes:
    return zstandard.ZstdDecompressor().decompress(chunk.data[8:])


@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
@settings(max_examples=200)
def test_forged_contents_are_refused_or_are_a_chunk(position: int, value: int) -> None:
    raw = bytearray(contents(encode_chunk(golden())))
    raw[position % len(raw)] = value
    try:
        chunk = decode_chunk(forged(bytes(raw)))
    except CodecError:
        return
    assert len(chunk.ticks) == 3
    assert all(len(column.values) == 3 for column in chunk.columns.values())


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff" * 8,
        b"\xff\xff\xff\xff\x01\x00\x00\x00" + bytes(21),
        b"\x01\x00\x00\x00\xff\xff\xff\xff" + bytes(21),
        bytes(8),
    ],
)
def test_contents_that_claim_impossible_sizes_are_refused(raw: bytes) -> None:
    with pytest.raises(CodecError):
        decode_chunk(forged(raw))


def test_a_frame_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(CodecError, match="claims"):
        decode_chunk(forged(bytes(65 * 1024 * 1024)))


def test_a_newer_format_is_named() -> None:
    data = bytearray(encode_chunk(golden()).data)
    data[3] = 2
    with pytest.raises(CodecError, match="format 2"):
        decode_chunk(bytes(data))
