from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from gpufleet.tui.text import ascii_cell, cells, fit, fit_middle, pad, width, wrap
from support.tui_rows import HOSTILE


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("abc", ("a", "b", "c")),
        ("日a", ("日", "", "a")),
        ("\x1b[2J", ("·", "[", "2", "J")),
        ("a\x00b\nc", ("a", "·", "b", "·", "c")),
        ("e\u0301", ("é",)),
        ("a\u200b\u202eb", ("a", "b")),
        ("\ue000\U000e0fff", ("·", "·")),
    ],
)
def test_text_becomes_harmless_cells(text: str, found: tuple[str, ...]) -> None:
    assert cells(text) == found


@given(st.text(max_size=40))
def test_every_text_takes_as_many_cells_as_it_has_and_controls_nothing(text: str) -> None:
    found = cells(text)
    shown = "".join(found)
    assert wcswidth(shown) == len(found) == width(text)
    assert shown == "" or shown.isprintable() or " " in shown
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in shown)


@given(st.one_of(st.text(max_size=40), st.sampled_from(HOSTILE)), st.integers(0, 30))
def test_fitted_texts_never_take_more_room_than_there_is(text: str, room: int) -> None:
    assert width(fit(text, room)) <= room
    assert width(fit_middle(text, room)) <= room
    assert width(pad(text, room)) == room
    assert width(pad(text, room, True)) == room


@pytest.mark.parametrize(
    ("room", "shown"), [(11, "node-000123"), (8, "node…123"), (5, "no…23"), (2, "n…"), (0, "")]
)
def test_the_middle_is_left_out_since_names_end_in_numbers(room: int, shown: str) -> None:
    assert fit_middle("node-000123", room) == shown


@given(st.text(max_size=80), st.integers(1, 20))
def test_wrapped_lines_keep_to_the_room(text: str, room: int) -> None:
    lines = wrap(text, max(room, 2))
    assert lines
    assert all(width(line) <= max(room, 2) for line in lines)


def test_wrapping_breaks_between_words_and_cuts_only_what_is_too_long() -> None:
    assert wrap("the quick brownish fox", 9) == ["the quick", "brownish", "fox"]
    assert wrap("abcdefghij xy", 4) == ["abcd", "efgh", "ij", "xy"]


@pytest.mark.parametrize(("cell", "likeness"), [("a", "a"), ("█", "#"), ("╭", "+"), ("日", "?")])
def test_cells_for_ascii_terminals_have_a_likeness(cell: str, likeness: str) -> None:
    assert ascii_cell(cell) == likeness
