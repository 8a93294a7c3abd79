from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.client.fields import Fields
from gpufleet.client.filter import FilterError, parse
from gpufleet.client.lines import Order
from gpufleet.tui import reducer, screen
from gpufleet.tui.events import Key
from gpufleet.tui.keymap import BINDINGS, COMMANDS
from gpufleet.tui.picture import Picture
from gpufleet.tui.state import (
    SPANS,
    Acknowledge,
    Detail,
    Effect,
    Menu,
    Metric,
    Quit,
    Save,
    Silence,
    Ui,
    View,
)
from support.tui_rows import NOW_MS, arranged, drawn, picture, rows

SIZE = (120, 35)
FIELDS = Fields([("temperature_celsius", "gauge", {}), ("utilization_ratio", "gauge", {})])


def check(text: str) -> tuple[str, int] | None:
    try:
        parse(text, FIELDS)
    except FilterError as error:
        return str(error), error.position - 1
    return None


def press(ui: Ui, *keys: str, shown: Picture | None = None) -> tuple[Ui, list[Effect]]:
    """What keys make of the choices, drawing between them as the program does."""
    shown = shown or picture(rows(32))
    effects: list[Effect] = []
    for key in keys:
        frame = drawn(shown, ui, SIZE)
        ui = screen.settled(ui, arranged(shown, ui), frame)
        scene = screen.scene(shown, ui, arranged(shown, ui), frame)
        ui, more = reducer.press(ui, Key(key), scene, check)
        effects += more
    frame = drawn(shown, ui, SIZE)
    return screen.settled(ui, arranged(shown, ui), frame), effects


def typed(text: str) -> list[str]:
    return list(text)


def test_the_cursor_goes_down_the_lines_and_stays_within_them() -> None:
    ui, _ = press(Ui(), "down", "down", "j")
    assert ui.cursor().key == "GPU-node-1-3"
    assert press(ui, "home", "up")[0].cursor().at == 0
    assert press(ui, "end", "down")[0].cursor().key == "GPU-node-4-7"


def test_the_cursor_stays_with_its_gpu_when_the_order_changes() -> None:
    ui, _ = press(Ui(), "down", "down", "s")
    assert ui.menu is Menu.SORT
    ui, effects = press(ui, "5")
    assert (ui.menu, ui.order.sort, ui.order.descending) == (None, "temp", True)
    assert ui.cursor().key == "GPU-node-1-2"
    assert effects == [Save()]
    assert press(ui, "r")[0].order.descending is False


def test_enter_shows_a_gpu_in_detail_and_esc_returns() -> None:
    ui, _ = press(Ui(), "down", "enter")
    assert (ui.view, ui.detail.uuid) == (View.DETAIL, "GPU-node-1-1")
    assert press(ui, "esc")[0].view is View.FLEET
    assert press(ui, "o")[0].view is View.FLEET
    assert press(ui, "tab")[0].detail.uuid == "GPU-node-1-2"
    assert press(ui, "N", "N")[0].detail.uuid == "GPU-node-4-7"


def test_a_group_opens_and_closes() -> None:
    shown = picture(rows(80))
    ui, _ = press(Ui(), "down", "enter", "down", "down", shown=shown)
    assert ui.cursor().key == "GPU-node-2-1"
    ui, _ = press(ui, " ", shown=shown)
    assert ui.cursor().key == "node:node-2"
    assert ui.order.toggled == frozenset()
    ui, _ = press(ui, "e", "end", shown=shown)
    assert ui.cursor().key == "GPU-node-10-7"


def test_a_search_goes_to_its_match_while_it_is_typed_and_opens_a_closed_group() -> None:
    shown = picture(rows(80))
    ui, _ = press(Ui(), "/", *typed("node-7/3"), "enter", shown=shown)
    assert ui.cursor().key == "GPU-node-7-3"
    assert "node:node-7" in ui.order.toggled
    ui, _ = press(ui, "/", *typed("nobody"), "enter", shown=shown)
    assert "nobody" in ui.note


def test_n_goes_on_to_the_next_match() -> None:
    ui, _ = press(Ui(), "/", *typed("gpu 5"), "enter", "n", "n")
    assert ui.cursor().key == "GPU-node-3-5"
    assert press(ui, "N")[0].cursor().key == "GPU-node-2-5"


def test_a_filter_with_a_mistake_stays_open_and_says_where() -> None:
    ui, effects = press(Ui(), "f", *typed("temp>x"), "enter")
    assert ui.prompt is not None
    assert ui.prompt.error_at == 5
    assert "number" in ui.prompt.error
    assert (ui.filter, effects) == ("", [])


def test_a_filter_is_taken_remembered_and_found_again_by_the_arrow() -> None:
    ui, effects = press(Ui(), "f", *typed("temp>60"), "enter")
    assert (ui.filter, ui.filters, effects) == ("temp>60", ("temp>60",), [Save()])
    ui, _ = press(ui, "F", "f", *typed("ut"), "up")
    assert ui.prompt is not None
    assert ui.prompt.text == "temp>60"
    ui, _ = press(ui, "down")
    assert ui.prompt is not None
    assert ui.prompt.text == "ut"
    ui, _ = press(ui, "esc")
    assert (ui.prompt, ui.filter) == (None, "")


def test_a_typed_line_can_be_edited_anywhere() -> None:
    keys = ["f", *typed("tmp>6"), "home", "right", "e", "end", "backspace", "7", "ctrl-a",
            "delete", "t", "ctrl-e", *typed(" zz"), "ctrl-w"]  # fmt: skip
    ui, _ = press(Ui(), *keys)
    assert ui.prompt is not None
    assert ui.prompt.text == "temp>7 "
    ui, _ = press(ui, "left", "left", "ctrl-k", "ctrl-u")
    assert ui.prompt is not None
    assert ui.prompt.text == ""


