"""Fault transitions and their events."""

from gpufleet.agent.faults.subjects import FLAP_EVENTS, FLAP_WINDOW_MS, Faults
from gpufleet.agent.model import Fault, FaultState

GPU = ("gpu", "a")
LOST = Fault(FaultState.LOST, "GPU is lost.", 15)
ERROR = Fault(FaultState.ERROR, "Unknown error.", 999)


def test_a_fault_keeps_the_time_at_which_it_began() -> None:
    faults = Faults()
    faults.update(1000, {GPU: LOST})
    assert faults.update(2000, {GPU: LOST}) == []
    assert [standing.since_ms for standing in faults.standing()] == [1000]


def test_another_state_is_another_event_with_its_severity() -> None:
    faults = Faults()
    (error,) = faults.update(1000, {GPU: ERROR})
    (lost,) = faults.update(2000, {GPU: LOST})
    assert (error.kind, error.severity) == ("gpu_error", "warning")
    assert (lost.kind, lost.severity, lost.code) == ("gpu_lost", "critical", 15)


def test_a_subject_not_looked_at_stays_as_it_was() -> None:
    faults = Faults()
    faults.update(1000, {GPU: LOST})
    assert faults.update(2000, {}) == []
    assert len(faults.standing()) == 1


def test_recovery_says_how_long_it_took() -> None:
    faults = Faults()
    faults.update(1000, {GPU: LOST})
    (event,) = faults.update(8000, {GPU: None})
    assert (event.kind, event.message) == (
        "gpu_recovered",
        "It can be read again after 7 s (lost).",
    )


def test_a_flapping_subject_does_not_flood_the_hub_and_says_what_was_left_out() -> None:
    faults = Faults()
    events = []
    for second in range(100):
        events += faults.update(second * 1000, {GPU: ERROR if second % 2 == 0 else None})
    assert len(events) == 2 * FLAP_EVENTS
    (later,) = faults.update(100_000 + FLAP_WINDOW_MS, {GPU: ERROR})
    assert later.data_json == '{"left_out": 44}'
