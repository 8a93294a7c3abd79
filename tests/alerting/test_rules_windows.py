"""Windows equal a plain reckoning over the samples that they hold, whatever is missing."""

from __future__ import annotations

import math
from statistics import fmean, pstdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.alerting.engine.engine import Engine
from gpufleet.alerting.engine.running import Subject
from gpufleet.alerting.rules.file import MAX_WINDOWS, RulesError, read_rules
from gpufleet.alerting.rules.tree import Reduction
from gpufleet.alerting.rules.windows import BINS, Bins
from gpufleet.alerting.state import Kind, Scope
from gpufleet.hub.alert_names import alert_schema

SCHEMA = alert_schema()
SECOND = 1000
WINDOW = BINS * SECOND
START = 1_700_000_000

Sample = tuple[int, float | None]
"""Seconds after the one before, and the value; ``None``: absent."""
steps = st.lists(
    st.tuples(st.integers(1, 40), st.none() | st.floats(-1e6, 1e6, width=32)),
    min_size=1,
    max_size=80,
)


def _plain(samples: list[Sample], reduction: Reduction) -> float | None:
    """Over the seconds of the window and the one that is being filled."""
    newest = samples[-1][0]
    held = [v for at, v in samples if at > newest - BINS - 1 and v is not None]
    if len(held) * 2 * SECOND < WINDOW:
        return None
    match reduction:
        case Reduction.AVG:
            return fmean(held)
        case Reduction.MIN:
            return min(held)
        case Reduction.MAX:
            return max(held)
        case Reduction.STDDEV:
            return pstdev(held)
        case Reduction.DELTA:
            return held[-1] - held[0]


@given(
    st.lists(st.tuples(st.integers(1, 2), st.none() | st.floats(-1e4, 1e4, width=32)), max_size=150)
)
def test_every_reduction_equals_a_plain_reckoning(given_steps: list[Sample]) -> None:
    bins = Bins(WINDOW, 3)
    slot, second = np.array([1]), np.full(3, SECOND)
    at, samples = START, list[Sample]()
    for step, value in given_steps:
        at += step
        samples.append((at, value))
        known = np.array([math.nan if value is None else value])
        bins.feed(slot, np.array([at * SECOND]), known)
        for reduction in Reduction:
            (got,) = bins.read(slot, reduction, second)
            wanted = _plain(samples, reduction)
            assert math.isnan(got) if wanted is None else got == pytest.approx(wanted, abs=1e-2)
    assert np.isnan(bins.read(np.array([0, 2]), Reduction.AVG, second)).all()


@given(steps)
def test_a_counter_grows_by_what_it_rose_and_a_reset_begins_anew(given_steps: list[Sample]) -> None:
    bins = Bins(WINDOW, 1, counter=True)
    slot, interval = np.array([0]), np.array([WINDOW])  # one sample covers it
    at, before = START, None
    grown: list[tuple[int, float]] = []
    for step, value in given_steps:
        at += step
        bins.feed(slot, np.array([at * SECOND]), np.array([math.nan if value is None else value]))
        if value is not None:
            grown.append((at, max(0.0, value - before) if before is not None else 0.0))
            before = value
        held = [rise for when, rise in grown if when > at - BINS - 1]
        (got,) = bins.read(slot, Reduction.DELTA, interval)
        assert got == pytest.approx(sum(held), abs=1e-3) if held else math.isnan(got)


def test_a_clock_that_was_set_back_forgets_what_lies_in_the_future() -> None:
    bins = Bins(WINDOW, 1)
    slot, second = np.array([0]), np.full(1, SECOND)
    for at in range(60):
        bins.feed(slot, np.array([(START + at) * SECOND]), np.array([100.0]))
    for at in range(40):
        bins.feed(slot, np.array([(START - 3600 + at) * SECOND]), np.array([1.0]))
    assert bins.read(slot, Reduction.MAX, second) == [1.0]


def _engine(expr: str, *subjects: Subject) -> Engine:
    rule = f"{{alert: A, scope: {subjects[-1].kind.value}, expr: '{expr}'}}"
    text = f"groups: [{{name: g, rules: [{rule}]}}]"
    engine = Engine(read_rules(text, SCHEMA, "rules.yml"), SCHEMA, 8)
    for slot, subject in enumerate(subjects):
        engine.set_subject(slot, subject)
    return engine


def test_a_window_of_what_only_the_hub_knows_moves_with_the_hubs_clock() -> None:
    gpu = Subject(Scope.GPU, "GPU-a", "n", interval_ms=10_000)
    engine = _engine("avg(health, 60s) >= 1.5 and share(health >= 2, 60s) > 0.5", gpu)
    values = np.full((len(SCHEMA.metrics), 8), np.nan)
    health, fired = SCHEMA.metrics["health"].row, []
    for second in range(100):
        values[health, 0] = 0 if second < 40 else 2
        fired += [(one.kind, second) for one in engine.step_hub((START + second) * SECOND, values)]
    # 46 of 61 seconds at 2 make an average of 1.5.
    assert fired == [(Kind.FIRED, 85)]


def test_of_a_node_whose_gpus_tell_nothing_no_count_is_known() -> None:
    gpu = Subject(Scope.GPU, "GPU-a", "n", node_slot=1)
    engine = _engine(
        "count_gpus(temperature_celsius > 80) == 0", gpu, Subject(Scope.NODE, "n", "n")
    )
    values = np.full((len(SCHEMA.metrics), 8), np.nan)
    assert engine.step_hub(START * SECOND, values) == []
    values[SCHEMA.metrics["temperature_celsius"].row, 0] = 60
    (fired,) = engine.step_hub(START * SECOND + SECOND, values)
    assert fired.slot == 1


def test_a_file_has_so_many_windows_that_a_fleet_can_hold_them() -> None:
    def text(count: int) -> str:
        exprs = [
            f"{{alert: A{i}, expr: 'max(power_watts, {i + 5}m) - min(power_watts, {i + 5}m) > 9'}}"
            for i in range(count)
        ]
        return f"groups: [{{name: g, rules: [{', '.join(exprs)}]}}]"

    rules = read_rules(text(MAX_WINDOWS), SCHEMA, "rules.yml")
    assert len(Engine(rules, SCHEMA, 8).world.bins) == MAX_WINDOWS  # max and min share theirs
    with pytest.raises(
        RulesError, match=f"expr: A file has at most {MAX_WINDOWS} different windows"
    ):
        read_rules(text(MAX_WINDOWS + 1), SCHEMA, "rules.yml")
