"""The column-wise layout of samples, against an oracle written apart."""

from hypothesis import given
from hypothesis import strategies as st

from gpufleet.agent.records import LayoutSubject, Position, TickRecord, layout_of, row_of
from gpufleet.agent.wire.messages import layout_message
from gpufleet.agent.wire.samples import decode, encode, pack, unpack
from support.samples_oracle import decode_samples

int64 = st.integers(-(2**63), 2**63 - 1)
cell = st.none() | st.integers(0, 100) | int64


@st.composite
def tick_records(draw: st.DrawFn) -> list[TickRecord]:
    widths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    layout = layout_of(
        tuple(LayoutSubject("gpu", f"g{i}", tuple(range(1, w + 1))) for i, w in enumerate(widths))
    )
    times = draw(st.lists(st.integers(0, 2**45), min_size=1, max_size=6, unique=True))
    rows = st.tuples(*(st.none() | st.tuples(*[cell] * width) for width in widths))
    return [
        TickRecord(Position(1, seq), time, layout, draw(rows))
        for seq, time in enumerate(sorted(times), 1)
    ]


@given(tick_records())
def test_what_is_encoded_decodes_to_the_same_by_the_letter_of_the_protocol(
    ticks: list[TickRecord],
) -> None:
    decoded = decode_samples(layout_message(ticks[0].layout), encode(ticks))
    expected = [
        (
            tick.tick_ms,
            [
                None
                if row is None
                else {m: v for m, v in zip(subject.metrics, row, strict=True) if v is not None}
                for subject, row in zip(tick.layout.subjects, tick.rows, strict=True)
            ],
        )
        for tick in ticks
    ]
    assert decoded == expected


@given(tick_records())
def test_the_agents_own_decoder_gives_the_rows_back(ticks: list[TickRecord]) -> None:
    message = unpack(pack(encode(ticks)))
    assert decode(ticks[0].layout, message) == [(tick.tick_ms, tick.rows) for tick in ticks]


def test_whole_ticks_carry_no_bitmaps() -> None:
    layout = layout_of((LayoutSubject("gpu", "a", (1, 20)),))
    ticks = [TickRecord(Position(1, n), n * 1000, layout, ((5, 60 + n),)) for n in (1, 2)]
    message = encode(ticks)
    assert (message.taken, message.present) == (b"", b"")
    assert list(message.ticks) == [1000, 1000]
    assert list(message.values) == [5, 0, 61, 1]


def test_absent_and_zero_are_told_apart() -> None:
    layout = layout_of((LayoutSubject("gpu", "a", (1, 20)),))
    message = encode([TickRecord(Position(1, 1), 1000, layout, ((0, None),))])
    assert list(message.values) == [0]
    assert message.present == b"\x01"


def test_the_same_columns_have_the_same_layout_id_and_others_another() -> None:
    a = (LayoutSubject("gpu", "a", (1, 20)),)
    assert layout_of(a).id == layout_of(tuple(a)).id
    assert layout_of(a).id != layout_of((LayoutSubject("gpu", "a", (1, 21)),)).id


def test_64_bits_of_reasons_fit_the_wire_and_a_blank_is_absent() -> None:
    subject = LayoutSubject("gpu", "a", (26, 70))
    assert row_of(subject, {26: 2**64 - 1, 70: 2**64 - 1}) == (None, -1)
    assert row_of(subject, {70: 0x44}) == (None, 0x44)
