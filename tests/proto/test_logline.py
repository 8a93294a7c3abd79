"""A line of a log: one line, constant message, values that can be read back."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.agent.log import Log
from gpufleet.proto.logline import LineFormatter, pairs, said

PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "=]+)')
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "


def logged(name: str, message: str, *arguments: object, failed: bool = False) -> str:
    stream = io.StringIO()
    logger, handler = logging.Logger(name), logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    logger.addHandler(handler)
    logger.warning(message, *arguments, exc_info=failed)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("n1", "key=n1"),
        ("two words", 'key="two words"'),
        ("", 'key=""'),
        ('a="b"', r'key="a=\"b\""'),
        ("über", "key=über"),
        (None, "key=null"),
        (True, "key=true"),
        (1.5, "key=1.5"),
        (ValueError("line\nline"), r'key="line\nline"'),
    ],
)
def test_a_value_is_a_plain_word_or_json(value: object, text: str) -> None:
    assert pairs({"key": value}) == text


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(), max_size=4))
def test_whatever_is_said_stays_on_one_line_and_can_be_read_back(values: dict[str, str]) -> None:
    told = pairs(values)
    assert len(told.splitlines()) <= 1
    read = {
        key: json.loads(value) if value.startswith('"') else value
        for key, value in PAIR.findall(told)
    }
    assert read == values


def test_agent_and_hub_write_the_same_line() -> None:
    stream = io.StringIO()
    Log(stream).warning("stream refused", node="n 1", reason="old")
    of_hub = logged("gpufleet.hub.ingest", "stream refused %s", said(node="n 1", reason="old"))
    for text in (stream.getvalue(), of_hub):
        assert re.fullmatch(f'{STAMP}warning stream refused node="n 1" reason=old\n', text)


def test_what_another_library_says_names_it() -> None:
    assert re.fullmatch(
        f"{STAMP}warning too many words logger=uvicorn.error\n",
        logged("uvicorn.error", "too many words"),
    )


def test_a_defects_traceback_follows_its_line() -> None:
    try:
        raise ValueError("the moon is full")
    except ValueError:
        text = logged("gpufleet.hub.app", "part failed %s", said(part="http"), failed=True)
    first, *rest = text.splitlines()
    assert first.endswith(" warning part failed part=http")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ValueError: the moon is full"
