"""History: the same as numpy on the same buckets, stored or not yet stored."""

from __future__ import annotations

import numpy as np
import pytest

from gpufleet.hub.store.chunk import Chunk, Column
from gpufleet.hub.store.codec import EncodedChunk
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import HistoryError
from gpufleet.hub.store.grid import SubjectSamples, minute_chunks
from gpufleet.hub.store.history import MAX_POINTS, Request, query_history
from gpufleet.hub.store.merge import merge_some
from gpufleet.hub.store.samples import read_samples
from gpufleet.hub.store.tables import HOUR_MS
from gpufleet.proto.catalog import BY_NAME
from support.stored import HOUR, flush, minutes, stored

POWER = BY_NAME["power_watts"]
ENERGY = BY_NAME["energy_joules_total"]
TEMPERATURE = BY_NAME["temperature_celsius"]
USED_RATIO = BY_NAME["memory_used_ratio"]
DAY = 86_400_000


def test_a_day_at_one_second_equals_numpy_on_the_same_buckets(database: Database) -> None:
    rng = np.random.default_rng(7)
    ticks = HOUR + 1000 * np.arange(86_400)
    ticks = ticks[rng.random(len(ticks)) > 0.01]
    power = rng.integers(60_000, 700_000, len(ticks))
    energy = np.cumsum(power)
    energy[50_000:] -= energy[50_000]
    present = rng.random((len(ticks), 2)) > 0.2
    values = np.stack((power, energy), axis=1)
    flush(database, minute_chunks([7], ticks, values, present, None, [[POWER.id, ENERGY.id]]))
    while merge_some(database, HOUR + 22 * HOUR_MS):
        pass

    requests = [Request(7, POWER), Request(7, ENERGY)]
    answer = query_history(database, requests, HOUR, HOUR + DAY, 500)

    assert answer.step_ms == 300_000
    assert not answer.raw
    watts, joules = (series.points for series in answer.series)
    assert watts.times_ms.tolist() == list(range(HOUR, HOUR + DAY, 300_000))
    gains = np.diff(energy[present[:, 1]], prepend=energy[present[:, 1]][0])
    gains[gains < 0] = 0
    for row, start in enumerate(watts.times_ms.tolist()):
        inside = (ticks >= start) & (ticks < start + 300_000)
        raw = power[inside & present[:, 0]]
        assert watts.n[row] == len(raw)
        assert watts.columns["avg"][row] == pytest.approx(raw.mean() / 1000, rel=1e-12)
        assert watts.columns["min"][row] == raw.min() / 1000
        assert watts.columns["max"][row] == raw.max() / 1000
        counted = inside[present[:, 1]]
        assert joules.columns["last"][row] == energy[present[:, 1]][counted][-1] / 1000
        assert joules.columns["increase"][row] == pytest.approx(gains[counted].sum() / 1000)


def test_samples_that_fit_come_as_they_are(database: Database) -> None:
    seconds = [0, 1, 2, 61, 3600]
    flush(database, minutes(7, [HOUR + 1000 * second for second in seconds]))
    answer = query_history(database, [Request(7, TEMPERATURE)], HOUR, HOUR + DAY, 5)
    points = answer.series[0].points
    assert answer.raw
    assert answer.step_ms == 1000
    assert points.times_ms.tolist() == [HOUR + 1000 * second for second in seconds]
    assert points.n.tolist() == [1] * 5
    assert points.columns["avg"].tolist() == stored(database, 7).columns[20].values.tolist()
    assert not query_history(database, [Request(7, TEMPERATURE)], HOUR, HOUR + DAY, 4).raw


def test_a_range_holds_its_start_and_not_its_end(database: Database) -> None:
    flush(database, minutes(7, [HOUR + 1000 * second for second in range(10)]))
    answer = query_history(database, [Request(7, TEMPERATURE)], HOUR + 2000, HOUR + 5000, 100)
    assert answer.series[0].points.times_ms.tolist() == [HOUR + 2000, HOUR + 3000, HOUR + 4000]


