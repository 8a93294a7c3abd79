from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpufleet.tui.canvas import Canvas, Style
from gpufleet.tui.text import width

RED = Style(1)


def test_text_is_clipped_at_both_sides_and_never_leaves_the_canvas() -> None:
    canvas = Canvas(5, 2)
    assert canvas.put(-2, 0, "abcdefghij") == 8
    assert canvas.put(3, 1, "xyz", RED) == 6
    canvas.put(0, 2, "below")
    canvas.put(0, -1, "above")
    assert canvas.lines() == ["cdefg", "   xy"]
    assert canvas.styles[1] == [Style()] * 3 + [RED] * 2


def test_half_a_wide_character_is_a_blank() -> None:
    canvas = Canvas(4, 1)
    canvas.put(0, 0, "日本")
    canvas.put(1, 0, "x")
    assert canvas.chars[0] == [" ", "x", "本", ""]
    canvas.put(2, 0, "y")
    assert canvas.chars[0] == [" ", "x", "y", " "]
    canvas.put(3, 0, "語")
    assert canvas.chars[0] == [" ", "x", "y", " "]
    canvas.put(-1, 0, "語a")
    assert canvas.chars[0] == [" ", "a", "y", " "]


@given(
    st.lists(st.tuples(st.integers(-8, 14), st.integers(-1, 3), st.text(max_size=12)), max_size=12)
)
def test_whatever_is_put_every_row_keeps_its_width(puts: list[tuple[int, int, str]]) -> None:
    canvas = Canvas(10, 3)
    for x, y, text in puts:
        canvas.put(x, y, text)
    for chars, styles, line in zip(canvas.chars, canvas.styles, canvas.lines(), strict=True):
        assert len(chars) == len(styles) == 10
        assert width(line) == 10


def test_a_smaller_canvas_is_laid_onto_another() -> None:
    small = Canvas(2, 2, RED)
    small.put(0, 0, "ab", RED)
    large = Canvas(3, 2)
    large.blit(small, 2, 1)
    assert large.lines() == ["   ", "  a"]
    assert large.styles[1][2] is RED


def test_a_selected_row_keeps_its_colours_on_another_ground() -> None:
    canvas = Canvas(2, 1)
    canvas.put(0, 0, "a", RED)
    canvas.highlight(0, 7, False)
    assert canvas.styles[0] == [Style(1, 7), Style(None, 7)]
    canvas.highlight(0, None, True)
    assert all(style.reverse for style in canvas.styles[0])
