"""What a question would read is bounded: the next source answers, or a sentence says why not."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import HistoryError
from gpufleet.hub.store.history_cost import MAX_VALUES, affordable_source
from gpufleet.hub.store.registry import SubjectFacts, register_subjects
from gpufleet.hub.store.rollup import ROLLUPS
from gpufleet.hub.store.sources import Source
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS, meta, minutes, samples
from gpufleet.proto.catalog import BY_NAME, Metric
from support.stored import HOUR
from support.stored_hub import StoredFleet, stored_hub

DAY = 24 * HOUR_MS
POWER = BY_NAME["power_watts"]
PLAIN = BY_NAME["clock_memory_hertz"]


def _counted(database: Database, subject_id: int, count: int) -> None:
    """A chunk that says it has so many samples; nothing here reads it."""
    with database.writing() as connection:
        row = {"subject_id": subject_id, "start": HOUR, "span_ms": HOUR_MS}
        connection.execute(insert(samples), row | {"count": count, "data": b""})


def _source(database: Database, *asked: tuple[int, Metric], days: int = 1) -> Source:
    with database.reading() as connection:
        return affordable_source(connection, asked, HOUR, HOUR + days * DAY, 500)


def test_more_samples_than_one_question_may_read_are_left_to_minutes(database: Database) -> None:
    _counted(database, 7, MAX_VALUES // 2)
    _counted(database, 8, MAX_VALUES // 2)
    temperature = BY_NAME["temperature_celsius"]
    assert _source(database, (7, POWER), (7, temperature)) is Source.SAMPLES
    assert _source(database, (7, POWER), (8, POWER)) is Source.SAMPLES
    assert _source(database, (7, POWER), (7, temperature), (8, POWER)) is Source.MINUTES
    with database.writing() as connection:
        connection.execute(insert(meta), {"name": "minutes_from", "value": str(HOUR + DAY)})
    assert _source(database, (7, POWER), (7, temperature), (8, POWER)) is Source.HOURS


def test_metrics_that_only_samples_have_are_refused_when_they_are_too_many(
    database: Database,
) -> None:
    _counted(database, 7, MAX_VALUES + 1)
    with pytest.raises(HistoryError, match=r"would read 10.0 million stored .*; ask for a shorter"):
        _source(database, (7, PLAIN))
    assert _source(database, (7, POWER), (8, PLAIN)) is Source.MINUTES


def test_more_minutes_than_one_question_may_read_are_left_to_hours(database: Database) -> None:
    with database.writing() as connection:
        facts = [SubjectFacts("gpu", f"GPU-{n}", 1) for n in range(300)]
        ids = [record.id for record in register_subjects(connection, facts, HOUR)]
        counts = {f"{metric.name}_n": 0 for metric in ROLLUPS}
        rows = [
            {"subject_id": subject_id, "start": start, "n": 0, **counts}
            for subject_id in ids
            for start in (HOUR, HOUR + 7 * DAY - MINUTE_MS)
        ]
        connection.execute(insert(minutes), rows)
    asked = [(subject_id, POWER) for subject_id in ids]
    assert _source(database, *asked[:200], days=7) is Source.MINUTES
    assert _source(database, *asked, days=7) is Source.HOURS


def test_a_question_that_is_too_much_is_a_bad_request(database: Database) -> None:
    fleet = StoredFleet(database)
    fleet.node("a", 1)
    _counted(database, fleet.ids["GPU-a-0"], 3 * MAX_VALUES)
    with stored_hub(fleet) as hub:
        for path in ("gpus/GPU-a-0/history?", "history?gpu=GPU-a-0&"):
            metric, end = PLAIN.name, HOUR // 1000 + 3600
            question = f"/api/v1/{path}metric={metric}&start={HOUR // 1000}&end={end}"
            assert "30.0 million stored values" in hub.sentence(question, 400)
