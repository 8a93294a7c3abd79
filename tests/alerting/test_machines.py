"""The vectorised state machines do what the readable one says, on any trace."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.alerting.engine.machine import OK, Alert, Observation, Timing, silence, step
from gpufleet.alerting.engine.machines import Machines
from gpufleet.alerting.state import Kind, State

SECOND = 1000
MINUTE = 60_000
HOT = Timing(for_ms=5 * MINUTE)
BAD, GOOD = Observation(True, False), Observation(False, True)
BETWEEN = Observation(False, False)


def _run(
    timing: Timing, *samples: tuple[int, Observation | None]
) -> tuple[Alert, list[tuple[int, Kind]]]:
    alert, found = OK, []
    for at, seen in samples:
        alert, kinds = step(timing, alert, seen, at)
        found += [(at, kind) for kind in kinds]
    return alert, found


def _steady(
    first: int, last: int, seen: Observation, every: int = 10 * SECOND
) -> list[tuple[int, Observation | None]]:
    return [(at, seen) for at in range(first, last + 1, every)]


def test_it_fires_once_the_condition_has_held_for_more_than_for() -> None:
    at = MINUTE
    alert, found = _run(HOT, *_steady(at, at + 5 * MINUTE, BAD))
    assert alert.state is State.PENDING, "five minutes are not more than five minutes"
    alert, found = _run(HOT, *_steady(at, at + 5 * MINUTE + 10 * SECOND, BAD))
    assert alert.state is State.FIRING
    assert alert.since_ms == at
    assert found == [(at, Kind.PENDING), (at + 5 * MINUTE + 10 * SECOND, Kind.FIRED)]


def test_inclusive_rules_fire_at_exactly_for() -> None:
    timing = Timing(for_ms=5 * MINUTE, for_inclusive=True)
    _, found = _run(timing, *_steady(MINUTE, 6 * MINUTE, BAD))
    assert found[-1] == (6 * MINUTE, Kind.FIRED)


def test_one_good_sample_resets_pending() -> None:
    alert, found = _run(HOT, *_steady(MINUTE, 5 * MINUTE, BAD), (301_000, GOOD), (302_000, BAD))
    assert [kind for _, kind in found] == [Kind.PENDING, Kind.CLEARED, Kind.PENDING]
    assert alert.since_ms == 302_000


def test_one_sample_and_then_silence_never_fires() -> None:
    alert, found = _run(HOT, (MINUTE, BAD), (10 * MINUTE, BAD))
    assert [kind for _, kind in found] == [Kind.PENDING, Kind.PENDING_LOST, Kind.PENDING]
    assert alert.since_ms == 10 * MINUTE, "time without samples is no evidence"


def test_an_absent_value_neither_satisfies_nor_resets() -> None:
    with_holes = [
        (at, None if at % (30 * SECOND) == 0 else BAD)
        for at in range(MINUTE + 1, 7 * MINUTE, 10 * SECOND)
    ]
    alert, found = _run(HOT, *with_holes)
    assert alert.state is State.FIRING
    assert [kind for _, kind in found] == [Kind.PENDING, Kind.FIRED]


def test_absent_values_for_longer_than_max_gap_are_a_gap() -> None:
    firing, _ = _run(Timing(), (MINUTE, BAD))
    alert, kinds = step(Timing(), firing, None, MINUTE + 46 * SECOND)
    assert alert.state is State.NO_DATA
    assert kinds == (Kind.NO_DATA,)


def test_a_gap_never_resolves_and_only_a_good_sample_does() -> None:
    firing, _ = _run(Timing(), (MINUTE, BAD))
    lost, kinds = silence(firing)
    assert (lost.state, kinds) == (State.NO_DATA, (Kind.NO_DATA,))
    again, kinds = step(Timing(), lost, BAD, 20 * MINUTE)
    assert (again.state, kinds) == (State.FIRING, (Kind.RETURNED,))
    assert again.since_ms == MINUTE, "it is the same incident"
    well, kinds = step(Timing(), lost, GOOD, 20 * MINUTE)
    assert (well.state, kinds) == (State.OK, (Kind.RESOLVED,))


def test_recovering_goes_back_to_firing_with_a_bad_sample_and_resolves_when_it_stays_good() -> None:
    timing = Timing(keep_firing_ms=MINUTE)
    _, found = _run(timing, (1000, BAD), (2000, GOOD), (3000, BAD), *_steady(4000, 64_000, GOOD))
    assert [kind for _, kind in found] == [
        *(Kind.FIRED, Kind.RECOVERING, Kind.RELAPSED, Kind.RECOVERING, Kind.RESOLVED)
    ]
    assert found[-1][0] == 64_000


def test_between_the_thresholds_a_firing_alert_stays() -> None:
    alert, found = _run(Timing(), (1000, BAD), (2000, BETWEEN))
    assert alert.state is State.FIRING
    assert [kind for _, kind in found] == [Kind.FIRED]


def test_samples_that_come_again_change_nothing() -> None:
    samples = _steady(MINUTE, 7 * MINUTE, BAD)
    once, _ = _run(HOT, *samples)
    again = once
    for at, seen in samples:
        again, kinds = step(HOT, again, seen, at)
        assert not kinds
    assert again == once


def test_a_clock_that_is_set_back_keeps_what_has_been_held() -> None:
    pending, _ = _run(HOT, *_steady(60 * MINUTE, 64 * MINUTE, BAD))
    alert = pending
    for at in range(MINUTE, 2 * MINUTE + 30 * SECOND, SECOND):
        alert, _ = step(HOT, alert, BAD, at, epoch=1)
    assert alert.state is State.FIRING
    assert alert.fired_ms - alert.since_ms == 5 * MINUTE + SECOND


observations = st.sampled_from([BAD, GOOD, BETWEEN, None])
samples = st.lists(
    st.tuples(
        st.sampled_from([1, 10, 44, 45, 46, 200, -30, 0]),
        observations,
        st.booleans(),
        st.booleans(),
    ),
    max_size=40,
)


@given(
    st.lists(samples, min_size=1, max_size=4),
    st.sampled_from([0, 20_000, 60_000]),
    st.booleans(),
    st.sampled_from([0, 15_000]),
)
def test_machines_do_what_the_readable_machine_says(
    traces: list[list[tuple[int, Observation | None, bool, bool]]],
    for_ms: int,
    inclusive: bool,
    keep_ms: int,
) -> None:
    timing = Timing(for_ms, inclusive, keep_ms)
    machines = Machines(timing, len(traces))
    alerts = [OK] * len(traces)
    times = [1_000_000] * len(traces)
    epochs = [1] * len(traces)
    for turn in range(max(map(len, traces))):
        here = [slot for slot, trace in enumerate(traces) if turn < len(trace)]
        told: list[tuple[int, Kind]] = []
        bad, good, known = [], [], []
        for slot in here:
            seconds, seen, new_epoch, silent = traces[slot][turn]
            times[slot] = max(1, times[slot] + seconds * SECOND)
            comes_again = seconds <= 0 and machines.kept[slot]  # of a calm slot it would be news
            epochs[slot] += new_epoch or (seconds <= 0 and not comes_again)
            if silent:
                alerts[slot], kinds = silence(alerts[slot])
                found = machines.silence(np.array([slot]), times[slot])
                assert [h.kind for h in found] == list(kinds)
            bad.append(seen is not None and seen.bad)
            good.append(seen is not None and seen.good)
            known.append(seen is not None)
            alerts[slot], kinds = step(timing, alerts[slot], seen, times[slot], epochs[slot])
            told += [(slot, kind) for kind in kinds]
        happened = machines.step(
            np.array(here),
            np.array([times[slot] for slot in here]),
            np.array([epochs[slot] for slot in here]),
            np.array(bad),
            np.array(good),
            np.array(known),
        )
        assert sorted((h.slot, h.kind.value) for h in happened) == sorted(
            (slot, kind.value) for slot, kind in told
        )
        for slot in here:
            if machines.kept[slot] or alerts[slot].state is not State.OK:
                assert machines.get(slot).state is alerts[slot].state
                assert machines.get(slot).since_ms == alerts[slot].since_ms
                assert machines.get(slot).fired_ms == alerts[slot].fired_ms
