"""The fleet and its groups over time, and who is at the top: as numpy says of the samples."""

from __future__ import annotations

import numpy as np
import pytest

from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import HistoryError
from gpufleet.hub.store.grid import minute_chunks
from gpufleet.hub.store.groups import By, query_groups, query_top
from gpufleet.hub.store.merge import merge_some
from gpufleet.hub.store.registry import NodeFacts, SubjectFacts, register_nodes, register_subjects
from gpufleet.hub.store.tables import HOUR_MS, MINUTE_MS
from gpufleet.proto.catalog import BY_NAME
from support.stored import HOUR, flush

POWER, ENERGY = BY_NAME["power_watts"], BY_NAME["energy_joules_total"]
THROTTLE = BY_NAME["throttle_reasons"]
TICKS = HOUR + 30_000 * np.arange(3 * 120)
END = HOUR + 3 * HOUR_MS


def watts(gpu: int) -> np.ndarray:
    """Milliwatts of a GPU at TICKS."""
    return np.random.default_rng(gpu).integers(100_000, 700_000, len(TICKS))


@pytest.fixture
def fleet(database: Database) -> Database:
    """Four GPUs of two models in three nodes, of which two have a rack."""
    with database.writing() as connection:
        records = register_nodes(
            connection,
            [NodeFacts("n1", {"rack": "4"}), NodeFacts("n2", {"rack": "4"}), NodeFacts("n3")],
            HOUR,
        )
        ids = [record.id for record in records]
        facts = [
            SubjectFacts("gpu", f"GPU-{number}", ids[node], 0, model)
            for number, (node, model) in enumerate(
                [(0, "H100"), (0, "A100"), (1, "H100"), (2, "A100")]
            )
        ]
        subjects = register_subjects(connection, facts, HOUR)
    for number, subject in enumerate(subjects):
        power = watts(number)
        values = np.stack((power, np.cumsum(power) * 30, (power > 400_000) * 4), axis=1)
        layout = [[POWER.id, ENERGY.id, THROTTLE.id]]
        flush(database, minute_chunks([subject.id], TICKS, values, None, None, layout, 30_000))
    return database


def means(gpus: list[int], width: int) -> list[float]:
    per_bucket = width // 30_000
    every = np.stack([watts(gpu) for gpu in gpus]).reshape(len(gpus), -1, per_bucket)
    return (every.mean(axis=(0, 2)) / 1000).tolist()


