"""The vectorised detector of power steps is the plain one, and a restart changes nothing of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.alerting.power.latch import Memory
from gpufleet.alerting.power.steps import HISTORY_MS, PowerSteps
from support.slow_steps import SlowSteps

START_MS = 1_763_900_000_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some time of a GPU that does one thing; what happens at its start."""

    seconds: int
    power: float | None
    utilization: float | None
    wobble: float
    event: str


def _mostly(usual: list[float], seldom: float | None) -> st.SearchStrategy[float | None]:
    return st.sampled_from([*usual * 3, seldom])


STRETCHES = st.lists(
    st.builds(
        Stretch,
        seconds=st.sampled_from([20, 45, 70, 130, 300, 420]),
        power=_mostly([0.2, 0.5, 0.8, 0.9], None),
        utilization=_mostly([0.9, 0.9, 0.97, 0.9, 0.5], None),
        wobble=st.sampled_from([0.0, 0.0, 0.03, 0.2]),
        event=st.sampled_from([*[""] * 14, "processes", "limit", "gap", "back", "trim"]),
    ),
    min_size=3,
    max_size=9,
)
INTERVALS = st.sampled_from([2, 5, 10, 15, 60])


@dataclass(frozen=True, slots=True)
class Sample:
    """What a GPU tells at one tick; NaN: absent. ``changed``: its processes just have."""

    tick: int
    power: float
    limit: float
    utilization: float
    changed: bool


def _trace(stretches: list[Stretch], interval: int) -> list[Sample]:
    tick, limit, turn = START_MS, 400.0, 0
    samples = []
    for stretch in stretches:
        changed = stretch.event == "processes"
        match stretch.event:
            case "limit":
                limit = 300.0 if limit == 400.0 else 400.0
            case "gap":
                tick += 200_000
            case "back":
                tick -= 90_000
            case "trim":
                tick -= 1_500
        for _ in range(max(1, stretch.seconds // interval)):
            turn += 1
            share = math.nan if stretch.power is None else stretch.power
            share += stretch.wobble * (turn // 7 % 3 - 1)
            used = math.nan if stretch.utilization is None else stretch.utilization
            samples.append(Sample(tick, share * limit, limit, used, changed))
            changed = False
            tick += interval * 1000
    return samples


def _feed(steps: PowerSteps, slot: int, interval: int, sample: Sample, again: bool = False) -> None:
    slots = np.array([slot])
    (steps.refill if again else steps.feed)(
        slots,
        np.array([sample.tick]),
        np.array([interval * 1000]),
        np.array([sample.power]),
        np.array([sample.limit]),
        np.array([sample.utilization]),
    )
    if sample.changed and not again:
        steps.note_changed(slots, np.array([sample.tick]))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(STRETCHES, INTERVALS), min_size=1, max_size=3))
def test_it_is_the_plain_rule_for_every_gpu(gpus: list[tuple[list[Stretch], int]]) -> None:
    traces = [_trace(stretches, interval) for stretches, interval in gpus]
    every = [interval * 1000 for _, interval in gpus]
    places = [3 * i + 8 for i in range(len(gpus))]
    plain = [SlowSteps(place, ms) for place, ms in zip(places, every, strict=True)]
    steps = PowerSteps(64)
    for turn in range(max(map(len, traces))):
        here = [i for i, trace in enumerate(traces) if turn < len(trace)]
        now = [traces[i][turn] for i in here]
        slots = np.array([places[i] for i in here])
        steps.feed(
            slots,
            np.array([s.tick for s in now]),
            np.array([every[i] for i in here]),
            np.array([s.power for s in now]),
            np.array([s.limit for s in now]),
            np.array([s.utilization for s in now]),
        )
        for i, sample in zip(here, now, strict=True):
            used = _number(sample.utilization)
            plain[i].feed(sample.tick, _number(sample.power), sample.limit, used)
            if sample.changed:
                plain[i].note_changed(sample.tick)
                steps.note_changed(np.array([places[i]]), np.array([sample.tick]))
        latched, flags = steps.latched(slots), steps.flags[slots]
        for place, (i, sample) in enumerate(zip(here, now, strict=True)):
            assert latched[place] == plain[i].latched
            known = plain[i].known and not math.isnan(sample.power)
            assert _number(flags[place]) == (float(plain[i].latched) if known else None)
            told = steps.step(places[i])
            if told is not None:
                assert told.since_ms == plain[i].since_ms
                assert told.before_watts == plain[i].before[0] * sample.limit


@settings(max_examples=40, deadline=None)
@given(STRETCHES, INTERVALS, st.floats(0.05, 0.95))
def test_stored_restored_and_refilled_it_goes_on_as_if_never_stopped(
    stretches: list[Stretch], interval: int, where: float
) -> None:
    stretches = [s for s in stretches if s.event not in ("back", "trim")] or stretches[:1]
    samples = _trace(stretches, interval)
    stop = int(where * len(samples))
    never, slot = PowerSteps(32), 17
    for sample in samples[:stop]:
        _feed(never, slot, interval, sample)
    memory = never.memory([slot]).get(slot)
    stored = None if memory is None else memory.to_json()
    again = PowerSteps(32)
    if stored is not None:
        again.restore(slot, Memory.from_json(stored))
    if stop:
        kept_from = samples[stop - 1].tick - HISTORY_MS
        for sample in samples[:stop]:
            if sample.tick >= kept_from:
                _feed(again, slot, interval, sample, again=True)
    assert again.latched(np.array([slot])) == never.latched(np.array([slot]))
    last = samples[stop - 1].tick if stop else 0
    for sample in samples[stop:]:
        _feed(never, slot, interval, sample)
        _feed(again, slot, interval, sample)
        assert again.latched(np.array([slot])) == never.latched(np.array([slot]))
        if sample.tick - last > 10_000:  # looked at again since
            np.testing.assert_array_equal(again.flags[slot], never.flags[slot])
            assert again.memory([slot]) == never.memory([slot])
            assert again.step(slot) == never.step(slot)
