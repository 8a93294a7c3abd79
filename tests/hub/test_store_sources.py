"""History from minutes and hours: the same points as from the samples."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import delete, insert

from gpufleet.hub.store.buckets import Points, Values, buckets
from gpufleet.hub.store.chunk import Chunk, Column
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.grid import minute_chunks
from gpufleet.hub.store.history import Request, query_history
from gpufleet.hub.store.merge import merge_some
from gpufleet.hub.store.sources import Kept, Source, choose_source
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS, meta, samples
from gpufleet.proto.catalog import BY_NAME
from support.stored import HOUR, flush

DAY = 24 * HOUR_MS
NAMES = ("power_watts", "energy_joules_total", "throttle_reasons", "memory_used_ratio")
COLUMNS = (
    "power_watts",
    "energy_joules_total",
    "throttle_reasons",
    "memory_used_bytes",
    "memory_total_bytes",
    "performance_state",
)
IDS = [BY_NAME[name].id for name in COLUMNS]
STEP = 30_000
END = HOUR + 3 * DAY


def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    ticks = np.arange(HOUR, END, STEP)
    ticks = ticks[rng.random(len(ticks)) > 0.01]
    ticks = ticks[(ticks < HOUR + 5 * HOUR_MS) | (ticks > HOUR + 8 * HOUR_MS)]
    energy = np.cumsum(rng.integers(0, 5000, len(ticks)))
    energy[4000:] -= energy[4000]
    values = np.stack(
        (
            rng.integers(60_000, 700_000, len(ticks)),
            energy,
            (rng.random(len(ticks)) < 0.1) * 4,
            rng.integers(0, 1 << 36, len(ticks)),
            np.full(len(ticks), 1 << 36),
            rng.integers(0, 16, len(ticks)),
        ),
        axis=1,
    )
    return ticks, values, rng.random(values.shape) > 0.1


def from_samples(
    name: str, ticks: np.ndarray, values: np.ndarray, present: np.ndarray, start: int, width: int
) -> Points:
    if name == "memory_used_ratio":
        known = present[:, 3] & present[:, 4]
        return buckets(
            BY_NAME[name],
            Values(ticks, values[:, 3] / values[:, 4], known),
            start,
            END,
            width,
            STEP,
        )
    at = COLUMNS.index(name)
    column = Values(ticks, values[:, at], present[:, at])
    return buckets(BY_NAME[name], column, start, END, width, STEP)


def same(found: Points, right: Points) -> None:
    assert found.times_ms.tolist() == right.times_ms.tolist()
    assert found.n.tolist() == right.n.tolist()
    assert found.columns.keys() == right.columns.keys()
    for part, column in found.columns.items():
        expected = right.columns[part].astype(float)
        if part == "active_seconds":  # of nothing a row says nothing, a bucket of samples 0
            expected = np.where(right.n > 0, expected, np.nan)
        np.testing.assert_allclose(column.astype(float), expected, rtol=1e-9, atol=1e-6)


@pytest.fixture
def filled(database: Database) -> tuple[Database, dict[int, Chunk]]:
    """Three days, all stored but the last two minutes, of which one has been flushed in part."""
    ticks, values, present = made()
    stored = ticks < END - 90_000
    flush(
        database,
        minute_chunks([7], ticks[stored], values[stored], present[stored], None, [IDS], STEP),
    )
    while merge_some(database, END):
        pass
    late = ticks >= END - 150_000  # some of it is stored as well
    columns = {
        metric: Column(values[late, place], present[late, place])
        for place, metric in enumerate(IDS)
    }
    return database, {7: Chunk(ticks[late], columns)}


def test_rows_give_the_same_points_as_samples(
    filled: tuple[Database, dict[int, Chunk]],
) -> None:
    database, tail = filled
    requests = [Request(7, BY_NAME[name]) for name in (*NAMES, "performance_state")]
    ticks, values, present = made()
    for days, points, width in (
        (3, 500, 10 * MINUTE_MS),
        (10, 241, HOUR_MS),
        (10, 41, 6 * HOUR_MS),
    ):
        start = END - days * DAY
        answer = query_history(database, requests, start, END, points, tail)
        assert answer.step_ms == width
        for request, series in zip(requests, answer.series, strict=True):
            right = from_samples(request.metric.name, ticks, values, present, start, width)
            if request.metric.name == "performance_state":  # has no rows: of samples as well
                assert series.points.n.tolist() == right.n.tolist()
            else:
                same(series.points, right)


def test_what_samples_no_longer_tell_is_read_from_minutes(
    filled: tuple[Database, dict[int, Chunk]],
) -> None:
    database, _ = filled
    with database.writing() as connection:
        connection.execute(delete(samples))
        connection.execute(insert(meta).values(name="samples_from", value=str(END)))
    start = HOUR + DAY
    answer = query_history(
        database, [Request(7, BY_NAME["power_watts"])], start, start + HOUR_MS, 500
    )
    assert answer.step_ms == MINUTE_MS
    assert answer.series[0].points.n.sum() > 80


def test_a_subject_without_rows_has_empty_points(database: Database) -> None:
    answer = query_history(database, [Request(9, BY_NAME["power_watts"])], HOUR, END, 100)
    points = answer.series[0].points
    assert points.n.sum() == 0
    assert np.isnan(points.columns["avg"]).all()


@pytest.mark.parametrize(
    ("hours", "points", "kept", "source"),
    [
        (1, 500, Kept(), Source.SAMPLES),
        (24, 10, Kept(), Source.SAMPLES),
        (25, 500, Kept(), Source.MINUTES),
        (48, 6000, Kept(), Source.SAMPLES),
        (7 * 24, 100, Kept(), Source.MINUTES),
        (15 * 24, 1000, Kept(), Source.MINUTES),
        (15 * 24, 300, Kept(), Source.HOURS),
        (2 * 365 * 24, 500, Kept(), Source.HOURS),
        (1, 500, Kept(samples_from_ms=1), Source.MINUTES),
        (1, 500, Kept(samples_from_ms=1, minutes_from_ms=1), Source.HOURS),
    ],
)
def test_the_source_follows_the_range_and_what_is_kept(
    hours: int, points: int, kept: Kept, source: Source
) -> None:
    assert choose_source(0, hours * HOUR_MS, points, kept) is source
