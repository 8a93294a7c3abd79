"""Findings out of a detail document, whatever is in it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpufleet.alerting.health import NO_EXTRAS, DcgmFinding, Extras, assess
from gpufleet.alerting.health_extras import dcgm_detail, extras_of

LINKS = {
    "nvlinks": [
        {"link": 0, "up": True, "replay_errors": 1, "recovery_errors": 2, "crc_errors": 4},
        {"link": 3, "up": False, "replay_errors": 0, "recovery_errors": 0, "crc_errors": 8},
    ]
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["nvlinks", "dcgm", "findings", "link", "up", "crc_errors"]), inner
        )
    ),
    max_leaves=12,
)


def test_links_are_told_with_their_errors() -> None:
    assert extras_of(LINKS) == Extras(
        nvlinks_up={0: True, 3: False}, nvlink_crc_total=12, nvlink_recovery_total=3
    )


def test_links_that_count_nothing_have_no_totals() -> None:
    extras = extras_of({"nvlinks": [{"link": 0, "up": True}]})
    assert (extras.nvlink_crc_total, extras.nvlink_recovery_total) == (None, None)


def test_replays_of_a_link_are_a_warning_in_a_snapshot() -> None:
    verdict = assess({}, {"temperature_celsius": 40}, None, None, 0, extras=extras_of(LINKS))
    assert verdict.level == 2
    assert "3 NVLink replays and recoveries" in verdict.reasons


def test_what_dcgm_found_comes_back_as_it_was() -> None:
    findings = (DcgmFinding("Power system", False, "Throttled.", True),)
    assert extras_of(dcgm_detail_of(findings)).dcgm == findings


def dcgm_detail_of(findings: tuple[DcgmFinding, ...]) -> dict[str, Any]:
    return {"dcgm": dcgm_detail("Warning", findings)}


def test_an_empty_document_has_no_extras() -> None:
    assert extras_of(None) is NO_EXTRAS
    assert extras_of({}) is NO_EXTRAS


@given(st.dictionaries(st.sampled_from(["nvlinks", "dcgm", "other"]), JSON))
def test_no_document_whatever_raises(document: dict[str, Any]) -> None:
    extras_of(document)
