"""Hostile names become one printable line that looks like what it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.client.names import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("dgx-01", "dgx-01"),
        ("GPU节点-07", "GPU节点-07"),
        ("\x1b[2J\x1b]0;owned\x07", "·[2J·]0;owned·"),
        ("a\nb\r\tc\x00", "a·b··c·"),
        ("user\u202egnp.exe", "usergnp.exe"),
        ("\u2067abc\u2069", "abc"),
        ("a\u200bb\ufeff", "ab"),
        ("a\u2028b\u00a0c", "a·b c"),
        ("e\u0301", "é"),
        ("\udc80", "·"),
        ("\ue000", "·"),
    ],
)
def test_a_name_is_shown_without_its_harm(name: str, shown: str) -> None:
    assert printable(name) == shown


@given(st.text(st.characters()))
def test_any_name_becomes_one_harmless_line(name: str) -> None:
    shown = printable(name)
    assert printable(shown) == shown
    assert len(shown.splitlines()) <= 1
    for char in shown:
        assert unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    shown.encode()
