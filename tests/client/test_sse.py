"""Server-sent events come out the same however the bytes were cut."""

from __future__ import annotations

import itertools

from hypothesis import assume, given
from hypothesis import strategies as st

from gpufleet.client.sse import EventParser, ServerEvent


def parsed(*pieces: bytes) -> list[ServerEvent]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def test_events_have_names_and_data_and_comments_have_neither() -> None:
    text = b'retry: 2000\n\nevent: snapshot\nid: 7\ndata: {"a":1}\n\n: heartbeat\n\n'
    assert parsed(text) == [ServerEvent("snapshot", b'{"a":1}'), ServerEvent("", b"")]


def test_several_data_lines_are_one_text_and_an_unnamed_event_is_a_message() -> None:
    assert parsed(b"data: a\ndata:b\ndata:  c\n\n") == [ServerEvent("message", b"a\nb\n c")]


def test_an_event_without_data_is_none_and_its_name_is_forgotten() -> None:
    assert parsed(b"event: x\n\ndata: a\n\n") == [ServerEvent("message", b"a")]


def test_an_event_that_is_not_ended_is_not_told() -> None:
    assert parsed(b"data: a\n") == []


LINES = st.lists(
    st.sampled_from(["data: a", "data:", "event: e", ": c", "", "", "id: 1", "data", "junk: é"])
)


@given(LINES, st.lists(st.sampled_from(["\n", "\r\n", "\r"])), st.lists(st.integers(0, 80)))
def test_where_the_bytes_are_cut_does_not_matter(
    lines: list[str], ends: list[str], cuts: list[int]
) -> None:
    ends = ends or ["\n"]
    ended = [line + ends[i % len(ends)] for i, line in enumerate(lines)]
    # CR and then LF of an empty line are one end of a line, not two.
    assume(not any(a[-1] == "\r" and b[0] == "\n" for a, b in itertools.pairwise(ended)))
    text = "".join(ended).encode()
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    bare = "".join(line + "\n" for line in lines).encode()
    assert parsed(*pieces) == parsed(text) == parsed(bare)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_are_taken(pieces: list[bytes]) -> None:
    assert all(isinstance(event, ServerEvent) for event in parsed(*pieces))
