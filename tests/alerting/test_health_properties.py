"""Properties of the health level: bad news never lowers it, and silence never raises it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpufleet.alerting import health_document
from gpufleet.alerting.health import (
    INPUTS,
    Health,
    HealthHistory,
    assess,
    note_fault,
    note_xid,
    observe,
    resumed,
)

FACTS = {
    "slowdown_temperature_celsius": 90,
    "shutdown_temperature_celsius": 95,
    "max_operating_temperature_celsius": 87,
    "memory_max_temperature_celsius": 95,
    "pcie_link_generation_max": 5,
    "pcie_link_width_max": 16,
    "slowdown_tlimit_celsius": -2,
    "shutdown_tlimit_celsius": -5,
    "max_operating_tlimit_celsius": 0,
}
READINGS: dict[str, st.SearchStrategy[Any]] = {
    "utilization_ratio": st.sampled_from([0, 0.5, 0.51, 1]),
    "temperature_celsius": st.integers(40, 100),
    "memory_temperature_celsius": st.integers(60, 100),
    "temperature_margin_celsius": st.integers(-8, 30),
    "energy_joules_total": st.integers(0, 50),
    "fan_speed_ratio": st.sampled_from([0, 0.3]),
    "pcie_link_generation": st.integers(1, 5),
    "pcie_link_width": st.sampled_from([8, 16]),
    "pcie_replay_total": st.integers(0, 60),
    "nvlink_errors_total": st.sampled_from([0, 0, 0, 1, 7000]),
    "ecc_uncorrected_volatile_total": st.integers(0, 1),
    "remapped_rows_uncorrectable": st.sampled_from([0, 1, 512]),
    "remapped_rows_pending": st.integers(0, 1),
    "remapped_rows_failed": st.integers(0, 1),
    "retired_pages_single_bit": st.sampled_from([0, 31, 32, 63]),
    "retired_pages_double_bit": st.sampled_from([0, 31, 32]),
    "retired_pages_pending": st.integers(0, 1),
    "recovery_action": st.integers(0, 8),
    "sram_threshold_exceeded": st.integers(0, 1),
    "throttle_reasons": st.sampled_from([0, 4, 8, 0x20, 0x48, 0x80]),
}
samples = st.fixed_dictionaries({}, optional=READINGS)
facts = st.sets(st.sampled_from(sorted(FACTS))).map(lambda names: {n: FACTS[n] for n in names})
faults = st.sampled_from([None, "lost", "hung", "no_permission", "reset_required", "missing"])
steps = st.lists(
    st.tuples(
        st.sampled_from([1000, 5000, 30_000, 100_000, 2_000_000]),
        samples,
        faults,
        st.none() | st.sampled_from([13, 63, 79, 94, 95, 109, 154, 4242]),
    ),
    max_size=12,
)
BAD = {
    "temperature_celsius": 99,
    "memory_temperature_celsius": 99,
    "temperature_margin_celsius": -7,
    "ecc_uncorrected_volatile_total": 4,
    "remapped_rows_uncorrectable": 600,
    "remapped_rows_pending": 1,
    "remapped_rows_failed": 1,
    "retired_pages_single_bit": 70,
    "retired_pages_pending": 1,
    "sram_threshold_exceeded": 1,
    "recovery_action": 1,
    "pcie_link_width": 4,
    "throttle_reasons": 0x80,
    "nvlink_errors_total": 9,
}


def after(past: list[tuple[int, dict[str, Any], str | None, int | None]]) -> HealthHistory:
    history, now_ms = HealthHistory(), 0
    for step_ms, sample, fault, code in past:
        now_ms += step_ms
        history = note_fault(history, fault, now_ms)
        if code is not None:
            history = note_xid(history, code, now_ms)
        history = observe(history, FACTS, sample, now_ms)
    return history


def level(health: Health) -> int:
    return 0 if health.level is None else health.level


def test_every_input_has_a_strategy() -> None:
    assert set(READINGS) == set(INPUTS)


@given(facts, samples, faults, st.sampled_from(sorted(BAD)))
def test_a_bad_reading_never_lowers_the_level(
    known: dict[str, Any], sample: dict[str, Any], fault: str | None, bad: str
) -> None:
    worse = {**sample, bad: BAD[bad]}
    before = level(assess(known, sample, fault, None, 0))
    assert level(assess(known, worse, fault, None, 0)) >= before


@given(steps, samples, st.sampled_from([79, 95, 109, 94, 63, 13, 154]))
def test_a_fault_or_an_xid_never_lowers_the_level(
    past: list[Any], sample: dict[str, Any], code: int
) -> None:
    history = after(past)
    now_ms = history.last_tick_ms or 0
    before = level(assess(FACTS, sample, None, history, now_ms))
    for fault in ("lost", "hung", "error"):
        assert level(assess(FACTS, sample, fault, history, now_ms)) >= before
    if code != 94 or not sample.get("ecc_uncorrected_volatile_total"):
        noted = note_xid(history, code, now_ms)
        assert level(assess(FACTS, sample, None, noted, now_ms)) >= before


@given(facts, steps, samples, faults, st.data())
def test_an_absent_reading_or_fact_never_raises_the_level(
    known: dict[str, Any],
    past: list[Any],
    sample: dict[str, Any],
    fault: str | None,
    data: st.DataObject,
) -> None:
    history = data.draw(st.sampled_from([None, after(past)]))
    now_ms = 0 if history is None else history.last_tick_ms or 0
    before = level(assess(known, sample, fault, history, now_ms))
    for name in sample:
        fewer = {key: value for key, value in sample.items() if key != name}
        assert level(assess(known, fewer, fault, history, now_ms)) <= before
    for name in known:
        fewer = {key: value for key, value in known.items() if key != name}
        assert level(assess(fewer, sample, fault, history, now_ms)) <= before


@given(samples, st.sampled_from([0x1, 0x2, 0x4, 0x10, 0x100, 0x200, 0x400, 1 << 40]))
def test_capping_idling_and_unknown_throttle_reasons_change_nothing(
    sample: dict[str, Any], bit: int
) -> None:
    more = {**sample, "throttle_reasons": sample.get("throttle_reasons", 0) | bit}
    assert (
        assess(FACTS, more, None, None, 0).reasons == assess(FACTS, sample, None, None, 0).reasons
    )


@given(steps)
def test_a_history_is_the_same_after_plain_json(past: list[Any]) -> None:
    history = after(past)
    assert health_document.history(health_document.document(history)) == history


@given(steps, steps)
def test_a_history_that_is_not_open_can_be_dropped_and_resumed(
    past: list[Any], later: list[Any]
) -> None:
    kept = after(past)
    if kept.open:
        return
    dropped = resumed(
        kept.last_tick_ms,
        kept.ever_read,
        pcie_replays=kept.pcie_replays.baseline,
        nvlink_errors=kept.nvlink_errors.baseline,
        energy_joules=kept.energy_joules,
        reset_ms=kept.reset_ms,
    )
    assert dropped == kept
