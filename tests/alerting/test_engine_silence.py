"""Silence and what is not known: never evidence, by samples' clock or by the hub's."""

from __future__ import annotations

import numpy as np
import pytest

from gpufleet.alerting.engine.engine import Engine
from gpufleet.alerting.engine.running import Subject
from gpufleet.alerting.rules.file import read_rules
from gpufleet.alerting.state import Kind, Scope, State
from gpufleet.hub.alert_names import alert_schema

SCHEMA = alert_schema()
SECOND = 1000
START = 1_700_000_000_000
GPU, NODE = 0, 1
TEMPERATURE, POWER, HEALTH, SKEW = (
    SCHEMA.metrics[name].row
    for name in ("temperature_celsius", "power_watts", "health", "clock_skew_seconds")
)


class Story:
    """One GPU of one node, and rules; seconds pass."""

    def __init__(self, *rules: str) -> None:
        text = f"groups: [{{name: g, rules: [{', '.join(f'{{{rule}}}' for rule in rules)}]}}]"
        self.engine = Engine(read_rules(text, SCHEMA, "rules.yml"), SCHEMA, 4)
        self.engine.set_subject(GPU, Subject(Scope.GPU, "GPU-a", "n", node_slot=NODE))
        self.engine.set_subject(NODE, Subject(Scope.NODE, "n", "n"))
        self.values = np.full((len(SCHEMA.metrics), 4), np.nan)
        self.second = 0
        self.heard = 0
        self.told: list[tuple[Kind, int]] = []

    def sample(self, temperature: float, second: int | None = None) -> None:
        """A sample of the GPU, now or late."""
        at = self.second if second is None else second
        self.values[[TEMPERATURE, POWER], GPU] = temperature
        found = self.engine.step_samples(
            np.array([GPU]), np.array([1]), np.array([START + at * SECOND]), self.values
        )
        self.heard = self.second
        self.told += [(one.kind, at) for one in found]

    def look(self, *, stale: bool = False, concluding: bool = True) -> None:
        """The hub's look, once a second."""
        now = START + self.second * SECOND
        self.engine.set_stale(np.array([stale, False, False, False]))
        found = self.engine.step_hub(now, self.values, concluding=concluding)
        if concluding:
            silent = np.array([(self.second - self.heard) * SECOND, 0, 0, 0])
            found += self.engine.silence(silent, now)
        self.told += [(one.kind, self.second) for one in found]
        self.second += 1

    def states(self) -> list[State]:
        return [standing.alert.state for _, _, standing in self.engine.standings()]


def test_what_a_silent_gpu_last_told_is_counted_no_more() -> None:
    story = Story(
        "alert: A, scope: node, for: 60s, expr: count_gpus(temperature_celsius > 80) >= 1",
        "alert: B, scope: node, for: 60s, expr: 'count_gpus(avg(power_watts, 9s) > 80) > 0'",
    )
    for _ in range(20):
        story.sample(90)
        story.look()
    assert story.states() == [State.PENDING] * 2
    for _ in range(200):
        story.look(stale=True)
    assert [kind for kind, _ in story.told if kind is Kind.FIRED] == []
    assert story.states() == []
    for _ in range(30):
        story.sample(90)
        story.look()
    assert story.states() == [State.PENDING] * 2, "it begins anew"


def test_what_was_pending_by_the_hubs_clock_begins_anew_after_an_hour_of_not_knowing() -> None:
    story = Story("alert: Skew, expr: clock_skew_seconds > 5, for: 1m, scope: node")
    story.values[SKEW, NODE] = 7
    for _ in range(10):
        story.look()
    assert story.states() == [State.PENDING]
    story.second += 3600  # a hub that was down looks at once, before it concludes anything
    for _ in range(60):
        story.look(concluding=False)
    assert story.told == [(Kind.PENDING, 0), (Kind.PENDING_LOST, 3610), (Kind.PENDING, 3610)]


def test_what_fired_by_the_hubs_clock_has_no_data_once_nothing_is_known_for_long() -> None:
    story = Story("alert: Ill, expr: health == 3")
    story.values[HEALTH, GPU] = 3
    story.look()
    story.values[HEALTH, GPU] = np.nan
    story.second += 3600
    for _ in range(50):  # just started: it is not known yet that nothing is known
        story.look(concluding=False)
    assert story.states() == [State.FIRING]
    story.look()
    assert story.states() == [State.NO_DATA]
    story.values[HEALTH, GPU] = 3
    story.look()
    assert [kind for kind, _ in story.told] == [Kind.FIRED, Kind.NO_DATA, Kind.RETURNED]


def test_a_firing_that_is_known_again_at_once_after_a_hubs_absence_never_had_no_data() -> None:
    story = Story("alert: Ill, expr: health == 3")
    story.values[HEALTH, GPU] = 3
    story.look()
    story.second += 3600
    story.look()
    assert [kind for kind, _ in story.told] == [Kind.FIRED]


def test_samples_that_were_kept_from_the_hub_count_as_if_they_had_come_in_time() -> None:
    story = Story("alert: Hot, expr: temperature_celsius > 80, for: 5m")
    for _ in range(280):
        story.sample(90)
        story.look()
    for _ in range(60):
        story.look()
    assert story.states() == [], "nothing is said to be pending of which nothing comes"
    for second in range(280, 341):
        story.sample(90, second)
    assert (Kind.FIRED, 301) in story.told
    assert Kind.PENDING_LOST not in [kind for kind, _ in story.told]


def test_missing_samples_reset_what_was_pending() -> None:
    story = Story("alert: Hot, expr: temperature_celsius > 80, for: 5m")
    for _ in range(280):
        story.sample(90)
        story.look()
    for _ in range(60):
        story.look()
    for _ in range(60):
        story.sample(90)
        story.look()
    assert Kind.FIRED not in [kind for kind, _ in story.told]


@pytest.mark.parametrize(("gap", "silent", "state"), [
    ("10s", 9, State.FIRING), ("10s", 12, State.NO_DATA),
    ("10m", 590, State.FIRING), ("10m", 605, State.NO_DATA),
])  # fmt: skip
def test_a_rules_own_gap_is_what_makes_silence_of_it(gap: str, silent: int, state: State) -> None:
    story = Story(f"alert: Hot, expr: temperature_celsius > 80, max_gap: {gap}")
    story.sample(90)
    for _ in range(silent):
        story.look()
    assert story.states() == [state]
