"""Health of the fleet: the quick look hides nothing, and time is told without being asked often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.alerting.health import (
    INPUTS,
    NO_EXTRAS,
    Extras,
    Health,
    HealthHistory,
    assess,
    expired,
    note_fault,
    note_xid,
    observe,
)
from gpufleet.hub.health import Change, FleetHealth
from gpufleet.hub.health_memory import HealthMemory
from gpufleet.proto.catalog import BY_NAME, metrics

ROWS = {metric.id: row for row, metric in enumerate(metrics())}
FACTS: list[Mapping[str, Any]] = [
    {
        "slowdown_temperature_celsius": 90,
        "shutdown_temperature_celsius": 95,
        "max_operating_temperature_celsius": 87,
        "memory_max_temperature_celsius": 95,
        "pcie_link_generation_max": 5,
        "pcie_link_width_max": 16,
    },
    {
        "slowdown_tlimit_celsius": -2,
        "shutdown_tlimit_celsius": -5,
        "max_operating_tlimit_celsius": 0,
        "pcie_link_generation_max": 4,
    },
    {"max_operating_temperature_celsius": 101, "max_operating_tlimit_celsius": 9},
    {},
]
CALM = {
    "utilization_ratio": 0.5,
    "temperature_celsius": 55,
    "energy_joules_total": 100,
    "pcie_replay_total": 3,
    "nvlink_errors_total": 0,
    "throttle_reasons": 4,
}
START_MS = 1_700_000_000_000


class Fleet:
    """GPUs with values as the hub has them, beside one history a GPU that is never dropped."""

    def __init__(self, gpus: int, facts: list[Mapping[str, Any]] = FACTS) -> None:
        self.facts = [facts[slot % len(facts)] for slot in range(gpus)]
        self.values = np.full((len(ROWS), gpus), np.nan)
        self.tick_ms = np.zeros(gpus, np.int64)
        self.faults: dict[int, str] = {}
        self.now_ms = START_MS
        self.fleet = FleetHealth()
        self.whole = [HealthHistory() for _ in range(gpus)]
        self.judged: list[Health] = [Health(None)] * gpus
        self.told: list[Health] = [Health(None)] * gpus
        for slot, found in enumerate(self.facts):
            self.fleet.set_subject(slot, f"GPU-{slot}", found)

    def sample(self, slot: int, sample: Mapping[str, float]) -> None:
        self.values[:, slot] = np.nan
        for name, value in sample.items():
            self.values[ROWS[BY_NAME[name].id], slot] = value
        self.tick_ms[slot] = self.now_ms

    def sample_all(self, sample: Mapping[str, float]) -> None:
        for slot in range(len(self.facts)):
            self.sample(slot, sample)

    def xid(self, slot: int, code: int) -> None:
        self.fleet.note_xid(slot, code, self.now_ms)
        self.whole[slot] = note_xid(self.whole[slot], code, self.now_ms)

    def update(self) -> list[Change]:
        changes = self.fleet.update(
            self.values, ROWS, self.tick_ms, self.now_ms, faults=self.faults
        )
        for slot, before, after in changes:
            assert self.told[slot] == before != after
            self.told[slot] = after
        return changes

    def judge_all(self) -> None:
        """What the pure function says of every GPU, with its whole history."""
        for slot, facts in enumerate(self.facts):
            column = self.values[:, slot]
            sample = {
                name: float(column[ROWS[BY_NAME[name].id]])
                for name in INPUTS
                if not np.isnan(column[ROWS[BY_NAME[name].id]])
            }
            fault = self.faults.get(slot)
            history = note_fault(self.whole[slot], fault, self.now_ms)
            tick_ms = int(self.tick_ms[slot])
            if tick_ms:
                history = observe(history, facts, sample, tick_ms)
            self.whole[slot] = expired(history, self.now_ms)
            self.judged[slot] = assess(facts, sample, fault, self.whole[slot], self.now_ms)


READINGS: dict[str, list[float]] = {
    "utilization_ratio": [0, 0.5, 0.51, 1],
    "temperature_celsius": [55, 60, 61, 84, 85, 87, 88, 90, 92, 93, 101, 102],
    "memory_temperature_celsius": [70, 95, 96],
    "temperature_margin_celsius": [-8, -5, -3, -2, -1, 0, 5, 6, 7, 8, 9, 30],
    "energy_joules_total": [100, 200, 1],
    "fan_speed_ratio": [0, 0.3],
    "pcie_link_generation": [1, 4, 5],
    "pcie_link_width": [8, 16],
    "pcie_replay_total": [0, 3, 4, 20, 100],
    "nvlink_errors_total": [0, 1, 7000],
    "ecc_uncorrected_volatile_total": [0, 1],
    "remapped_rows_uncorrectable": [0, 1, 512],
    "remapped_rows_pending": [0, 1],
    "remapped_rows_failed": [0, 1],
    "retired_pages_single_bit": [0, 31, 32, 62, 63],
    "retired_pages_double_bit": [0, 31, 32, 63],
    "retired_pages_pending": [0, 1],
    "recovery_action": [0, 1, 3, 9],
    "sram_threshold_exceeded": [0, 1],
    "throttle_reasons": [0, 4, 0x8, 0x20, 0x40, 0x80, 1 << 40],
    "power_watts": [300],
}


@st.composite
def deviations(draw: st.DrawFn) -> dict[str, float | None]:
    """A few readings that differ from calm ones; ``None`` is absent."""
    names = draw(st.lists(st.sampled_from(sorted(READINGS)), max_size=3, unique=True))
    return {name: draw(st.sampled_from([None, *READINGS[name]])) for name in names}


moments = st.lists(
    st.tuples(
        st.sampled_from([1000, 1000, 5000, 30_000, 50_000, 700_000, 4_000_000]),
        st.lists(st.none() | deviations(), min_size=4, max_size=4),
        st.lists(
            st.sampled_from([None, None, None, None, "lost", "hung", "error"]),
            min_size=4,
            max_size=4,
        ),
        st.none() | st.tuples(st.integers(0, 3), st.sampled_from([13, 79, 94, 109, 154, 9000])),
    ),
    max_size=15,
)


@settings(max_examples=100, deadline=None)
@given(moments)
def test_the_quick_look_says_what_the_whole_judgement_says(moments: list[Any]) -> None:
    fleet = Fleet(4)
    for step_ms, looks, faults, xid in moments:
        fleet.now_ms += step_ms
        for slot, look in enumerate(looks):
            if look is not None:
                changed = {**CALM, **look}
                fleet.sample(slot, {k: v for k, v in changed.items() if v is not None})
        fleet.faults = {slot: fault for slot, fault in enumerate(faults) if fault is not None}
        if xid is not None:
            fleet.xid(*xid)
        fleet.update()
        fleet.judge_all()
        assert fleet.told == fleet.judged
        assert [fleet.fleet.health(slot) for slot in range(4)] == fleet.judged
        levels = [None if np.isnan(v) else int(v) for v in fleet.fleet.levels.tolist()]
        assert levels == [health.level for health in fleet.judged]
        for slot in fleet.fleet.open_histories():
            assert fleet.fleet.open_histories()[slot] == fleet.whole[slot]


def test_the_quick_look_misses_no_pair_of_readings_on_any_gpu() -> None:
    single = [(name, value) for name in sorted(READINGS) for value in READINGS[name]]
    pairs = [(one, other) for one in single for other in single if one[0] <= other[0]]
    fleet = Fleet(len(pairs) * len(FACTS), [facts for facts in FACTS for _ in pairs])
    assert fleet.facts[len(pairs)] is FACTS[1]
    for step_ms in (0, 1000, 40_000):
        fleet.now_ms += step_ms
        for slot in range(len(fleet.facts)):
            one, other = pairs[slot % len(pairs)]
            off = {one[0]: one[1], other[0]: other[1]} if step_ms else {}
            fleet.sample(slot, {**CALM, **off})
        fleet.update()
        fleet.judge_all()
        assert fleet.told == fleet.judged
        remembered = {slot for slot, history in enumerate(fleet.whole) if history.open}
        assert fleet.fleet.open_histories().keys() == remembered
    assert {health.level for health in fleet.told} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("name", "series", "code"),
    [
        ("nvlink_errors_total", [7, 7, 8], None),
        ("nvlink_errors_total", [0, None, 0, None, 5], None),
        ("nvlink_errors_total", [5, *[5] * 130, None, 5, 5], None),
        ("pcie_replay_total", [0, None, 100, 100], None),
        ("energy_joules_total", [100, None, 1], 79),
        ("energy_joules_total", [100, 100, None, None, 200, 1], 95),
        ("utilization_ratio", [1, 1, 1, 1], None),
    ],
)
def test_counters_of_calm_gpus_are_kept_as_if_their_history_were(
    name: str, series: list[float | None], code: int | None
) -> None:
    fleet = Fleet(1)
    for value in series:
        fleet.now_ms += 40_000
        if value is None and code is not None:
            fleet.xid(0, code)
        sample = {**CALM, "pcie_link_generation": 1, name: value}
        fleet.sample(0, {key: v for key, v in sample.items() if v is not None})
        fleet.update()
        fleet.judge_all()
        assert fleet.told == fleet.judged


def test_a_calm_fleet_is_healthy_and_nothing_is_remembered_of_it() -> None:
    fleet = Fleet(50)
    fleet.sample_all(CALM)
    assert {after for _, _, after in fleet.update()} == {Health(0)}
    for _ in range(5):
        fleet.now_ms += 1000
        fleet.sample_all(CALM)
        assert fleet.update() == []
    assert not fleet.fleet.open_histories()


def test_a_gpu_without_a_sample_has_no_level() -> None:
    fleet = Fleet(2)
    fleet.sample(0, CALM)
    fleet.update()
    assert fleet.fleet.health(0) == Health(0)
    assert fleet.fleet.health(1) == Health(None)
    assert np.isnan(fleet.fleet.levels[1])


def test_a_level_that_the_hub_wrote_itself_is_not_a_reading() -> None:
    fleet = Fleet(1)
    fleet.sample(0, {"health": 0, "memory_used_ratio": 0.5})
    fleet.update()
    assert fleet.fleet.health(0) == Health(None)


def test_an_xid_ends_by_itself_while_the_gpu_sends_nothing() -> None:
    fleet = Fleet(1)
    fleet.sample_all(CALM)
    fleet.update()
    fleet.xid(0, 63)
    assert [after.level for _, _, after in fleet.update()] == [1]
    fleet.now_ms += 3_599_999
    assert fleet.update() == []
    fleet.now_ms += 1000
    assert [after.level for _, _, after in fleet.update()] == [0]


def test_the_last_level_stands_while_there_is_no_sample() -> None:
    fleet = Fleet(1)
    fleet.sample(0, {**CALM, "temperature_celsius": 88})
    fleet.update()
    hot = fleet.fleet.health(0)
    assert hot.level == 2
    fleet.values[:] = np.nan
    for _ in range(5):
        fleet.now_ms += 60_000
        assert fleet.update() == []
    assert fleet.fleet.health(0) == hot


def test_a_hang_becomes_critical_after_three_polls_without_any_sample() -> None:
    fleet = Fleet(1)
    fleet.sample_all(CALM)
    fleet.update()
    fleet.faults = {0: "hung"}
    levels = []
    for _ in range(5):
        fleet.now_ms += 1000
        fleet.update()
        levels.append(fleet.fleet.health(0).level)
    assert levels == [1, 1, 1, 3, 3]


def test_a_fault_is_seen_at_once_and_gone_at_once() -> None:
    fleet = Fleet(1)
    fleet.sample_all(CALM)
    fleet.update()
    fleet.faults = {0: "no_permission"}
    assert [after.level for _, _, after in fleet.update()] == [1]
    fleet.faults = {}
    assert [after.level for _, _, after in fleet.update()] == [0]


def test_a_slot_with_another_gpu_begins_from_nothing() -> None:
    fleet = Fleet(1)
    fleet.sample(0, {**CALM, "temperature_celsius": 88})
    fleet.xid(0, 79)
    fleet.update()
    assert fleet.fleet.health(0).level == 3
    fleet.fleet.set_subject(0, "GPU-other", {})
    assert fleet.fleet.health(0) == Health(None)
    assert not fleet.fleet.open_histories()


def test_new_thresholds_count_without_a_new_sample() -> None:
    fleet = Fleet(1, [{}])
    fleet.sample(0, {**CALM, "temperature_celsius": 88})
    fleet.update()
    assert fleet.fleet.health(0).level == 0
    fleet.fleet.set_subject(0, "GPU-0", {"max_operating_temperature_celsius": 80})
    assert [after.level for _, _, after in fleet.update()] == [2]


def test_a_slot_that_is_not_a_gpu_is_never_judged() -> None:
    fleet = Fleet(2)
    fleet.fleet.remove(1)
    fleet.sample_all({**CALM, "recovery_action": 1})
    assert [slot for slot, _, _ in fleet.update()] == [0]
    with pytest.raises(KeyError):
        fleet.fleet.note_xid(1, 79, 0)


def test_slots_that_were_not_said_to_have_changed_wait() -> None:
    fleet = Fleet(2)
    fleet.sample_all(CALM)
    changes = fleet.fleet.update(
        fleet.values,
        ROWS,
        fleet.tick_ms,
        fleet.now_ms,
        faults={},
        changed=np.array([False, True]),
    )
    assert [slot for slot, _, _ in changes] == [1]
    assert [slot for slot, _, _ in fleet.update()] == [0]


def test_values_may_have_fewer_columns_than_there_are_slots_yet() -> None:
    fleet = Fleet(2)
    fleet.sample_all(CALM)
    fleet.xid(1, 79)
    narrow = fleet.fleet.update(
        fleet.values[:, :1], ROWS, fleet.tick_ms[:1], fleet.now_ms, faults={1: "lost"}
    )
    assert [slot for slot, _, _ in narrow] == [0]
    changes = fleet.fleet.update(
        fleet.values, ROWS, fleet.tick_ms, fleet.now_ms, faults={1: "lost"}
    )
    assert [(slot, after.level) for slot, _, after in changes] == [(1, 3)]


def test_latches_survive_a_restart_that_restores_them() -> None:
    fleet = Fleet(1)
    fleet.sample_all(CALM)
    fleet.xid(0, 79)
    fleet.update()
    again = Fleet(1)
    again.now_ms = fleet.now_ms + 60_000
    for slot, history in fleet.fleet.open_histories().items():
        again.fleet.restore(slot, history)
    again.sample_all(CALM)
    again.update()
    assert again.fleet.health(0).level == 3
    again.fleet.acknowledge(0, again.now_ms)
    assert [after.level for _, _, after in again.update()] == [0]


def test_an_xid_from_a_backlog_does_not_outlive_the_reset_that_was_seen_first() -> None:
    fleet = Fleet(1)
    fleet.sample_all(CALM)
    fleet.update()
    before_ms = fleet.now_ms + 500
    fleet.now_ms += 300_000
    fleet.sample(0, {**CALM, "energy_joules_total": 1})
    fleet.update()
    assert not fleet.fleet.open_histories()
    fleet.fleet.note_xid(0, 79, before_ms)
    assert fleet.update() == []
    fleet.fleet.note_xid(0, 79, fleet.now_ms + 1)
    assert [after.level for _, _, after in fleet.update()] == [3]


def test_a_reset_that_the_hub_heard_of_clears_an_xid() -> None:
    fleet = Fleet(1)
    fleet.sample_all(CALM)
    fleet.xid(0, 95)
    fleet.update()
    fleet.fleet.note_reset(0, fleet.now_ms + 1)
    assert [after.level for _, _, after in fleet.update()] == [0]


def test_findings_beside_metrics_count_until_they_are_taken_back() -> None:
    fleet = Fleet(1)
    fleet.sample_all(CALM)
    fleet.update()
    fleet.fleet.set_extras(0, Extras(inforom_valid=False))
    assert [after.level for _, _, after in fleet.update()] == [2]
    fleet.now_ms += 1000
    fleet.sample_all(CALM)
    assert fleet.update() == []
    fleet.fleet.set_extras(0, NO_EXTRAS)
    assert [after.level for _, _, after in fleet.update()] == [0]


def test_a_gpu_whose_facts_cannot_be_judged_holds_up_no_other() -> None:
    health = FleetHealth()
    health.set_subject(0, "odd", {"pcie_link_width_max": 1e308, "pcie_link_generation_max": 5})
    health.set_subject(1, "hot", {"max_operating_temperature_celsius": 80})
    values = np.full((len(ROWS), 2), np.nan)
    values[ROWS[BY_NAME["temperature_celsius"].id]] = [200, 95]
    values[ROWS[BY_NAME["pcie_link_width"].id]] = 4
    judged: set[int] = set()
    for second in (1, 2, 3):
        values[ROWS[BY_NAME["pcie_replay_total"].id]] = 10 * second
        ticks = np.full(2, START_MS + second * 1000)
        changes = health.update(values, ROWS, ticks, START_MS + second * 1000, faults={})
        judged.update(slot for slot, _, _ in changes)
    assert 1 in judged


def test_a_stored_history_that_cannot_be_read_keeps_no_gpu_out() -> None:
    health = FleetHealth()
    health.set_subject(0, "a", {})
    memory = HealthMemory(health, {7: {"xids": [["not", "so"], 3]}})
    memory.restore(0, 7)
    assert health.open_histories() == {}
