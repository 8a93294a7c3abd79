"""Rows of minutes and hours: what numpy says of the samples, however these came in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gpufleet.hub.store.buckets import INTERVALS_MS
from gpufleet.hub.store.chunk import Chunk, Column, between
from gpufleet.hub.store.codec import encode_chunk
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.grid import SubjectSamples, minute_chunks
from gpufleet.hub.store.merge import merge_some
from gpufleet.hub.store.rollup import ROLLUPS, summarise_node
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS, hours, minutes
from gpufleet.proto.catalog import BY_NAME
from support.stored import HOUR, flush, spans, stored

LATER = HOUR + 4 * HOUR_MS
METRICS = ("power_watts", "energy_joules_total", "throttle_reasons", "memory_used_bytes")
TOTAL = BY_NAME["memory_total_bytes"].id
IDS = (*(BY_NAME[name].id for name in METRICS), TOTAL)


def rows(database: Database, table: Any, subject_id: int = 7) -> dict[int, dict[str, Any]]:
    """start → column → value, without the columns that say nothing."""
    with database.reading() as connection:
        found = connection.execute(
            select(table).where(table.c.subject_id == subject_id).order_by(table.c.start)
        )
        return {
            row.start: {
                name: value
                for name, value in row._mapping.items()
                if value is not None
                and name not in ("subject_id", "start")
                and not (name.endswith("_n") and value == 0)
            }
            for row in found
        }


def shown(chunk: Chunk, metric: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Ticks at which the metric has a value, and the values."""
    column = chunk.columns.get(metric)
    if column is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if column.present is None:
        return chunk.ticks, column.values
    return chunk.ticks[column.present], column.values[column.present]


def expected(whole: Chunk, start: int, width: int) -> dict[str, Any]:
    """A row, by plain means, of every sample of the subject."""
    chunk = between(whole, start, start + width)
    row: dict[str, Any] = {"n": len(chunk.ticks)}
    for name in ("power_watts", "memory_used_bytes"):
        metric = BY_NAME[name]
        _, values = shown(chunk, metric.id)
        if len(values):
            row[f"{name}_n"] = len(values)
            row[f"{name}_avg"] = values.mean() / metric.divisor
            row[f"{name}_min"] = values.min() / metric.divisor
            row[f"{name}_max"] = values.max() / metric.divisor
    used = dict(zip(*(part.tolist() for part in shown(chunk, IDS[3])), strict=True))
    total = dict(zip(*(part.tolist() for part in shown(chunk, TOTAL)), strict=True))
    ratios = [used[tick] / total[tick] for tick in used if total.get(tick, 0) > 0]
    if ratios:
        row["memory_used_ratio_n"] = len(ratios)
        row["memory_used_ratio_avg"] = sum(ratios) / len(ratios)
        row["memory_used_ratio_min"] = min(ratios)
        row["memory_used_ratio_max"] = max(ratios)
    _, flags = shown(chunk, IDS[2])
    if len(flags):
        row["throttle_reasons_n"] = len(flags)
        row["throttle_reasons_bits"] = int(np.bitwise_or.reduce(flags))
        row["throttle_reasons_active_seconds"] = float((flags != 0).sum())
    ticks, energy = shown(whole, IDS[1])
    inside = np.flatnonzero((ticks >= start) & (ticks < start + width))
    if len(inside):
        row["energy_joules_total_n"] = len(inside)
        row["energy_joules_total_last"] = energy[inside[-1]] / 1000
        gains = [
            max(int(energy[i]) - int(energy[i - 1]), 0) / 1000 for i in inside.tolist() if i > 0
        ]
        if gains:
            row["energy_joules_total_increase"] = sum(gains)
    return row


def check(database: Database) -> None:
    whole = stored(database, 7)
    found = rows(database, minutes)
    assert sorted(found) == sorted({tick - tick % MINUTE_MS for tick in whole.ticks.tolist()})
    for start, row in found.items():
        assert row == pytest.approx(expected(whole, start, MINUTE_MS), rel=1e-12, abs=1e-9)
    while merge_some(database, LATER):
        pass
    found = rows(database, hours)
    assert sorted(found) == [start for _, start, span in spans(database) if span == HOUR_MS]
    for start, row in found.items():
        right = expected(whole, start, HOUR_MS)
        if "throttle_reasons_n" in row:  # an hour may have been merged of samples far apart
            active = row.pop("throttle_reasons_active_seconds")
            assert active in [
                i // 1000 * right["throttle_reasons_active_seconds"] for i in INTERVALS_MS
            ]
            del right["throttle_reasons_active_seconds"]
        assert row == pytest.approx(right, rel=1e-12, abs=1e-9)


