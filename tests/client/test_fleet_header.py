"""The head of every client: the fleet's counts and meters, of a full fleet, an empty one, none."""

from __future__ import annotations

import pytest

from gpufleet.client.fleet_header import Word, counts, meters
from gpufleet.client.severity import Severity
from support.fleet_builder import FleetBuilder, PublishedHub
from support.http_client import document


def fleet() -> PublishedHub:
    builder = FleetBuilder()
    builder.node("a")
    builder.node("b", up=False)
    for index, level in enumerate((0, 0, 2, 3)):
        builder.gpu("a", index, level=level)
    builder.gpu("b", 0, stale=True)
    builder.process("a", "GPU-a-0", 1)
    return PublishedHub(builder.snapshot())


def test_the_counts_of_a_hub_are_said_in_order_of_interest() -> None:
    found = counts(document(fleet(), "/api/v1/fleet"), ["warning", "critical"], True)
    assert found == [
        Word("nodes", "1/2 up", strong=True),
        Word("", "1 down", Severity.CRITICAL),
        Word("GPUs", "5", strong=True),
        Word("", "H 3 healthy", Severity.HEALTHY),
        Word("", "W 1 warning", Severity.WARNING),
        Word("", "X 1 critical", Severity.CRITICAL),
        Word("", "S 1 stale", Severity.UNKNOWN),
        Word("alerts", "2 firing", Severity.CRITICAL),
        Word("users", "1"),
    ]


@pytest.mark.parametrize(
    ("firing", "expected"),
    [
        (None, []),
        ([], [Word("alerts", "none", Severity.HEALTHY)]),
        (["info", "warning"], [Word("alerts", "2 firing", Severity.WARNING)]),
    ],
)
def test_alerts_are_as_bad_as_the_worst(firing: list[str] | None, expected: list[Word]) -> None:
    found = counts(document(fleet(), "/api/v1/fleet"), firing, False)
    assert [word for word in found if word.label == "alerts"] == expected


def test_meters_have_totals_of_the_whole_fleet() -> None:
    found = {meter.name: meter for meter in meters(document(fleet(), "/api/v1/fleet"))}
    assert (found["load"].ratio, found["load"].text) == (0.215, "22%")
    assert (found["memory"].ratio, found["memory"].text) == (0.25, "80.0/320G")
    assert found["power"].text == "1.2/2.8kW"
    assert found["temp"].text == "61° max 61°"


def test_of_nothing_known_everything_is_a_dash() -> None:
    assert counts({}, None, True) == [
        Word("nodes", "-/- up", strong=True),
        Word("GPUs", "-", strong=True),
    ]
    assert all(meter.ratio is None for meter in meters({}))
    empty = document(PublishedHub(FleetBuilder().snapshot()), "/api/v1/fleet")
    assert counts(empty, None, False)[0].text == "0/0 up"
    assert all(meter.ratio is None for meter in meters(empty))