@pytest.mark.parametrize("merged", [False, True])
def test_the_fleet_over_time_is_what_numpy_says(fleet: Database, merged: bool) -> None:
    while merged and merge_some(fleet, END):  # the last hour is still waiting
        pass
    for points, width in ((18, 10 * MINUTE_MS), (3, HOUR_MS)):
        groups = query_groups(fleet, POWER, By.FLEET, HOUR, END, points)
        (series,) = groups.series
        assert series.group is None
        assert groups.step_ms == width
        assert series.columns["avg"].tolist() == pytest.approx(means([0, 1, 2, 3], width))
        assert series.columns["sum"].tolist() == pytest.approx(
            [4 * mean for mean in means([0, 1, 2, 3], width)]
        )
        assert series.subjects.tolist() == [4] * len(groups.times_ms)
        assert series.n.tolist() == [4 * width // 30_000] * len(groups.times_ms)
        assert series.columns["max"].max() == max(watts(gpu).max() for gpu in range(4)) / 1000


def test_hours_and_the_minutes_after_them_answer_long_ranges(fleet: Database) -> None:
    while merge_some(fleet, END):
        pass
    start = END - 20 * 24 * HOUR_MS
    groups = query_groups(fleet, POWER, By.FLEET, start, END, 480)
    (series,) = groups.series
    assert groups.step_ms == HOUR_MS
    assert series.columns["avg"][-3:].tolist() == pytest.approx(means([0, 1, 2, 3], HOUR_MS))
    assert np.isnan(series.columns["avg"][:-3]).all()
    assert series.n.sum() == 4 * len(TICKS)


@pytest.mark.parametrize(
    ("by", "label", "expected"),
    [
        (By.NODE, "", {"n1": [0, 1], "n2": [2], "n3": [3]}),
        (By.MODEL, "", {"A100": [1, 3], "H100": [0, 2]}),
        (By.LABEL, "rack", {"4": [0, 1, 2], None: [3]}),
        (By.GPU, "", {"GPU-0": [0], "GPU-1": [1], "GPU-2": [2], "GPU-3": [3]}),
    ],
)
def test_groups_are_told_apart(
    fleet: Database, by: By, label: str, expected: dict[str | None, list[int]]
) -> None:
    groups = query_groups(fleet, POWER, by, HOUR, END, 3, label=label)
    found = {series.group: series.columns["avg"].tolist() for series in groups.series}
    assert list(found) == list(expected)
    for group, gpus in expected.items():
        assert found[group] == pytest.approx(means(gpus, HOUR_MS))


def test_counters_and_bits_are_summed_up(fleet: Database) -> None:
    groups = query_groups(fleet, ENERGY, By.MODEL, HOUR, END, 1)
    grown = [sum(watts(gpu)[1:].sum() * 30 for gpu in gpus) / 1000 for gpus in ([1, 3], [0, 2])]
    assert [s.columns["increase"].sum() for s in groups.series] == pytest.approx(grown)
    (throttled,) = query_groups(fleet, THROTTLE, By.FLEET, HOUR, END, 1).series
    active = sum((watts(gpu) > 400_000).sum() * 30 for gpu in range(4))
    assert throttled.columns["active_seconds"].sum() == active


def test_some_gpus_alone_can_be_asked_for(fleet: Database) -> None:
    (first, *_) = query_top(fleet, POWER, "max", HOUR, END, 4)
    everyone = query_groups(fleet, POWER, By.GPU, HOUR, END, 3)
    assert len(everyone.series) == 4
    none = query_groups(fleet, POWER, By.GPU, HOUR, END, 3, subject_ids=[])
    assert none.series == ()
    assert first.value == max(watts(gpu).max() for gpu in range(4)) / 1000


def test_the_top_is_in_order(fleet: Database) -> None:
    right = sorted(range(4), key=lambda gpu: -watts(gpu).mean())
    top = query_top(fleet, POWER, "avg", HOUR, END, 3)
    assert [entry.group for entry in top] == [f"GPU-{gpu}" for gpu in right[:3]]
    assert top[0].value == pytest.approx(watts(right[0]).mean() / 1000)
    low = query_top(fleet, POWER, "avg", HOUR, END, 1, lowest=True)
    assert low[0].group == f"GPU-{right[-1]}"
    nodes = query_top(fleet, ENERGY, "increase", HOUR, END, 10, by=By.NODE)
    assert nodes[0].group == "n1"
    assert nodes[0].subjects == 2


@pytest.mark.parametrize(
    ("metric", "column", "limit", "by", "label", "sentence"),
    [
        ("pcie_link_width", "max", 1, By.GPU, "", "pcie_link_width is not summed up over time"),
        ("power_watts", "increase", 1, By.GPU, "", "power_watts has avg, min, max, sum, not"),
        ("power_watts", "avg", 0, By.GPU, "", "limit must be between 1 and 1000, not 0"),
        ("power_watts", "avg", 1, By.LABEL, "", "Name the label to group by"),
        ("power_watts", "avg", 1, By.NODE, "rack", "only with group_by=label"),
    ],
)
def test_a_question_without_an_answer_is_refused_with_a_sentence(
    database: Database, metric: str, column: str, limit: int, by: By, label: str, sentence: str
) -> None:
    with pytest.raises(HistoryError, match=sentence):
        query_top(database, BY_NAME[metric], column, HOUR, END, limit, by=by, label=label)
