"""Xids: the level of each class, how long it lasts, repeats and bursts."""

from __future__ import annotations

import pytest

from gpufleet.alerting import xid
from gpufleet.alerting.health import Health, HealthHistory, assess, note_xid

SECOND, HOUR, DAY = 1000, 3_600_000, 86_400_000
CALM = {"utilization_ratio": 0.1}

UNTIL_RESET = (46, 48, 62, 64, 74, 79, 95, 119, 120, 140, 143, 158)
SERIOUS = (109, 110, 136, *range(144, 151), 155, 156, 167, 169)
APPLICATION = (13, 31, 43, 45, 68)


def after(*occurrences: tuple[int, int], now_ms: int) -> Health:
    """Health at ``now_ms`` of a calm GPU after Xids as (code, time)."""
    history = HealthHistory()
    for code, time_ms in occurrences:
        history = note_xid(history, code, time_ms)
    return assess({}, CALM, None, history, now_ms)


@pytest.mark.parametrize("code", UNTIL_RESET)
def test_a_fatal_xid_is_critical_until_a_reset(code: int) -> None:
    assert after((code, 0), now_ms=0).level == 3
    assert after((code, 0), now_ms=400 * DAY).level == 3


@pytest.mark.parametrize("code", SERIOUS)
def test_a_serious_xid_is_a_warning_for_a_day_and_critical_on_repeat(code: int) -> None:
    assert after((code, 0), now_ms=0).level == 2
    assert after((code, 0), now_ms=DAY - 1).level == 2
    assert after((code, 0), now_ms=DAY).level == 0
    assert after((code, 0), (code, DAY - 1), now_ms=DAY - 1).level == 3
    assert after((code, 0), (code, DAY), now_ms=DAY).level == 2
    assert after((code, 0), (code, HOUR), now_ms=DAY).level == 2


def test_lines_of_one_burst_are_one_occurrence() -> None:
    burst = [(145, n * SECOND) for n in range(5)]
    assert after(*burst, now_ms=5 * SECOND).level == 2
    assert after(*burst, (145, 5 * SECOND), now_ms=5 * SECOND).level == 3


def test_a_contained_memory_error_is_a_warning_for_an_hour() -> None:
    assert after((94, 0), now_ms=HOUR - 1).level == 2
    assert after((94, 0), now_ms=HOUR).level == 0


@pytest.mark.parametrize("code", [63, 92, 7777])
def test_a_notice_or_an_unknown_code_is_a_caution_for_an_hour(code: int) -> None:
    assert after((code, 0), now_ms=HOUR - 1).level == 1
    assert after((code, 0), now_ms=HOUR).level == 0


@pytest.mark.parametrize("code", APPLICATION)
def test_an_application_error_is_a_caution_only_three_times_an_hour(code: int) -> None:
    twice = [(code, 0), (code, 10 * SECOND)]
    assert after(*twice, now_ms=20 * SECOND).level == 0
    thrice = [*twice, (code, 20 * SECOND)]
    assert after(*thrice, now_ms=20 * SECOND).level == 1
    assert after(*thrice, now_ms=HOUR).level == 0


@pytest.mark.parametrize("code", [106, 154, 162])
def test_information_is_not_remembered(code: int) -> None:
    assert not note_xid(HealthHistory(), code, 0).open


def test_an_xid_that_comes_late_is_put_in_its_place() -> None:
    history = note_xid(note_xid(HealthHistory(), 31, 50_000), 31, 10_000)
    assert history.xids[0].times_ms == (10_000, 50_000)


def test_the_reason_says_what_when_how_often_and_what_to_do() -> None:
    health = after((109, 0), (109, HOUR), now_ms=HOUR)
    assert health.reasons == (
        "Xid 109 (context switch timed out) 2 times, the last at 1970-01-01 01:00:00 UTC: "
        "Stop the application; reset the GPU if it does not recover, and have it checked on "
        "repeats.",
    )


def test_every_known_code_has_a_title_and_an_advice_of_whole_sentences() -> None:
    for code, known in xid.KNOWN.items():
        assert known.code == code
        assert known.title
        assert known.advice.endswith(".")


@pytest.mark.parametrize(
    ("code", "severity"), [(79, "critical"), (109, "warning"), (63, "info"), (13, "info")]
)
def test_the_event_of_an_xid_has_the_severity_of_its_class(code: int, severity: str) -> None:
    assert xid.severity(code) == severity


def test_an_unknown_code_is_described_as_such() -> None:
    assert xid.describe(9999).title == "not in our table"
