"""What a tick of alerts does in Python does not grow with the fleet."""

from __future__ import annotations

from benches.alerts import Fleet, calls_a_tick, threshold_rules


def test_python_calls_of_a_calm_tick_do_not_grow_with_the_fleet() -> None:
    few, many = calls_a_tick(100), calls_a_tick(4000)
    assert few > 20, "the count counts something"
    assert many < 1.5 * few


def test_the_bench_s_fleet_fires_what_is_hot_and_nothing_else() -> None:
    fleet = Fleet(threshold_rules(), 80)
    fleet.heat(0.1)
    moved = [fleet.step() for _ in range(310)]
    assert moved[0] == 20 * 8, "all of the hot ones are pending at once"
    assert sum(moved) == 2 * 20 * 8
    standings = fleet.engine.standings()
    assert {slot for _, slot, _ in standings} == set(range(8))
