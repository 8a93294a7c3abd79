"""Ticks on wall-clock boundaries."""

from gpufleet.agent.ticks import Tick, Ticker


def test_the_first_tick_waits_for_the_next_boundary() -> None:
    ticker = Ticker(5000)
    assert ticker.delay_ms(12_001) == 2_999
    assert ticker.delay_ms(15_000) == 5_000


def test_a_tick_is_the_boundary_at_or_before_now() -> None:
    ticker = Ticker(1000)
    assert ticker.take(7_003, 1.0) == Tick(7_000, 0, False)


def test_waking_early_gives_no_second_tick() -> None:
    ticker = Ticker(1000)
    ticker.take(7_000, 1.0)
    assert ticker.take(7_999, 1.999) is None
    assert ticker.delay_ms(7_999) == 1
    assert ticker.take(8_000, 2.0) == Tick(8_000, 0, False)


def test_ticks_that_were_slept_through_are_counted_and_not_made_up() -> None:
    ticker = Ticker(1000)
    ticker.take(7_000, 1.0)
    assert ticker.take(11_400, 5.4) == Tick(11_000, 3, False)


def test_a_clock_stepped_forward_missed_nothing() -> None:
    ticker = Ticker(1000)
    ticker.take(7_000, 1.0)
    assert ticker.take(3_607_000, 2.0) == Tick(3_607_000, 0, False)


def test_a_clock_stepped_back_begins_a_new_epoch() -> None:
    ticker = Ticker(1000)
    ticker.take(100_000, 1.0)
    assert ticker.delay_ms(40_300) == 700
    assert ticker.take(41_000, 2.0) == Tick(41_000, 0, True)
    assert ticker.take(42_000, 3.0) == Tick(42_000, 0, False)


def test_a_small_step_back_is_waited_out() -> None:
    ticker = Ticker(1000)
    ticker.take(10_000, 1.0)
    assert ticker.take(9_900, 1.5) is None
    assert ticker.delay_ms(9_900) == 101
    assert ticker.take(11_000, 2.6) == Tick(11_000, 0, False)


def test_a_shorter_interval_goes_on_after_the_last_tick() -> None:
    ticker = Ticker(10_000)
    ticker.take(20_000, 1.0)
    ticker.interval_ms = 1000
    assert ticker.delay_ms(20_300) == 700
    assert ticker.take(21_000, 2.0) == Tick(21_000, 0, False)
