"""One tick's look at every GPU: faults, hangs, recovery, tiers."""

import random
from collections.abc import Iterator

import pytest

from gpufleet.agent.model import CollectorUnavailable, Fault, FaultState, Process
from gpufleet.agent.sampler import Collection, Sampler, deadline_seconds
from support.agent_clock import FakeClock, until
from support.scripted_collector import ScriptedCollector


class Bench:
    """A sampler over a scripted collector, ticked by hand."""

    def __init__(self, *keys: str) -> None:
        self.clock = FakeClock()
        self.collector = ScriptedCollector(*keys)
        self.sampler = Sampler(self.collector, self.clock, random.Random(1))
        self.clock.busy = lambda: self.sampler.crew.working > self.collector.blocked

    def tick(self, slow_ms: int = 30_000) -> Collection:
        self.clock.advance(1.0 - self.clock.seconds % 1.0)
        return self.sampler.collect(self.clock.now_ms, 1000, slow_ms)

    def opened(self) -> "Bench":
        until(self.sampler.session.advance, "the collector is open")
        return self

    def kinds_until(self, kind: str) -> list[str]:
        """Kinds of all events up to the tick that brought this one."""
        kinds: list[str] = []
        for _ in range(200):
            kinds += self.kinds(self.tick())
            if kind in kinds:
                return kinds
            errand = self.sampler.session._errand
            if errand is not None:
                errand.done.wait(10)
        raise AssertionError(f"no {kind} among {kinds}")

    def kinds(self, collection: Collection) -> list[str]:
        return [event.kind for event in collection.events]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench("a", "b", "c")
    yield made
    made.collector.release(*list(made.collector._gates))


def test_a_tick_reads_every_gpu(bench: Bench) -> None:
    collection = bench.opened().tick()
    assert set(collection.readings) == {"a", "b", "c"}
    assert collection.events == ()


def test_the_deadline_is_three_tenths_of_the_interval_within_bounds() -> None:
    assert [deadline_seconds(ms) for ms in (1000, 10_000, 60_000)] == [0.3, 3.0, 4.0]


def test_a_hanging_gpu_is_faulted_while_the_others_miss_no_tick(bench: Bench) -> None:
    bench.opened().tick()
    bench.collector.hang("b")
    collection = bench.tick()
    assert set(collection.readings) == {"a", "c"}
    assert bench.kinds(collection) == ["gpu_hung"]
    (standing,) = bench.sampler.standing()
    assert (standing.subject_key, standing.fault.state) == ("b", FaultState.HUNG)
    for _ in range(3):
        began = bench.clock.seconds
        collection = bench.tick()
        assert set(collection.readings) == {"a", "c"}
        assert collection.events == ()
        assert bench.clock.seconds - began <= 1.0, "a known hang costs no more time"
    assert bench.sampler.trouble.sentence == ""


def test_a_gpu_whose_call_came_back_recovers(bench: Bench) -> None:
    bench.opened()
    bench.collector.hang("b")
    bench.tick()
    bench.collector.release("b")
    until(lambda: not bench.sampler.crew.stuck(), "the call came back")
    collection = bench.tick()
    assert set(collection.readings) == {"a", "b", "c"}
    assert bench.kinds(collection) == ["gpu_recovered"]
    assert bench.sampler.standing() == ()


def test_a_lost_gpu_gives_one_event_and_no_sample(bench: Bench) -> None:
    bench.opened()
    bench.collector.faults["a"] = Fault(FaultState.LOST, "GPU is lost.", 15)
    first, second = bench.tick(), bench.tick()
    assert set(first.readings) == set(second.readings) == {"b", "c"}
    assert [(e.kind, e.subject_key, e.code) for e in first.events] == [("gpu_lost", "a", 15)]
    assert second.events == ()


def test_a_defect_of_the_collector_is_a_fault_of_that_gpu_only(bench: Bench) -> None:
    bench.opened()
    bench.collector.raising["c"] = RuntimeError("oops")
    collection = bench.tick()
    assert set(collection.readings) == {"a", "b"}
    (standing,) = bench.sampler.standing()
    assert standing.fault.sentence == "Reading failed: RuntimeError: oops."