def test_what_is_not_stored_yet_is_shown_and_never_counted_twice(database: Database) -> None:
    flush(database, minutes(7, [HOUR, HOUR + 1000]))
    ticks = np.array([HOUR + 1000, HOUR + 2000])
    tail = {
        7: Chunk(ticks, {20: Column(np.array([999, 55])), 23: Column(np.array([1, 1]))}),
        8: Chunk(ticks, {20: Column(np.array([1, 1]))}),
    }
    answer = query_history(database, [Request(7, TEMPERATURE)], HOUR, HOUR + 60_000, 100, tail)
    points = answer.series[0].points
    assert points.times_ms.tolist() == [HOUR, HOUR + 1000, HOUR + 2000]
    stored_values = stored(database, 7).columns[20].values.tolist()
    assert points.columns["avg"].tolist() == [*stored_values, 55.0]


def test_memory_used_ratio_is_made_of_used_and_total_at_each_tick(database: Database) -> None:
    ticks = HOUR + 1000 * np.arange(4)
    values = np.array([[20, 80], [40, 80], [40, 0], [40, 80]])
    present = np.array([[True, True], [True, True], [True, True], [False, True]])
    flush(database, minute_chunks([7], ticks, values, present, None, [[10, 13]]))
    points = (
        query_history(database, [Request(7, USED_RATIO)], HOUR, HOUR + 60_000, 100).series[0].points
    )
    assert points.n.tolist() == [1, 1, 0, 0]
    assert points.columns["avg"][:2].tolist() == [0.25, 0.5]
    assert np.isnan(points.columns["avg"][2:]).all()


def test_a_metric_that_was_never_read_has_points_without_values(database: Database) -> None:
    flush(database, minutes(7, [HOUR, HOUR + 1000]))
    points = query_history(database, [Request(7, POWER)], HOUR, HOUR + 60_000, 100).series[0].points
    assert points.n.tolist() == [0, 0]
    assert np.isnan(points.columns["avg"]).all()


def test_a_subject_without_samples_has_an_empty_series(database: Database) -> None:
    answer = query_history(database, [Request(99, POWER)], HOUR, HOUR + DAY, 500)
    assert answer.series[0].points.times_ms.tolist() == []


def test_all_series_of_a_question_share_one_width(database: Database) -> None:
    flush(database, minutes(7, [HOUR + 1000 * n for n in range(600)]))
    flush(database, minutes(8, [HOUR + 15_000 * n for n in range(40)]))
    requests = [Request(7, TEMPERATURE), Request(8, TEMPERATURE)]
    answer = query_history(database, requests, HOUR, HOUR + 600_000, 300)
    assert answer.step_ms == 15_000
    assert [series.points.n.tolist() for series in answer.series] == [[15] * 40, [1] * 40]


def test_a_damaged_chunk_is_left_out_and_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    flush(database, [SubjectSamples(7, HOUR, EncodedChunk(b"rubbish", 60))])
    flush(database, minutes(7, [HOUR + 60_000]))
    answer = query_history(database, [Request(7, TEMPERATURE)], HOUR, HOUR + DAY, 500)
    assert answer.series[0].points.times_ms.tolist() == [HOUR + 60_000]
    assert "stored chunk unreadable subject_id=7" in caplog.text


def test_exact_samples_can_be_read_for_chosen_metrics(database: Database) -> None:
    ticks = HOUR + 1000 * np.arange(120)
    values = np.stack((np.arange(120), -np.arange(120)), axis=1)
    flush(database, minute_chunks([7], ticks, values, None, None, [[20, 21]]))
    with database.reading() as connection:
        chunk = read_samples(connection, 7, HOUR + 30_000, HOUR + 90_000, [21])
    assert chunk.ticks.tolist() == ticks[30:90].tolist()
    assert list(chunk.columns) == [21]
    assert chunk.columns[21].values.tolist() == [-n for n in range(30, 90)]


@pytest.mark.parametrize(
    ("start", "end", "points", "sentence"),
    [
        (HOUR, HOUR, 100, "The range is empty"),
        (HOUR, HOUR - 1, 100, "The range is empty"),
        (-1, HOUR, 100, "must lie between the years"),
        (HOUR, 10**18, 100, "must lie between the years"),
        (HOUR - 801 * DAY, HOUR, 100, "longer than 800 days"),
        (HOUR, HOUR + DAY, 0, f"points must be between 1 and {MAX_POINTS}, not 0"),
        (HOUR, HOUR + DAY, MAX_POINTS + 1, "points must be between"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused_with_a_sentence(
    database: Database, start: int, end: int, points: int, sentence: str
) -> None:
    with pytest.raises(HistoryError, match=sentence) as refusal:
        query_history(database, [Request(7, POWER)], start, end, points)
    assert isinstance(refusal.value, ValueError)
