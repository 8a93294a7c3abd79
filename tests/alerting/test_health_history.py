"""What only time can tell: windows, hysteresis, counters, gaps, and the end of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import pytest

from gpufleet.alerting import health_document
from gpufleet.alerting.health import (
    NO_EXTRAS,
    Extras,
    Health,
    HealthHistory,
    acknowledge_xids,
    assess,
    expired,
    note_fault,
    note_reset,
    note_xid,
    observe,
)

FACTS = {
    "slowdown_temperature_celsius": 90,
    "shutdown_temperature_celsius": 105,
    "max_operating_temperature_celsius": 80,
    "memory_max_temperature_celsius": 95,
    "pcie_link_generation_max": 4,
    "pcie_link_width_max": 16,
}
MINUTE = 60
HOUR = 3600
Sample = Mapping[str, float]


class Gpu:
    """A GPU that is sampled once a second unless it is told otherwise."""

    def __init__(self, facts: Mapping[str, float] = FACTS) -> None:
        self.facts = facts
        self.history = HealthHistory()
        self.second = 0
        self.sample: Sample = {}
        self.extras = NO_EXTRAS

    def see(
        self, seconds: int, sample: Sample, *, step: int = 1, extras: Extras = NO_EXTRAS
    ) -> Health:
        for _ in range(0, seconds, step):
            self.second += step
            self.sample, self.extras = sample, extras
            self.history = observe(
                self.history, self.facts, sample, self.second * 1000, extras=extras
            )
        return self.health()

    def health(self) -> Health:
        now_ms = self.second * 1000
        return assess(self.facts, self.sample, None, self.history, now_ms, extras=self.extras)

    def levels(self, samples: Iterable[Sample]) -> list[int | None]:
        return [self.see(1, sample).level for sample in samples]


def test_the_slowdown_temperature_is_critical_once_held_for_a_minute() -> None:
    gpu = Gpu()
    gpu.see(10, {"temperature_celsius": 50})
    assert gpu.see(60, {"temperature_celsius": 90}).level == 2
    assert gpu.see(1, {"temperature_celsius": 90}).level == 3
    assert gpu.see(1, {"temperature_celsius": 89}).level == 2
    assert gpu.see(60, {"temperature_celsius": 90}).level == 2


def test_time_without_samples_does_not_count_as_held() -> None:
    gpu = Gpu()
    gpu.see(50, {"temperature_celsius": 90})
    gpu.second += 300
    assert gpu.see(60, {"temperature_celsius": 90}).level == 2
    assert gpu.see(1, {"temperature_celsius": 90}).level == 3


def test_sparse_samples_within_the_allowed_gap_count_as_held() -> None:
    gpu = Gpu()
    assert gpu.see(60, {"temperature_celsius": 90}, step=30).level == 2
    assert gpu.see(30, {"temperature_celsius": 90}, step=30).level == 3


def test_over_the_maximum_operating_temperature_clears_five_degrees_below() -> None:
    readings = [80, 81, 80, 76, 75.1, 75, 80, 80.5]
    levels = Gpu().levels({"temperature_celsius": t} for t in readings)
    assert levels == [0, 2, 2, 2, 2, 0, 0, 2]


def test_memory_over_its_maximum_clears_five_degrees_below() -> None:
    readings = [95, 96, 91, 90, 95]
    levels = Gpu().levels({"memory_temperature_celsius": t} for t in readings)
    assert levels == [0, 2, 2, 0, 0]


def test_a_small_margin_to_slowdown_clears_at_eight_degrees() -> None:
    readings = [6, 5, 7.9, 8, 7, 5]
    levels = Gpu({}).levels({"temperature_margin_celsius": t} for t in readings)
    assert levels == [0, 1, 1, 0, 0, 1]


def test_an_absent_temperature_is_no_reason_and_ends_no_latch() -> None:
    gpu = Gpu()
    assert gpu.see(1, {"temperature_celsius": 81}).level == 2
    assert gpu.see(1, {"utilization_ratio": 0.5}).level == 0
    assert gpu.see(1, {"temperature_celsius": 78}).level == 2


@pytest.mark.parametrize("bit", [0x20, 0x40])
def test_thermal_slowdown_counts_from_a_tenth_of_five_minutes(bit: int) -> None:
    gpu = Gpu()
    gpu.see(100, {"throttle_reasons": 0})
    assert gpu.see(29, {"throttle_reasons": bit}).level == 0
    health = gpu.see(1, {"throttle_reasons": bit})
    assert health.level == 2
    assert health.reasons == ("Thermal slowdown for 30 s of the last 5 min (10%)",)


def test_thermal_slowdown_is_forgotten_as_its_seconds_leave_the_window() -> None:
    gpu = Gpu()
    gpu.see(1, {"throttle_reasons": 0})
    gpu.see(40, {"throttle_reasons": 0x20})
    assert gpu.see(269, {"throttle_reasons": 0}).level == 2
    assert gpu.see(1, {"throttle_reasons": 0}).level == 2
    assert gpu.see(1, {"throttle_reasons": 0}).level == 0
    gpu.see(40, {"throttle_reasons": 0})
    assert not gpu.history.open


def test_scattered_thermal_slowdown_adds_up() -> None:
    gpu = Gpu()
    for _ in range(29):
        gpu.see(1, {"throttle_reasons": 0x40})
        assert gpu.see(9, {"throttle_reasons": 0}).level == 0
    gpu.see(1, {"throttle_reasons": 0x40})
    assert gpu.see(9, {"throttle_reasons": 0}).level == 0
    for _ in range(12):
        gpu.see(2, {"throttle_reasons": 0x40})
        gpu.see(8, {"throttle_reasons": 0})
    assert gpu.health().level == 2


def test_six_hardware_slowdowns_in_ten_minutes_are_a_warning() -> None:
    gpu = Gpu()
    for _ in range(5):
        gpu.see(1, {"throttle_reasons": 0x8})
        assert gpu.see(9, {"throttle_reasons": 0}).level == 0
    assert gpu.see(1, {"throttle_reasons": 0x8}).level == 2
    assert gpu.see(549, {"throttle_reasons": 0}).level == 2
    assert gpu.see(1, {"throttle_reasons": 0}).level == 0


def test_a_hardware_slowdown_that_lasts_counts_once_a_minute() -> None:
    gpu = Gpu()
    assert gpu.see(5 * MINUTE, {"throttle_reasons": 0x8}).level == 0
    assert gpu.see(1, {"throttle_reasons": 0x8}).level == 2


def test_hardware_slowdowns_spread_over_more_than_ten_minutes_do_not_count() -> None:
    gpu = Gpu()
    for _ in range(12):
        gpu.see(1, {"throttle_reasons": 0x8})
        assert gpu.see(119, {"throttle_reasons": 0}).level == 0


@pytest.mark.parametrize(
    ("generation", "width", "most"), [(4, 16, 16), (5, 16, 31), (3, 16, 8), (4, 8, 8)]
)
def test_pcie_replays_count_above_what_the_link_may_have(
    generation: int, width: int, most: int
) -> None:
    gpu = Gpu({"pcie_link_generation_max": generation, "pcie_link_width_max": width})
    gpu.see(1, {"pcie_replay_total": 1_000_000})
    assert gpu.see(30, {"pcie_replay_total": 1_000_000 + most}).level == 0
    assert gpu.see(30, {"pcie_replay_total": 1_000_000 + most + 1}).level == 2
    assert gpu.see(1, {"pcie_replay_total": 1_000_000 + most + 1}).level == 0


def test_what_is_not_known_of_a_link_never_raises_an_alarm() -> None:
    gpu = Gpu({})
    gpu.see(1, {"pcie_replay_total": 0})
    assert gpu.see(1, {"pcie_replay_total": 62}).level == 0
    assert gpu.see(1, {"pcie_replay_total": 63}).level == 2


def test_replays_of_a_long_gap_count_with_their_rate() -> None:
    gpu = Gpu()
    gpu.see(1, {"pcie_replay_total": 0})
    gpu.second += 599
    assert gpu.see(1, {"pcie_replay_total": 160}).level == 0
    gpu.second += 599
    assert gpu.see(1, {"pcie_replay_total": 160 + 180}).level == 2


def test_a_counter_that_starts_over_is_a_new_baseline() -> None:
    gpu = Gpu()
    gpu.see(1, {"pcie_replay_total": 5000, "nvlink_errors_total": 0})
    assert gpu.see(1, {"pcie_replay_total": 3, "nvlink_errors_total": 0}).level == 0
    assert gpu.see(1, {"pcie_replay_total": 19, "nvlink_errors_total": 0}).level == 0
    assert gpu.see(1, {"pcie_replay_total": 20, "nvlink_errors_total": 0}).level == 2


def test_replays_while_the_counter_could_not_be_read_do_not_count() -> None:
    gpu = Gpu()
    gpu.see(1, {"pcie_replay_total": 0})
    gpu.see(600, {"utilization_ratio": 0.1})
    assert gpu.see(1, {"pcie_replay_total": 200}).level == 0


def test_nvlink_errors_are_a_caution_for_an_hour() -> None:
    gpu = Gpu()
    gpu.see(5, {"nvlink_errors_total": 0})
    health = gpu.see(1, {"nvlink_errors_total": 2})
    assert health.level == 1
    assert health.reasons == ("2 NVLink errors, the last at 1970-01-01 00:00:06 UTC",)
    assert gpu.see(HOUR - 10, {"nvlink_errors_total": 2}, step=10).level == 1
    assert gpu.see(10, {"nvlink_errors_total": 2}).level == 0
    assert gpu.see(1, {"nvlink_errors_total": 3}).level == 1


def test_nvlink_errors_from_before_the_first_look_count() -> None:
    assert Gpu().see(1, {"nvlink_errors_total": 7}).level == 1


def test_nvlink_errors_are_critical_from_a_hundred_a_second() -> None:
    gpu = Gpu()
    gpu.see(1, {"nvlink_errors_total": 0})
    gpu.see(30, {"nvlink_errors_total": 0})
    assert gpu.see(1, {"nvlink_errors_total": 5999}).level == 1
    assert gpu.see(1, {"nvlink_errors_total": 6000}).level == 3
    assert gpu.see(60, {"nvlink_errors_total": 6000}).level == 1


def test_crc_errors_and_recoveries_of_nvlink_are_told_apart() -> None:
    gpu = Gpu()
    sample = {"utilization_ratio": 0.2}
    gpu.see(1, sample, extras=Extras(nvlink_crc_total=0, nvlink_recovery_total=0))
    crc = Extras(nvlink_crc_total=1, nvlink_recovery_total=0)
    assert gpu.see(1, sample, extras=crc).level == 1
    recovered = Extras(nvlink_crc_total=1, nvlink_recovery_total=1)
    assert gpu.see(1, sample, extras=recovered).level == 2
    many = Extras(nvlink_crc_total=6001, nvlink_recovery_total=1)
    assert gpu.see(1, sample, extras=many).level == 3


def test_an_nvlink_counts_as_down_only_after_it_was_up() -> None:
    gpu = Gpu()
    sample = {"utilization_ratio": 0.2}
    assert gpu.see(1, sample, extras=Extras(nvlinks_up={0: True, 1: False})).level == 0
    health = gpu.see(1, sample, extras=Extras(nvlinks_up={0: False, 1: False}))
    assert health == Health(3, ("NVLink 0 was up and is down",))
    assert gpu.see(1, sample, extras=Extras(nvlinks_up={0: True, 1: False})).level == 0


def test_a_pcie_link_below_its_generation_counts_after_a_minute_of_work() -> None:
    gpu = Gpu()
    idle = {"pcie_link_generation": 1, "utilization_ratio": 0.0}
    busy = {"pcie_link_generation": 1, "utilization_ratio": 0.9}
    assert gpu.see(300, idle).level == 0
    assert gpu.see(60, busy).level == 0
    assert gpu.see(1, busy).level == 1
    assert gpu.see(1, {"pcie_link_generation": 4, "utilization_ratio": 0.9}).level == 0
    assert gpu.see(60, busy).level == 0


def test_the_same_tick_again_changes_nothing() -> None:
    gpu = Gpu()
    gpu.see(3, {"temperature_celsius": 81, "pcie_replay_total": 1})
    before = gpu.history
    assert observe(before, FACTS, {"pcie_replay_total": 900}, 3000) is before


def test_a_clock_that_was_set_back_begins_its_windows_anew() -> None:
    gpu = Gpu()
    gpu.second = 100_000
    sample = {"temperature_celsius": 81, "throttle_reasons": 0x48, "nvlink_errors_total": 1}
    assert gpu.see(600, sample).level == 2
    gpu.second = 1000
    cool = {"temperature_celsius": 60, "throttle_reasons": 0, "nvlink_errors_total": 1}
    assert gpu.see(1, cool).level == 1
    assert gpu.see(HOUR, cool, step=10).level == 0
    assert not gpu.history.open


def test_an_energy_counter_that_starts_over_is_a_reset_and_clears_xids() -> None:
    gpu = Gpu()
    gpu.see(10, {"energy_joules_total": 5000.0})
    gpu.history = note_xid(gpu.history, 95, 9_500)
    assert gpu.see(10, {"energy_joules_total": 5001.0}).level == 3
    assert gpu.see(1, {"energy_joules_total": 2.0}).level == 0


def test_an_xid_of_before_a_reset_is_over_however_late_it_is_told() -> None:
    history = note_reset(HealthHistory(), 60_000)
    assert note_xid(history, 79, 60_000).xids == ()
    assert note_xid(history, 94, 59_000).contained is None
    assert [seen.code for seen in note_xid(history, 79, 60_001).xids] == [79]


@pytest.mark.parametrize("fault", ["lost", "reset_required"])
def test_a_gpu_that_answers_again_after_it_was_gone_was_reset(fault: str) -> None:
    gpu = Gpu()
    gpu.see(10, {"utilization_ratio": 0.5})
    gpu.history = note_fault(note_xid(gpu.history, 79, 10_500), fault, 11_000)
    gpu.history = note_fault(gpu.history, None, 400_000)
    assert gpu.health().level == 3
    gpu.second = 400
    assert gpu.see(1, {"utilization_ratio": 0.0}).level == 0
    assert not gpu.history.open


def test_a_hang_that_ends_resets_nothing() -> None:
    gpu = Gpu()
    gpu.see(10, {"utilization_ratio": 0.5})
    gpu.history = note_fault(note_xid(gpu.history, 119, 10_500), "hung", 11_000)
    gpu.history = note_fault(gpu.history, None, 20_000)
    assert gpu.see(20, {"utilization_ratio": 0.5}).level == 3


def test_a_fault_keeps_the_time_at_which_it_began() -> None:
    history = note_fault(HealthHistory(), "hung", 5_000)
    assert note_fault(history, "hung", 9_000).fault_since_ms == 5_000
    assert note_fault(history, "lost", 9_000).fault_since_ms == 9_000
    assert note_fault(history, None, 9_000).fault_since_ms is None


def test_a_history_survives_as_plain_json() -> None:
    gpu = Gpu()
    gpu.see(5, {"temperature_celsius": 20, "pcie_replay_total": 0, "energy_joules_total": 1.5})
    gpu.see(
        90,
        {
            "temperature_celsius": 91,
            "throttle_reasons": 0x48,
            "pcie_replay_total": 30,
            "nvlink_errors_total": 3,
            "energy_joules_total": 9.25,
        },
        extras=Extras(nvlinks_up={3: True, 1: True}, nvlink_crc_total=3),
    )
    history = note_fault(note_xid(note_xid(gpu.history, 94, 7_000), 13, 8_000), "hung", 9_000)
    text = json.dumps(health_document.document(history))
    assert health_document.history(json.loads(text)) == history


def test_the_document_of_an_empty_history_is_empty() -> None:
    assert health_document.document(HealthHistory()) == {}
    assert health_document.history({"from_a_newer_version": 1}) == HealthHistory()


def test_xids_that_no_longer_count_leave_the_history() -> None:
    history = note_xid(note_xid(HealthHistory(), 63, 0), 79, 0)
    assert [seen.code for seen in expired(history, HOUR * 1000 - 1).xids] == [63, 79]
    assert [seen.code for seen in expired(history, HOUR * 1000).xids] == [79]


def test_acknowledging_takes_only_what_had_happened() -> None:
    history = note_xid(note_xid(HealthHistory(), 79, 1_000), 79, 60_000)
    after = acknowledge_xids(history, 30_000)
    assert [seen.times_ms for seen in after.xids] == [(60_000,)]
    assert acknowledge_xids(history, 60_000).xids == ()


def test_a_reset_forgets_what_was_known_of_memory_errors() -> None:
    history = note_reset(note_xid(HealthHistory(), 94, 1_000), 2_000)
    assert history.contained is None
    assert not history.open
