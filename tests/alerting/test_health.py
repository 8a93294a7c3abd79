"""One look at a GPU: every row of the table on both sides of its boundary."""

from __future__ import annotations

from typing import Any

import pytest

from gpufleet.alerting.health import (
    DcgmFinding,
    Extras,
    Health,
    HealthHistory,
    acknowledge_xids,
    assess,
    note_fault,
    note_xid,
)

FACTS = {
    "slowdown_temperature_celsius": 90,
    "shutdown_temperature_celsius": 95,
    "max_operating_temperature_celsius": 87,
    "memory_max_temperature_celsius": 95,
    "pcie_link_generation_max": 5,
    "pcie_link_width_max": 16,
}
MARGINS = {
    "slowdown_tlimit_celsius": -2,
    "shutdown_tlimit_celsius": -5,
    "max_operating_tlimit_celsius": 0,
}
CALM: dict[str, float | int] = {
    "utilization_ratio": 0.9,
    "temperature_celsius": 60,
    "memory_temperature_celsius": 70,
    "fan_speed_ratio": 0.4,
    "pcie_link_generation": 5,
    "pcie_link_width": 16,
    "pcie_replay_total": 12,
    "nvlink_errors_total": 0,
    "ecc_uncorrected_volatile_total": 0,
    "remapped_rows_uncorrectable": 0,
    "remapped_rows_pending": 0,
    "remapped_rows_failed": 0,
    "recovery_action": 0,
    "throttle_reasons": 0,
}


def look(
    facts: dict[str, Any] | None = None,
    fault: str | None = None,
    extras: Extras | None = None,
    **values: float,
) -> Health:
    """Health of a calm GPU of which ``values`` were changed, from one look."""
    readings = {**CALM, **values}
    found = FACTS if facts is None else facts
    if extras is None:
        return assess(found, readings, fault, None, 0)
    return assess(found, readings, fault, None, 0, extras=extras)


def test_a_calm_gpu_is_healthy_without_reasons() -> None:
    assert look() == Health(0, ())


def test_a_gpu_of_which_nothing_was_read_has_no_level() -> None:
    assert assess(FACTS, {}, None, None, 0) == Health(None, ())
    assert assess(FACTS, {}, None, HealthHistory(), 0) == Health(None, ())


def test_a_gpu_that_was_read_once_keeps_a_level_when_a_sample_is_empty() -> None:
    assert assess(FACTS, {}, None, HealthHistory(ever_read=True), 0) == Health(0, ())


@pytest.mark.parametrize(
    ("values", "level"),
    [
        # temperatures: shutdown 95, slowdown 90, maximum operating 87
        ({"temperature_celsius": 84}, 0),
        ({"temperature_celsius": 93}, 3),
        ({"temperature_celsius": 92.9}, 2),
        ({"temperature_celsius": 87.5}, 2),
        ({"memory_temperature_celsius": 95}, 0),
        ({"memory_temperature_celsius": 95.5}, 2),
        ({"temperature_margin_celsius": 5.5}, 0),
        ({"temperature_margin_celsius": 5}, 1),
        ({"temperature_margin_celsius": -3}, 1),
        # fan
        ({"fan_speed_ratio": 0.0, "temperature_celsius": 60}, 0),
        ({"fan_speed_ratio": 0.0, "temperature_celsius": 60.5}, 2),
        ({"fan_speed_ratio": 0.01, "temperature_celsius": 80}, 0),
        # recovery action
        ({"recovery_action": 1}, 3),
        ({"recovery_action": 2}, 3),
        ({"recovery_action": 3}, 2),
        ({"recovery_action": 4}, 3),
        ({"recovery_action": 5}, 3),
        ({"recovery_action": 7}, 3),
        ({"recovery_action": 99}, 3),
        # memory errors
        ({"ecc_uncorrected_volatile_total": 1}, 3),
        ({"remapped_rows_failed": 1}, 3),
        ({"sram_threshold_exceeded": 0}, 0),
        ({"sram_threshold_exceeded": 1}, 3),
        ({"retired_pages_single_bit": 62}, 0),
        ({"retired_pages_single_bit": 63}, 3),
        ({"retired_pages_single_bit": 31, "retired_pages_double_bit": 31}, 0),
        ({"retired_pages_single_bit": 31, "retired_pages_double_bit": 32}, 3),
        ({"remapped_rows_pending": 1}, 2),
        ({"retired_pages_pending": 0}, 0),
        ({"retired_pages_pending": 1}, 2),
        ({"remapped_rows_uncorrectable": 1}, 1),
        ({"remapped_rows_uncorrectable": 511}, 1),
        ({"remapped_rows_uncorrectable": 512}, 2),
        ({"remapped_rows_correctable": 400}, 0),
        # links
        ({"pcie_link_width": 8}, 2),
        ({"pcie_link_generation": 1, "utilization_ratio": 0.5}, 0),
        ({"pcie_link_generation": 4, "utilization_ratio": 0.51}, 1),
        ({"nvlink_errors_total": 1}, 1),
        # throttle reasons: idle, application clocks, SW power cap, sync boost, display, unknown
        ({"throttle_reasons": 0x1 | 0x2 | 0x4 | 0x10 | 0x100 | 0x200 | 0x8000}, 0),
        ({"throttle_reasons": 0x80}, 2),
        # what only time can tell
        ({"throttle_reasons": 0x8 | 0x20 | 0x40}, 0),
        ({"pcie_replay_total": 100_000}, 0),
        ({"temperature_celsius": 90}, 2),
    ],
)
def test_one_look_gives_the_level_of_the_table(values: dict[str, float], level: int) -> None:
    health = look(**values)
    assert health.level == level
    assert bool(health.reasons) == (level > 0)


