from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.client.lines import Order
from gpufleet.client.preferences import load, path, save
from gpufleet.client.request import HubError
from gpufleet.tui import preferences
from gpufleet.tui.start import Flags, choices
from gpufleet.tui.state import Detail, Metric, Ui, View


def test_choices_come_back_from_their_file(tmp_path: Path) -> None:
    file = path({"XDG_CONFIG_HOME": str(tmp_path)}, "tui")
    ui = Ui(
        theme="light",
        order=Order("label.rack", "temp", True),
        filters=("temp>85",),
        filter="temp>85",
        charts=False,
        detail=Detail("GPU-1", (Metric.POWER,), 4),
    )
    save(file, preferences.remembered(ui))
    again = preferences.applied(Ui(), load(file))
    assert (again.theme, again.order, again.filters) == (ui.theme, ui.order, ui.filters)
    assert (again.charts, again.detail.charts, again.detail.span) == (False, (Metric.POWER,), 4)
    assert again.filter == ""


@pytest.mark.parametrize("content", ["", "[]", "{", "\udcff", '{"theme": 7}'])
def test_a_broken_file_is_passed_over(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tui.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert preferences.applied(Ui(), load(file)) == Ui()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(preferences.remembered(Ui()))), anything))
def test_no_remembered_value_can_break_the_start(kept: dict[str, Any]) -> None:
    ui = preferences.applied(Ui(), kept)
    assert preferences.applied(Ui(), preferences.remembered(ui)) == ui


def test_flags_are_stronger_than_what_was_remembered() -> None:
    kept = Ui(theme="light", order=Order("node", "load", True))
    ui = choices(Flags(view="users", sort="+temp", group="model", theme="mono", filter="x"), kept)
    assert (ui.view, ui.theme, ui.filter) == (View.USERS, "mono", "x")
    assert ui.order == Order("model", "temp", False)
    assert choices(Flags(sort="temp"), kept).order == Order("node", "temp", True)


@pytest.mark.parametrize(
    ("flags", "word"), [(Flags(sort="tmp"), "temp"), (Flags(group="rack"), "label.NAME")]
)
def test_a_wrong_name_is_answered_with_the_right_ones(flags: Flags, word: str) -> None:
    with pytest.raises(HubError, match=word):
        choices(flags, Ui())
