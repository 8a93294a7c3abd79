from __future__ import annotations

from gpufleet.tui.sparks import Sparks, bridged


def test_a_bucket_shows_the_mean_of_its_values() -> None:
    sparks = Sparks(5.0)
    for time_ms, value in ((0, 0.2), (1000, 0.4), (5000, 1.0)):
        sparks.add("a", time_ms, value)
    assert list(sparks["a"]) == [0.30000000000000004, 1.0]


def test_a_time_without_values_is_a_hole_and_not_the_value_before() -> None:
    sparks = Sparks(5.0)
    sparks.add("a", 0, 0.5)
    sparks.add("a", 15_000, 0.7)
    assert list(sparks["a"]) == [0.5, None, None, 0.7]


def test_the_past_is_filled_in_and_values_that_are_there_stay() -> None:
    sparks = Sparks(5.0)
    sparks.add("a", 20_000, 0.9)
    assert sparks.wants("a", 20_000)
    sparks.fill("a", [(10_000, 0.1), (15_000, 0.2), (20_000, 0.3)])
    assert list(sparks["a"]) == [0.1, 0.2, 0.9]
    assert not sparks.wants("a", 20_000)
    sparks.add("a", 21_000, 0.1)
    assert sparks["a"][-1] == 0.5


def test_a_line_that_was_out_of_sight_wants_its_past_again() -> None:
    sparks = Sparks(5.0)
    sparks.fill("a", [(0, 0.1)])
    assert not sparks.wants("a", 5000)
    assert sparks.wants("a", 60_000)


def test_only_so_much_is_kept() -> None:
    sparks = Sparks(5.0, kept=3)
    for i in range(10):
        sparks.add("a", i * 5000, i / 10)
    assert list(sparks["a"]) == [0.7, 0.8, 0.9]
    sparks.keep(["b"])
    assert "a" not in sparks


def test_small_holes_are_bridged_and_large_ones_are_not() -> None:
    assert bridged([None, 1.0, None, 2.0]) == [None, 1.0, 1.0, 2.0]
    assert bridged([1.0, None, None, None, None, 2.0])[4] is None
