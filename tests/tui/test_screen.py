"""Every view at every size, whatever the fleet: whole rows, nothing spilled, nothing lost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.client.lines import Order
from gpufleet.tui import screen
from gpufleet.tui.picture import Picture
from gpufleet.tui.prompt import Prompt, Purpose
from gpufleet.tui.state import Detail, Menu, Ui, View
from gpufleet.tui.text import width
from gpufleet.tui.theme import NAMES, Depth
from support.tui_rows import NOW_MS, drawn, hostile, past, picture, rows, styles, unknown

SIZES = (
    (20, 5),
    (24, 8),
    (40, 12),
    (60, 14),
    (80, 24),
    (110, 30),
    (120, 35),
    (200, 55),
    (300, 100),
)
FLEETS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "none": [],
    "one": rows(1),
    "eight": rows(8),
    "64": rows(64),
    "thousand": rows(1000),
    "unknown": unknown(rows(9)),
    "hostile": hostile(),
}


def whole(lines: Sequence[str], size: tuple[int, int]) -> None:
    """Asserts that the rows fill the screen exactly and that boxes are closed."""
    assert len(lines) == size[1]
    for line in lines:
        assert width(line) == size[0]
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)
        if line.startswith("│"):
            assert line[-1] in "│┃"
        if line.startswith(("╭", "╰")):
            assert line[-1] in "╮╯"


def choices(view: View, found: Sequence[Mapping[str, Any]], **more: Any) -> Ui:
    uuid = str(found[0]["uuid"]) if found else "GPU-gone"
    return Ui(view=view, detail=Detail(uuid), **more)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("view", list(View))
@pytest.mark.parametrize("fleet", FLEETS)
def test_every_view_fills_every_size(fleet: str, view: View, size: tuple[int, int]) -> None:
    found = FLEETS[fleet]
    frame = drawn(picture(found), choices(view, found), size)
    lines = frame.canvas.lines()
    whole(lines, size)
    assert "quit" in lines[-1]
    assert lines[0].strip()
    if view is View.FLEET and found:
        shown = frame.visible
        assert len(shown) == min(frame.page, len(screen.arrange(found, Order())))
        rows_of = [zone.y for zone in frame.zones if zone.command.startswith("line:")]
        assert len(rows_of) == len(shown)
        assert all(lines[y].strip(" │┃") for y in rows_of)


@pytest.mark.parametrize("theme", NAMES)
@pytest.mark.parametrize("depth", list(Depth))
@pytest.mark.parametrize("view", list(View))
def test_every_theme_draws_every_view(view: View, depth: Depth, theme: str) -> None:
    found = FLEETS["hostile"]
    frame = drawn(picture(found), choices(view, found), (100, 30), styles(theme, depth))
    whole(frame.canvas.lines(), (100, 30))
    most = {Depth.FULL: 255, Depth.EIGHT: 7, Depth.NONE: -1}[depth]
    used = {c for row in frame.canvas.styles for s in row for c in (s.fg, s.bg) if c is not None}
    assert max(used, default=-1) <= (most if theme != "mono" else -1)


@pytest.mark.parametrize("menu", list(Menu))
@pytest.mark.parametrize("view", [View.FLEET, View.USERS])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_menus_and_help_fit_over_every_size(size: tuple[int, int], view: View, menu: Menu) -> None:
    frame = drawn(picture(rows(8)), Ui(view=view, menu=menu), size)
    whole(frame.canvas.lines(), size)


@given(st.text(max_size=60), st.integers(0, 60), st.sampled_from(SIZES), st.sampled_from(Purpose))
def test_whatever_is_typed_fits_with_its_cursor(
    text: str, at: int, size: tuple[int, int], purpose: Purpose
) -> None:
    at = min(at, len(text))
    prompt = Prompt(purpose, text, at, error="Filter, character 3: no.", error_at=min(3, at))
    frame = drawn(picture(rows(3)), Ui(prompt=prompt), size)
    whole(frame.canvas.lines(), size)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"node": st.text(max_size=20), "name": st.text(max_size=20) | st.none()},
            optional={
                "utilization_ratio": st.floats(-1, 9) | st.none(),
                "temperature_celsius": st.floats(-99, 9999) | st.none(),
                "power_watts": st.floats(0, 1e9) | st.none(),
                "memory_used_bytes": st.integers(0, 2**62) | st.none(),
                "health": st.integers(0, 3) | st.none(),
                "users": st.lists(st.text(max_size=9), max_size=3) | st.none(),
            },
        ),
        max_size=6,
    ),
    st.sampled_from(SIZES),
    st.sampled_from([View.FLEET, View.USERS]),
)
def test_rows_of_any_content_are_drawn(
    found: list[dict[str, Any]], size: tuple[int, int], view: View
) -> None:
    named = [{"uuid": f"GPU-{i}", "index": i, **r} for i, r in enumerate(found)]
    frame = drawn(picture(named, gpu=None, past=None), Ui(view=view), size)
    whole(frame.canvas.lines(), size)


def text_of(shown: Picture, ui: Ui, size: tuple[int, int] = (120, 35)) -> str:
    return "\n".join(drawn(shown, ui, size).canvas.lines())


def test_a_terminal_that_is_too_small_is_told_so() -> None:
    assert "20x5 wanted" in text_of(picture(rows(8)), Ui(), (19, 4))
    assert text_of(picture(rows(8)), Ui(), (1, 1)) == "2"


def test_an_old_picture_stays_and_says_its_age_in_grey() -> None:
    old = picture(rows(8), now_ms=NOW_MS + 12_000, trouble="The hub does not answer.")
    frame = drawn(old, Ui(), (120, 35))
    text = "\n".join(frame.canvas.lines())
    assert "no answer for 12 s" in text
    assert "node-1 / GPU 7" in text
    grey = styles().dim.fg
    y = next(z.y for z in frame.zones if z.command == "line:3")
    colours = {s.fg for s, c in zip(frame.canvas.styles[y], frame.canvas.chars[y], strict=True)
               if c.strip(" │■")}  # fmt: skip
    assert colours == {grey}


def test_before_the_first_answer_the_reason_is_shown() -> None:
    nothing = Picture("hub:1", NOW_MS, trouble="The hub at hub:1 does not answer: refused.")
    assert "does not answer: refused." in text_of(nothing, Ui())
    assert "Asking hub:1" in text_of(Picture("hub:1", NOW_MS), Ui())


def test_an_empty_fleet_and_a_filter_that_nothing_passes_say_what_to_do() -> None:
    assert "gpufleet agent run" in text_of(picture([]), Ui())
    assert "F takes it away" in text_of(picture([]), Ui(filter="temp>200"))


def test_health_has_a_letter_a_word_and_a_colour() -> None:
    levels = [dict(r, health=i % 4) for i, r in enumerate(rows(4))]
    frame = drawn(picture(levels), Ui(), (200, 20))
    lines = frame.canvas.lines()
    zones = [z for z in frame.zones if z.command.startswith("line:")]
    assert [lines[z.y][z.x] for z in zones] == ["H", "C", "W", "X"]
    colours = [frame.canvas.styles[z.y][z.x].fg for z in zones[1:]]
    assert colours == [style.fg for style in styles().health[1:]]
    assert "critical" in lines[zones[3].y]


def test_a_wide_screen_shows_exact_numbers_and_a_narrow_one_the_most_important() -> None:
    wide = text_of(picture(rows(8)), Ui(), (200, 30))
    assert "node-1 / GPU 3" in wide
    assert re.search(r"31.2/80.0G +53° +■+ +304/700W +1980MHz", wide)
    narrow = drawn(picture(rows(8)), Ui(), (20, 6)).canvas.lines()
    assert re.search(r"H node-1/3 +39% +53°", narrow[4])


def test_detail_shows_charts_facts_and_processes_with_whom_they_belong_to() -> None:
    text = text_of(picture(rows(2)), choices(View.DETAIL, rows(2)), (160, 45))
    for wanted in ("1 load", "2 memory", "3 temperature", "4 power", "70.00 W of 700 W",
                   "sw power cap", "4242", "4711", "cccc", "train.py", "now"):  # fmt: skip
        assert wanted in text
    assert re.search("[\u2801-\u28ff]", text)


def test_detail_in_the_past_says_until_when() -> None:
    ui = choices(View.DETAIL, rows(1))
    ui = replace(ui, detail=replace(ui.detail, end_ms=NOW_MS - 3_600_000))
    assert "15 min until 1 h ago" in text_of(picture(rows(1)), ui)


def test_without_samples_a_chart_says_so() -> None:
    empty = replace(past("GPU-node-1-0"), series={})
    text = text_of(picture(rows(1), past=empty), choices(View.DETAIL, rows(1)))
    assert "no samples in this time" in text


def test_a_gpu_that_the_hub_does_not_know_is_said_to_be_so() -> None:
    shown = picture([], gpu_trouble="There is no GPU 'GPU-gone'.")
    assert "There is no GPU 'GPU-gone'." in text_of(shown, choices(View.DETAIL, []))


def test_alerts_are_listed_the_worst_first_with_what_is_silenced_last() -> None:
    lines = drawn(picture(rows(8)), Ui(view=View.ALERTS), (120, 35)).canvas.lines()
    order = [next(i for i, line in enumerate(lines) if name in line)
             for name in ("GpuHot", "NodeDown", "MemoryFull", "Waste")]  # fmt: skip
    assert order == sorted(order)
    text = "\n".join(lines)
    assert "85 °C for more than 5 min" in text
    assert "1 silenced" in text


def test_no_alerts_and_a_hub_without_alerts_are_told_apart() -> None:
    assert "Nothing fires" in text_of(picture([], alerts=()), Ui(view=View.ALERTS))
    shown = picture([], alerts=None, alerts_trouble="There is nothing at /api/v1/alerts.")
    assert "There is nothing at" in text_of(shown, Ui(view=View.ALERTS))


def test_users_are_listed_with_what_they_hold_and_what_is_free() -> None:
    text = text_of(picture(rows(8)), Ui(view=View.USERS))
    assert re.search(r"▸ alice .* 6 +", text)
    assert re.search(r"▸ \(free\) .* 2 +", text)
    assert "1 user" in text


def test_a_mistake_in_a_filter_is_marked_below_its_character() -> None:
    prompt = Prompt(Purpose.FILTER, "temp>x", 6, error="Filter, character 6: no.", error_at=5)
    lines = drawn(picture(rows(3)), Ui(prompt=prompt), (80, 24)).canvas.lines()
    at = lines[-1].index("temp>x") + 5
    assert lines[-2][at] == "↑"
    assert "Filter, character 6: no." in lines[-2]


def test_a_terminal_without_unicode_gets_only_ascii_signs_of_ours() -> None:
    look = styles("mono", Depth.NONE, unicode=False)
    ours = {"°", "…", "·", "─"}
    for view in View:
        frame = drawn(picture(rows(80)), choices(view, rows(80)), (120, 35), look)
        signs = {c for line in frame.canvas.lines() for c in line if not c.isascii()}
        assert signs <= ours | {"←", "→", "↑", "↓"}