def test_when_every_gpu_hangs_the_collector_is_hung_since_then(bench: Bench) -> None:
    bench.opened().tick()
    bench.collector.hang("a", "b", "c")
    collection = bench.tick()
    assert collection.readings == {}
    assert bench.kinds(collection) == ["gpu_hung", "gpu_hung", "gpu_hung", "collector_hung"]
    since = bench.sampler.trouble.hung_since_ms
    assert since == collection.tick_ms
    assert bench.tick().events == ()
    assert bench.sampler.trouble.hung_since_ms == since
    bench.collector.release("a", "b", "c")
    until(lambda: not bench.sampler.crew.stuck(), "the calls came back")
    kinds = bench.kinds(bench.tick())
    assert sorted(kinds) == ["collector_recovered", *["gpu_recovered"] * 3]


def test_a_driver_that_hangs_when_opened_is_said_and_waited_for(bench: Bench) -> None:
    bench.collector.hang("open")
    began_ms = bench.clock.now_ms
    events = [event for _ in range(15) for event in bench.tick().events]
    assert [event.kind for event in events] == ["collector_hung"]
    assert bench.sampler.trouble.hung_since_ms is not None
    assert bench.sampler.trouble.hung_since_ms - began_ms <= 1000
    bench.collector.release("open")
    assert bench.kinds_until("collector_recovered") == ["collector_recovered"]
    assert set(bench.tick().readings) == {"a", "b", "c"}


def test_an_absent_driver_is_said_once_and_tried_again_later_and_later(bench: Bench) -> None:
    bench.collector.unavailable = "There is no driver."
    kinds = []
    for _ in range(60):
        kinds += bench.kinds(bench.tick())
        errand = bench.sampler.session._errand
        if errand is not None:
            errand.done.wait(10)
    assert kinds == ["collector_unavailable"]
    assert bench.sampler.trouble.sentence == "There is no driver."
    assert 4 <= bench.collector.opened <= 8
    bench.collector.unavailable = None
    assert bench.kinds_until("collector_recovered") == ["collector_recovered"]


def test_a_driver_that_goes_away_while_read_is_opened_again(bench: Bench) -> None:
    bench.opened().tick()
    bench.collector.raising["b"] = CollectorUnavailable("The driver was unloaded.")
    assert bench.kinds(bench.tick()) == ["collector_unavailable"]
    bench.collector.raising.clear()
    bench.collector.driver = "580.9"
    kinds = bench.kinds_until("collector_recovered")
    assert kinds == ["driver_changed", "collector_recovered"]


def test_a_gpu_that_vanishes_from_the_list_is_missing_and_may_come_back(bench: Bench) -> None:
    bench.opened().tick()
    bench.collector.keys.remove("c")
    bench.collector.stale_now = True
    assert bench.kinds_until("gpu_missing") == ["gpu_missing"]
    assert set(bench.tick().readings) == {"a", "b"}
    assert [subject.key for subject in bench.sampler.subjects] == ["a", "b", "c"]
    bench.collector.keys.append("c")
    bench.collector.stale_now = True
    assert bench.kinds_until("gpu_recovered") == ["gpu_recovered"]


def test_the_slow_tier_is_read_at_first_and_then_spread_over_the_gpus(bench: Bench) -> None:
    bench.opened()
    slow_at: dict[str, list[int]] = {}
    for number in range(60):
        bench.collector.reads.clear()
        bench.tick(slow_ms=30_000)
        for key, slow in bench.collector.reads:
            if slow:
                slow_at.setdefault(key, []).append(number)
    assert slow_at == {"a": [0, 30], "b": [0, 20, 50], "c": [0, 10, 40]}


def test_processes_of_gpus_that_answer_are_listed(bench: Bench) -> None:
    bench.opened()
    mine = Process("a", 4711, "C")
    bench.collector.listed["a"] = (mine,)
    bench.collector.hang("b")
    bench.tick()
    assert bench.sampler.list_processes(1000) == (mine,)


def test_a_hanging_stale_check_is_a_hung_collector_but_reads_go_on(bench: Bench) -> None:
    bench.opened()
    bench.collector.hang("stale")
    collection = bench.tick()
    assert set(collection.readings) == {"a", "b", "c"}
    assert bench.kinds(collection) == ["collector_hung"]
