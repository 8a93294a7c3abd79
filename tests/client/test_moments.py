"""Times as the hub writes them and as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.client import moments

NOON_MS = 1_772_366_400_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-03-01T12:00:00Z", NOON_MS),
        ("2026-03-01T12:00:00.250Z", NOON_MS + 250),
        ("2026-03-01T13:30:00+01:30", NOON_MS),
    ],
)
def test_times_of_the_hub_are_milliseconds(text: str, ms: int) -> None:
    assert moments.milliseconds(text) == ms


@pytest.mark.parametrize("text", ["", "noon", "2026-03-01T12:00:00", "2026-13-01T12:00:00Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        moments.milliseconds(text)


@pytest.mark.parametrize(
    ("later_ms", "text"),
    [
        (45_000, "45 s ago"),
        (3 * 3600_000 + 20 * 60_000, "3 h 20 min ago"),
        (-7200_000, "in 2 h"),
        (0, "0 s ago"),
    ],
)
def test_an_age_is_told_in_its_two_greatest_units(later_ms: int, text: str) -> None:
    assert moments.ago("2026-03-01T12:00:00Z", NOON_MS + later_ms) == text


@pytest.mark.parametrize("text", [None, "", "soon"])
def test_the_age_of_no_time_is_a_dash(text: str | None) -> None:
    assert moments.ago(text, NOON_MS) == "-"


def test_local_time_says_its_offset() -> None:
    assert moments.local(NOON_MS, UTC) == "2026-03-01 12:00:00 +00:00"
    zone = timezone(timedelta(hours=-3, minutes=-30))
    assert moments.local(NOON_MS, zone) == "2026-03-01 08:30:00 -03:30"
    here = moments.local(NOON_MS)
    assert datetime.fromisoformat(here).timestamp() * 1000 == NOON_MS


@given(st.integers(-(10**18), 10**18))
def test_every_number_has_a_text(ms: int) -> None:
    assert moments.local(ms, UTC)
    assert moments.seconds_text(ms)