def test_grouping_is_chosen_from_the_menu_and_labels_can_be_typed() -> None:
    ui, _ = press(Ui(), "g", "down", "down", "enter")
    assert ui.order.group == "node"
    ui, _ = press(ui, "g", "end", "enter")
    assert ui.prompt is not None
    ui, _ = press(ui, *typed("rack"), "enter")
    assert ui.order.group == "label.rack"
    ui, _ = press(Ui(), "g", "6")
    assert ui.order.group == "label.rack"


def test_charts_are_chosen_by_their_numbers_and_the_last_one_stays() -> None:
    ui, _ = press(Ui(), "o", "1", "3")
    assert ui.detail.charts == (Metric.MEMORY, Metric.POWER)
    ui, _ = press(ui, "2", "4")
    assert ui.detail.charts == (Metric.POWER,)


def test_time_goes_back_by_quarters_and_returns_to_live() -> None:
    ui, _ = press(Ui(), "o", "left")
    assert ui.detail.end_ms == NOW_MS - SPANS[1] * 250
    assert press(ui, "right")[0].detail.end_ms is None
    ui, _ = press(ui, "[", "left")
    assert ui.detail.end_ms == NOW_MS - SPANS[1] * 1500
    assert press(ui, "0")[0].detail.end_ms is None


def test_zooming_out_keeps_the_middle_and_zooming_in_stays_live() -> None:
    ui, _ = press(Ui(), "o", "[", "[", "[", "[", "-")
    middle = NOW_MS - SPANS[1] * 4500
    assert ui.detail.end_ms == middle + SPANS[2] * 500
    ui, _ = press(Ui(), "o", "+", "+", "+")
    assert (ui.detail.span, ui.detail.end_ms) == (0, None)
    ui, _ = press(Ui(), "o", *["-"] * 20)
    assert SPANS[ui.detail.span] == 30 * 86400


def test_an_alert_is_acknowledged_with_a_comment() -> None:
    ui, effects = press(Ui(), "a", "A", *typed("on it"), "enter")
    assert effects == [Acknowledge("1", "on it")]
    assert (ui.view, ui.prompt) == (View.ALERTS, None)


def test_an_alert_is_silenced_for_a_time_and_a_wrong_time_is_asked_for_again() -> None:
    ui, effects = press(Ui(), "a", "down", "Z", "ctrl-u", *typed("soon"), "enter")
    assert ui.prompt is not None
    assert "30m" in ui.prompt.error
    assert effects == []
    ui, effects = press(ui, "ctrl-u", *typed("3d"), "enter", *typed("repair"), "enter")
    assert effects == [Silence("3", 3 * 86400, "repair")]


def test_esc_leaves_an_order_unsaid() -> None:
    ui, effects = press(Ui(), "a", "A", *typed("x"), "esc")
    assert (ui.prompt, effects) == (None, [])


def test_an_alert_leads_to_its_gpu() -> None:
    ui, _ = press(Ui(), "a", "enter")
    assert (ui.view, ui.back, ui.detail.uuid) == (View.DETAIL, View.ALERTS, "GPU-node-1-0")
    assert press(ui, "esc")[0].view is View.ALERTS


def test_the_users_view_has_an_order_of_its_own() -> None:
    ui, _ = press(Ui(), "s", "5", "u", "s", "3")
    assert ui.order.sort == "temp"
    assert ui.users_order.sort == "load"
    ui, _ = press(ui, "u")
    assert ui.view is View.FLEET


def test_q_and_ctrl_c_end_and_ctrl_c_does_so_while_a_line_is_typed() -> None:
    assert press(Ui(), "q")[1] == [Quit()]
    assert press(Ui(), "/", "q", "ctrl-c")[1] == [Quit()]


def test_a_click_on_a_heading_sorts_and_on_a_line_selects() -> None:
    shown = picture(rows(8))
    frame = drawn(shown, Ui(), SIZE)
    x = frame.canvas.lines()[frame.zones[0].y].find("temp")
    heading = next(z for z in frame.zones if z.command == "sort:temp")
    assert screen.command_at(frame, heading.x, heading.y) == "sort:temp"
    line = next(z for z in frame.zones if z.command == "line:3")
    scene = screen.scene(shown, Ui(), arranged(shown, Ui()), frame)
    ui, _ = reducer.act(Ui(), screen.command_at(frame, line.x + 5, line.y), scene)
    assert ui.cursor().key == "GPU-node-1-3"
    assert screen.command_at(frame, 0, 0) == ""
    assert x != 0


@pytest.mark.parametrize("view", list(View))
def test_no_key_has_two_meanings_in_a_view(view: View) -> None:
    keys = [key for binding in BINDINGS[view] for key in binding.keys]
    assert sorted(keys) == sorted(set(keys))
    assert set(COMMANDS[view]) == set(keys)


KEYS = sorted({key for table in COMMANDS.values() for key in table} | set("temp>85 x9"))


@given(st.lists(st.sampled_from(KEYS), max_size=25), st.sampled_from([0, 1, 80]))
def test_no_sequence_of_keys_breaks_anything(keys: list[str], count: int) -> None:
    shown = picture(rows(count))
    ui = replace(Ui(), order=Order("auto"), detail=Detail("GPU-node-1-0"))
    press(ui, *keys, shown=shown)
