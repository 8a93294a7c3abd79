"""The metric catalogue keeps its promises: what was released once never changes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.proto import catalog
from gpufleet.proto.catalog import Kind, Metric, SubjectKind

GOLDEN: tuple[tuple[int, str, str, str, int, int], ...] = (
    # id, name, kind, unit, divisor, multiplier. Rows are added here and never edited or removed:
    # agents, stored history and dashboards of every earlier version rely on them.
    (1, "utilization_ratio", "gauge", "ratio", 1000, 1),
    (2, "memory_controller_utilization_ratio", "gauge", "ratio", 1000, 1),
    (3, "encoder_utilization_ratio", "gauge", "ratio", 1000, 1),
    (4, "decoder_utilization_ratio", "gauge", "ratio", 1000, 1),
    (5, "sm_active_ratio", "gauge", "ratio", 1000, 1),
    (6, "tensor_active_ratio", "gauge", "ratio", 1000, 1),
    (7, "dram_active_ratio", "gauge", "ratio", 1000, 1),
    (10, "memory_used_bytes", "gauge", "bytes", 1, 1),
    (11, "memory_free_bytes", "gauge", "bytes", 1, 1),
    (12, "memory_reserved_bytes", "gauge", "bytes", 1, 1),
    (13, "memory_total_bytes", "gauge", "bytes", 1, 1),
    (14, "memory_used_ratio", "gauge", "ratio", 1000, 1),
    (20, "temperature_celsius", "gauge", "celsius", 1, 1),
    (21, "memory_temperature_celsius", "gauge", "celsius", 1, 1),
    (22, "temperature_margin_celsius", "gauge", "celsius", 1, 1),
    (23, "power_watts", "gauge", "watts", 1000, 1),
    (24, "power_average_watts", "gauge", "watts", 1000, 1),
    (25, "power_limit_watts", "gauge", "watts", 1000, 1),
    (26, "energy_joules_total", "counter", "joules", 1000, 1),
    (27, "fan_speed_ratio", "gauge", "ratio", 1000, 1),
    (30, "clock_graphics_hertz", "gauge", "hertz", 1, 1_000_000),
    (31, "clock_sm_hertz", "gauge", "hertz", 1, 1_000_000),
    (32, "clock_memory_hertz", "gauge", "hertz", 1, 1_000_000),
    (33, "clock_video_hertz", "gauge", "hertz", 1, 1_000_000),
    (34, "performance_state", "state", "", 1, 1),
    (40, "pcie_link_generation", "state", "", 1, 1),
    (41, "pcie_link_width", "state", "", 1, 1),
    (42, "pcie_replay_total", "counter", "", 1, 1),
    (43, "pcie_rx_bytes_total", "counter", "bytes", 1, 1),
    (44, "pcie_tx_bytes_total", "counter", "bytes", 1, 1),
    (45, "nvlink_rx_bytes_total", "counter", "bytes", 1, 1),
    (46, "nvlink_tx_bytes_total", "counter", "bytes", 1, 1),
    (47, "nvlink_errors_total", "counter", "", 1, 1),
    (50, "ecc_corrected_volatile_total", "counter", "", 1, 1),
    (51, "ecc_uncorrected_volatile_total", "counter", "", 1, 1),
    (52, "ecc_corrected_aggregate_total", "counter", "", 1, 1),
    (53, "ecc_uncorrected_aggregate_total", "counter", "", 1, 1),
    (54, "remapped_rows_correctable", "gauge", "", 1, 1),
    (55, "remapped_rows_uncorrectable", "gauge", "", 1, 1),
    (56, "remapped_rows_pending", "state", "", 1, 1),
    (57, "remapped_rows_failed", "state", "", 1, 1),
    (58, "retired_pages_single_bit", "gauge", "", 1, 1),
    (59, "retired_pages_double_bit", "gauge", "", 1, 1),
    (60, "retired_pages_pending", "state", "", 1, 1),
    (61, "recovery_action", "state", "", 1, 1),
    (62, "sram_threshold_exceeded", "state", "", 1, 1),
    (70, "throttle_reasons", "bits", "", 1, 1),
    (71, "throttle_thermal_seconds_total", "counter", "seconds", 1000, 1),
    (72, "throttle_power_seconds_total", "counter", "seconds", 1000, 1),
    (80, "health", "state", "", 1, 1),
    (200, "host_cpu_utilization_ratio", "gauge", "ratio", 1000, 1),
    (201, "host_memory_used_bytes", "gauge", "bytes", 1, 1),
    (202, "host_memory_total_bytes", "gauge", "bytes", 1, 1),
    (203, "host_load1", "gauge", "", 100, 1),
    (210, "agent_cpu_seconds_total", "counter", "seconds", 1000, 1),
    (211, "agent_resident_memory_bytes", "gauge", "bytes", 1, 1),
    (212, "agent_collect_seconds", "gauge", "seconds", 1_000_000, 1),
    (213, "agent_sent_bytes_total", "counter", "bytes", 1, 1),
    (214, "agent_spool_bytes", "gauge", "bytes", 1, 1),
    (215, "agent_unacknowledged_ticks", "gauge", "", 1, 1),
    (216, "agent_dropped_ticks_total", "counter", "", 1, 1),
    (217, "agent_missed_ticks_total", "counter", "", 1, 1),
    (220, "clock_skew_seconds", "gauge", "seconds", 1000, 1),
)

METRICS = tuple(catalog.metrics())
EVERY_METRIC = pytest.mark.parametrize("metric", METRICS, ids=[m.name for m in METRICS])


def test_every_released_row_is_as_it_was() -> None:
    rows = {m.id: (m.id, m.name, m.kind.value, m.unit, m.divisor, m.multiplier) for m in METRICS}
    changed = [row for row in GOLDEN if rows.get(row[0]) != row]
    assert not changed, "give a changed metric a new id, and leave these rows alone"


def test_every_row_of_the_catalogue_is_frozen_here() -> None:
    missing = {m.id for m in METRICS} - {row[0] for row in GOLDEN}
    assert not missing, "a new metric's row is added to GOLDEN as well"


def test_ids_and_names_are_unique() -> None:
    assert len({row[0] for row in GOLDEN}) == len(GOLDEN)
    assert len({m.id for m in METRICS}) == len({m.name for m in METRICS}) == len(METRICS)


def test_rows_stand_in_the_order_of_their_ids() -> None:
    assert [m.id for m in METRICS] == sorted(m.id for m in METRICS)


def test_the_two_views_hold_the_same_rows() -> None:
    assert set(catalog.BY_ID.values()) == set(catalog.BY_NAME.values()) == set(METRICS)
    assert all(catalog.BY_NAME[m.name] is m and catalog.BY_ID[m.id] is m for m in METRICS)


UNIT_SUFFIXES = ("ratio", "bytes", "celsius", "watts", "joules", "hertz", "seconds")


@EVERY_METRIC
def test_a_name_follows_the_rules_of_prometheus(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total")
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_info"))
    words = metric.name.removesuffix("_total").split("_")
    if metric.unit:
        assert metric.unit in UNIT_SUFFIXES
        assert words[-1] == metric.unit, "the unit is the name's last word, before _total"
    else:
        assert words[-1] not in UNIT_SUFFIXES


@EVERY_METRIC
def test_a_row_is_complete(metric: Metric) -> None:
    assert metric.help.endswith(".")
    assert metric.subjects
    assert metric.divisor >= 1
    assert metric.multiplier >= 1
    if metric.kind in (Kind.STATE, Kind.BITS):
        assert (metric.divisor, metric.multiplier, metric.unit) == (1, 1, "")


def test_no_two_metrics_share_a_dcgm_name() -> None:
    names = [m.dcgm for m in METRICS if m.dcgm]
    assert len(names) == len(set(names))


@EVERY_METRIC
@given(raw=st.integers(min_value=0, max_value=2**53 // 1_000_000))
def test_a_scaled_integer_survives_the_way_to_base_units_and_back(metric: Metric, raw: int) -> None:
    assert metric.raw(metric.value(raw)) == raw


def test_a_prometheus_name_carries_the_subject() -> None:
    metric = catalog.BY_NAME["temperature_celsius"]
    assert metric.prometheus(SubjectKind.GPU) == "gpufleet_gpu_temperature_celsius"


def test_metrics_of_a_subject_kind_are_only_its_own() -> None:
    node = {m.name for m in catalog.metrics(SubjectKind.NODE)}
    assert "host_load1" in node
    assert "temperature_celsius" not in node
    assert {m.name for m in catalog.metrics(SubjectKind.MIG)} < {
        m.name for m in catalog.metrics(SubjectKind.GPU)
    }


def test_throttle_reasons_are_named_and_an_unknown_bit_is_kept() -> None:
    assert catalog.throttle_reason_names(0) == []
    assert catalog.throttle_reason_names(0x4 | 0x40) == ["sw_power_cap", "hw_thermal_slowdown"]
    assert catalog.throttle_reason_names(0x200) == ["bit_0x200"]


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_every_bit_of_the_throttle_reasons_has_one_name(bits: int) -> None:
    names = catalog.throttle_reason_names(bits)
    assert len(names) == len(set(names)) == bits.bit_count()
