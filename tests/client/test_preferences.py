"""Preferences: where they lie, that they are the user's alone, and that nothing breaks a start."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.client import preferences


def test_the_file_is_where_xdg_says() -> None:
    assert preferences.path({"XDG_CONFIG_HOME": "/c", "HOME": "/h"}, "tui") == Path(
        "/c/gpufleet/tui.json"
    )
    usual = Path("/h/.config/gpufleet/tui.json")
    assert preferences.path({"HOME": "/h"}, "tui") == usual
    assert preferences.path({"HOME": "/h", "XDG_CONFIG_HOME": "relative"}, "tui") == usual


def test_what_was_saved_comes_back_and_only_its_user_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "gpufleet" / "tui.json"
    preferences.save(file, {"theme": "dark", "filters": ["temp>85"]})
    assert preferences.load(file) == {"theme": "dark", "filters": ["temp>85"]}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["tui.json"]


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "tui.json"
    file.mkdir()
    (file / "inside").write_text("x")
    preferences.save(file, {"theme": "dark"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["tui.json"]


def test_a_folder_that_cannot_be_made_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "gpufleet").write_text("a file where a folder should be")
    preferences.save(tmp_path / "gpufleet" / "tui.json", {"theme": "dark"})
    assert (tmp_path / "gpufleet").read_text() == "a file where a folder should be"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'"x"'])
def test_a_broken_file_remembers_nothing(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tui.json"
    file.write_bytes(content)
    assert preferences.load(file) == {}
    assert preferences.load(tmp_path / "none.json") == {}


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_any_values_come_back(tmp_path_factory: pytest.TempPathFactory, values: object) -> None:
    file = tmp_path_factory.mktemp("preferences") / "x.json"
    assert isinstance(values, dict)
    preferences.save(file, values)
    assert preferences.load(file) == json.loads(json.dumps(values))