@pytest.mark.parametrize(
    ("margin", "level"),
    [(6, 0), (5, 1), (0, 1), (-0.5, 2), (-2, 2), (-2.9, 2), (-3, 3), (-5, 3)],
)
def test_thresholds_given_as_margins_count_like_temperatures(margin: float, level: int) -> None:
    assert look(MARGINS, temperature_margin_celsius=margin).level == level


@pytest.mark.parametrize(
    ("temperature", "level"), [(84, 0), (85, 1), (87, 1), (87.5, 2), (92.5, 2), (93, 3)]
)
def test_the_margin_to_slowdown_comes_first_as_a_gpu_heats_up(
    temperature: float, level: int
) -> None:
    assert look(temperature_celsius=temperature).level == level


@pytest.mark.parametrize(
    ("fault", "level"),
    [
        ("lost", 3),
        ("missing", 3),
        ("reset_required", 3),
        ("hung", 1),
        ("no_permission", 1),
        ("error", 1),
    ],
)
def test_a_gpu_that_cannot_be_read_has_the_level_of_its_fault(fault: str, level: int) -> None:
    health = assess(FACTS, {}, fault, None, 0)
    assert health.level == level
    assert len(health.reasons) == 1


def test_a_collector_that_hangs_for_three_polls_is_critical() -> None:
    history = note_fault(HealthHistory(), "hung", 10_000)
    assert assess(FACTS, CALM, "hung", history, 15_999, interval_ms=2000).level == 1
    assert assess(FACTS, CALM, "hung", history, 16_000, interval_ms=2000).level == 3


@pytest.mark.parametrize(
    ("extras", "values", "level"),
    [
        (Extras(inforom_valid=True), {}, 0),
        (Extras(inforom_valid=False), {}, 2),
        (Extras(fan_error=True), {"temperature_celsius": 60}, 0),
        (Extras(fan_error=True), {"temperature_celsius": 61}, 2),
        (Extras(fan_error=False), {"temperature_celsius": 61}, 0),
        (Extras(nvlink_crc_total=0, nvlink_recovery_total=0), {}, 0),
        (Extras(nvlink_crc_total=1), {}, 1),
        (Extras(nvlink_recovery_total=1), {}, 2),
        (Extras(nvlinks_up={0: True, 1: False}), {}, 0),
        (Extras(dcgm=(DcgmFinding("memory", False, "two errors"),)), {}, 2),
        (Extras(dcgm=(DcgmFinding("memory", True, "ten errors"),)), {}, 3),
        (Extras(dcgm=(DcgmFinding("power", False, "capped", power_capping=True),)), {}, 0),
        (
            Extras(
                dcgm=(
                    DcgmFinding("power", False, "capped", power_capping=True),
                    DcgmFinding("pcie", False, "replays"),
                )
            ),
            {},
            2,
        ),
    ],
)
def test_findings_that_no_metric_carries_have_the_level_of_the_table(
    extras: Extras, values: dict[str, float], level: int
) -> None:
    assert look(extras=extras, **values).level == level


def test_contained_memory_errors_are_a_warning_and_uncontained_ones_critical() -> None:
    values = {**CALM, "ecc_uncorrected_volatile_total": 2}
    contained = acknowledge_xids(note_xid(note_xid(HealthHistory(), 48, 0), 94, 0), 0)
    assert assess(FACTS, values, None, contained, 10 * 3_600_000).level == 2
    both = note_xid(contained, 95, 1)
    assert assess(FACTS, values, None, both, 10 * 3_600_000).level == 3


def test_reasons_have_the_numbers_and_the_gravest_comes_first() -> None:
    health = look(temperature_celsius=92, remapped_rows_uncorrectable=3, recovery_action=1)
    assert health.level == 3
    assert health.reasons[0] == "The driver asks for a reset of the GPU (recovery action 1)"
    assert "GPU temperature 92 °C is above the maximum operating 87 °C" in health.reasons
    assert health.reasons[-1] == "GPU temperature 92 °C is 2 °C above the slowdown threshold"


def test_a_limit_of_zero_or_of_another_type_is_no_limit() -> None:
    facts = dict.fromkeys(FACTS, 0) | {"slowdown_temperature_celsius": "N/A"}
    assert look(facts, temperature_celsius=120, pcie_link_width=1).level == 0


def test_the_document_names_the_level_and_says_what_it_rests_on() -> None:
    assert look(pcie_link_width=8).document("snapshot") == {
        "level": 2,
        "status": "warning",
        "reasons": ["The PCIe link has 8 lanes of 16"],
        "basis": "snapshot",
    }
    assert Health(None).document("snapshot")["status"] is None
