"""Times at the door of the API."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.hub.api.times import MAX_TIME_MS, TimeError, format_ms, parse_time

NOW = 1_780_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-28T20:26:40Z", NOW),
        ("2026-05-28t20:26:40z", NOW),
        ("2026-05-28T22:26:40+02:00", NOW),
        ("2026-05-28T22:26:40 02:00", NOW),  # a + that a URL turned into a space
        ("2026-05-28T20:26:40.250Z", NOW + 250),
        ("1780000000", NOW),
        ("1780000000.25", NOW + 250),
        ("now", NOW),
        ("-1h", NOW - 3_600_000),
        ("now-90s", NOW - 90_000),
        ("-7d", NOW - 7 * 86_400_000),
        (" -2w ", NOW - 14 * 86_400_000),
        ("0", 0),
    ],
)
def test_times_are_read_as_people_write_them(text: str, expected: int) -> None:
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("yesterday", "is not a time: write RFC 3339"),
        ("", "is not a time"),
        ("2026-05-28T20:26:40", "does not say its time zone"),
        ("2026-13-28T20:26:40Z", "is not a time"),
        ("-5", "is not between the years 1970 and 9999"),
        ("-999999999w", "is not between"),
        ("999999999999999", "is not between"),
        ("0001-01-01T00:00:00+23:59", "is not"),
        ("9" * 500, "is not"),
        ("1e9", "is not a time"),
    ],
)
def test_what_is_no_time_is_refused_in_one_sentence(text: str, part: str) -> None:
    with pytest.raises(TimeError, match=part):
        parse_time(text, NOW)


@given(st.integers(0, MAX_TIME_MS))
def test_a_time_that_was_written_is_read_again(moment: int) -> None:
    text = format_ms(moment)
    assert text is not None
    assert parse_time(text, NOW) == moment


@given(st.text(max_size=60))
def test_any_text_is_a_time_within_bounds_or_refused(text: str) -> None:
    try:
        moment = parse_time(text, NOW)
    except TimeError as error:
        moment = len(str(error)) - 1
    assert 0 <= moment <= MAX_TIME_MS


def test_a_time_that_is_not_known_stays_unknown() -> None:
    assert format_ms(None) is None
    assert format_ms(-1) is None
    assert format_ms(MAX_TIME_MS + 1) is None
