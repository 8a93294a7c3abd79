from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpufleet.tui.canvas import PLAIN, Canvas, Style
from gpufleet.tui.difference import runs

RED = Style(1)
puts = st.lists(
    st.tuples(st.integers(-2, 9), st.integers(0, 1), st.text("ab日本 ", max_size=5), st.booleans()),
    max_size=8,
)


def canvas(found: list[tuple[int, int, str, bool]]) -> Canvas:
    made = Canvas(8, 2)
    for x, y, text, red in found:
        made.put(x, y, text, RED if red else PLAIN)
    return made


@given(puts, puts)
def test_what_is_written_turns_one_canvas_into_the_other(
    before: list[tuple[int, int, str, bool]], after: list[tuple[int, int, str, bool]]
) -> None:
    old, new = canvas(before), canvas(after)
    for run in runs(new, old):
        assert run.cells[0] != ""
        old.chars[run.y][run.x : run.x + len(run.cells)] = run.cells
        old.styles[run.y][run.x : run.x + len(run.cells)] = [run.style] * len(run.cells)
    assert old.chars == new.chars
    assert old.styles == new.styles


def test_nothing_is_written_where_nothing_changed() -> None:
    assert list(runs(canvas([(0, 0, "ab", True)]), canvas([(0, 0, "ab", True)]))) == []


def test_only_the_changed_part_of_a_row_is_written() -> None:
    old, new = canvas([(0, 0, "abaaab", False)]), canvas([(0, 0, "abbaab", False)])
    (run,) = runs(new, old)
    assert (run.y, run.x, run.cells) == (0, 2, ["b"])


def test_a_canvas_of_another_size_is_written_whole() -> None:
    assert sum(len(run.cells) for run in runs(Canvas(3, 2), Canvas(2, 2))) == 6
