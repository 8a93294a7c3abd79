"""Matchers, silences, and maintenance windows by the wall clock of a timezone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gpufleet.alerting.notify.muting import (
    Matcher,
    MatcherError,
    Repeat,
    Silence,
    muted,
    parse_matcher,
)
from gpufleet.alerting.notify.routing import Route, recipients_of
from gpufleet.alerting.state import Severity
from support.mail_incidents import incident

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("alertname=GpuHot", True),
        ("alertname != GpuHot", False),
        ("severity=warning", True),
        ("node=n1", True),
        ("node=n", False),
        ("node~=N*1", True),
        ("gpu=0", True),
        ("gpu=GPU-a", True),
        ("gpu!=GPU-a", False),
        ("gpu!=GPU-b", True),
        ("model~=h100", True),
        ("label.rack=r1", True),
        ("label.rack!=r1", False),
        ("label.none!=x", True),
        ('label.rack="r1"', True),
    ],
)
def test_a_matcher_compares_what_it_names(text: str, fits: bool) -> None:
    assert parse_matcher(text).matches(incident("a", labels={"rack": "r1"})) is fits


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nod=n1", "nothing called 'nod' to match. Did you mean node?"),
        ("node", "'node' is no matcher: write NAME=VALUE"),
        ("label.=x", "Known: alertname, severity, node, gpu, model, label.NAME."),
    ],
)
def test_a_matcher_that_is_none_says_how_one_looks(text: str, sentence: str) -> None:
    with pytest.raises(MatcherError) as failed:
        parse_matcher(text)
    assert sentence in str(failed.value)


def test_every_matcher_of_a_silence_must_fit() -> None:
    both = (Matcher("node", "=", "n1"), Matcher("severity", "=", "critical"))
    silence = Silence("s", both, 0, 100)
    assert muted(incident("a"), [silence], 50) is None
    assert muted(incident("a", severity=Severity.CRITICAL), [silence], 50) is silence


def test_a_silence_begins_at_its_start_and_is_over_at_its_end() -> None:
    silence = Silence("s", (), 10, 20)
    assert [silence.active(when, UTC) for when in (9, 10, 19, 20)] == [False, True, True, False]


def test_a_daily_window_keeps_its_hours_when_the_clock_changes() -> None:
    window = Silence(
        "w", (), at("2026-10-20T02:00+02:00"), at("2026-10-20T04:00+02:00"), Repeat.DAY
    )
    summer, winter = "2026-10-24T{}+02:00", "2026-10-27T{}+01:00"
    for form in (summer, winter):
        assert not window.active(at(form.format("01:59")), BERLIN)
        assert window.active(at(form.format("02:00")), BERLIN)
        assert window.active(at(form.format("03:59")), BERLIN)
        assert not window.active(at(form.format("04:00")), BERLIN)
    assert not window.active(at("2026-10-19T03:00+02:00"), BERLIN)


def test_a_weekly_window_over_midnight_is_one_night_a_week() -> None:
    window = Silence(
        "w", (), at("2026-11-01T23:00+00:00"), at("2026-11-02T03:00+00:00"), Repeat.WEEK
    )
    assert window.active(at("2026-11-08T23:30+00:00"), UTC)
    assert window.active(at("2026-11-09T02:59+00:00"), UTC)
    assert not window.active(at("2026-11-09T03:00+00:00"), UTC)
    assert not window.active(at("2026-11-05T23:30+00:00"), UTC)


def test_everybody_of_the_fitting_routes_hears_once_and_the_default_only_else() -> None:
    routes = [
        Route(("ops@x.y",)),
        Route(("a@x.y", "b@x.y"), (Matcher("node", "=", "n1"),)),
        Route(("b@x.y",), severities=frozenset({Severity.WARNING})),
    ]
    assert recipients_of(incident("a"), routes) == ("a@x.y", "b@x.y")
    other = incident("a", node="n2", severity=Severity.INFO)
    assert recipients_of(other, routes) == ("ops@x.y",)
    assert recipients_of(other, routes[1:]) == ()
