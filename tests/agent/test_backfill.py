"""A simulated past."""

from gpufleet.agent.collectors import Simulation
from gpufleet.agent.sim.backfill import past
from gpufleet.agent.sim.collector import SimCollector

NOW = 1_763_900_003_456


def test_the_past_has_every_tick_on_the_grid_up_to_now() -> None:
    records = list(past(Simulation("n1", gpus=2), 5, NOW - 60_000, NOW, 10_000))
    assert [record.tick_ms for record in records] == list(range(1_763_899_940_000, NOW, 10_000))
    assert [record.position.seq for record in records] == list(range(1, len(records) + 1))
    assert {record.position.epoch for record in records} == {5}
    assert all(row is not None for record in records for row in record.rows)


def test_the_past_is_of_the_gpus_that_go_on_living_and_knows_no_fault() -> None:
    faulty = Simulation("n1", gpus=2, scenario="overheat")
    (record,) = list(past(faulty, 5, NOW, NOW + 1, 1000))
    live = SimCollector("n1", gpus=2, clock=lambda: NOW)
    live.open()
    assert [s.key for s in record.layout.subjects] == [s.key for s in live.subjects()]
    assert record == next(past(Simulation("n1", gpus=2), 5, NOW, NOW + 1, 1000))