def samples(seconds: list[int], seed: int) -> list[SubjectSamples]:
    rng = np.random.default_rng(seed)
    ticks = HOUR + 1000 * np.array(seconds)
    values = np.stack(
        (
            rng.integers(0, 700_000, len(ticks)),
            np.array(seconds) * 500 % 1_000_000,
            rng.integers(0, 3, len(ticks)) * 4,
            rng.integers(0, 1 << 36, len(ticks)),
            rng.integers(0, 2, len(ticks)) << 36,
        ),
        axis=1,
    )
    present = rng.random(values.shape) > 0.3
    return minute_chunks([7], ticks, values, present, None, [IDS], 1000)


SECONDS = st.integers(0, 3 * 60 - 1).map(lambda n: n * 60 + n % 7) | st.integers(0, 3 * 3600 - 1)


@given(
    batches=st.lists(
        st.lists(SECONDS, min_size=1, max_size=25, unique=True).map(sorted), min_size=1, max_size=5
    ),
    merges=st.sets(st.integers(0, 5)),
    twice=st.sets(st.integers(0, 5)),
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_what_numpy_says_in_whatever_order_samples_come(
    database: Database, batches: list[list[int]], merges: set[int], twice: set[int]
) -> None:
    with database.writing() as connection:
        for table in ("samples", "minutes", "hours"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    for number, batch in enumerate(batches):
        chunks = samples(batch, number)
        for _ in range(2 if number in twice else 1):
            flush(database, chunks)
        if number in merges:
            while merge_some(database, LATER):
                pass
    check(database)


def test_a_live_minute_is_one_row_and_its_growth_goes_on_from_the_minute_before(
    database: Database,
) -> None:
    flush(database, samples(list(range(60)), 1))
    flush(database, samples(list(range(60, 120)), 2))
    check(database)
    found = rows(database, minutes)
    assert [row["n"] for row in found.values()] == [60, 60]
    assert found[HOUR + MINUTE_MS]["energy_joules_total_increase"] == pytest.approx(30, abs=1)


def test_a_counter_that_was_away_for_minutes_goes_on_from_its_last_value(
    database: Database,
) -> None:
    energy = BY_NAME["energy_joules_total"].id
    for second, value in ((0, 1000), (60, None), (120, 9000)):
        columns = {} if value is None else {energy: Column(np.array([value]))}
        chunk = encode_chunk(Chunk(np.array([HOUR + 1000 * second]), columns))
        temperature = encode_chunk(
            Chunk(np.array([HOUR + 1000 * second]), {**columns, 20: Column(np.array([50]))})
        )
        start = HOUR + 1000 * second
        flush(database, [SubjectSamples(7, start, chunk if columns else temperature)])
    found = rows(database, minutes)
    assert found[HOUR + 120_000]["energy_joules_total_increase"] == 8.0
    assert "energy_joules_total_last" not in found[HOUR + 60_000]


def test_an_agent_of_long_intervals_speaks_for_its_whole_interval(database: Database) -> None:
    flush(
        database, minute_chunks([7], np.array([HOUR]), np.array([[4]]), None, None, [[70]], 30_000)
    )
    assert rows(database, minutes)[HOUR]["throttle_reasons_active_seconds"] == 30.0


def test_a_subject_without_such_metrics_has_no_rows(database: Database) -> None:
    flush(database, minute_chunks([7], np.array([HOUR]), np.array([[4]]), None, None, [[200]]))
    assert rows(database, minutes) == {}
    assert len(spans(database)) == 1


def test_absurd_values_and_ticks_of_a_hostile_agent_are_written_like_others(
    database: Database,
) -> None:
    ticks = HOUR + np.arange(50_000)
    edges = np.array([-(1 << 63), (1 << 63) - 1])
    values = np.tile(np.resize(edges, (50_000, 1)), (1, len(IDS) + 1))
    flush(database, minute_chunks([7], ticks, values, None, None, [[*IDS, 31]]))
    assert rows(database, minutes)[HOUR]["n"] == 50_000
    while merge_some(database, LATER):
        pass
    assert rows(database, hours)[HOUR]["n"] == 50_000


def test_subjects_of_a_node_are_summarised_apart() -> None:
    values = np.array([[10, 1, 20], [30, 2, 40]], np.int64)
    taken = np.array([[True, False, True], [True, False, False]])
    first, second, third = summarise_node(values, None, taken, [[20], [23], [20]], 1000)
    assert first is not None
    assert third is not None
    place = ROLLUPS.index(BY_NAME["temperature_celsius"])
    assert second is None
    assert (first.n, third.n) == (2, 1)
    assert (first.counts[place], third.counts[place]) == (2, 1)
    assert np.nanmax(first.numbers) == 30
    assert np.nanmax(third.numbers) == 20
