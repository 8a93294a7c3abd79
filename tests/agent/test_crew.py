"""Worker threads that are left behind when the driver does not answer."""

import threading
from collections.abc import Iterator

import pytest

from gpufleet.agent.crew import Call, Crew
from support.agent_clock import FakeClock, until


class Hanging:
    """A call that blocks until it is released."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.blocked = 0

    def __call__(self) -> str:
        self.blocked += 1
        self.gate.wait()
        self.blocked -= 1
        return "late"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hanging() -> Iterator[list[Hanging]]:
    made: list[Hanging] = [Hanging() for _ in range(40)]
    yield made
    for call in made:
        call.gate.set()


def crew_of(clock: FakeClock, hanging: list[Hanging], limit: int = 32) -> Crew:
    crew = Crew(clock, limit)
    clock.busy = lambda: crew.working > sum(call.blocked for call in hanging)
    return crew


def test_calls_are_made_one_after_another_by_one_thread(
    clock: FakeClock, hanging: list[Hanging]
) -> None:
    crew = crew_of(clock, hanging)
    threads: list[int] = []
    calls = [Call(key, lambda: threads.append(threading.get_ident())) for key in "abc"]
    assert set(crew.run(calls, 0.3)) == set("abc")
    assert set(crew.run(calls, 0.3)) == set("abc")
    assert len(set(threads)) == 1


def test_one_hanging_call_costs_only_its_own_result(
    clock: FakeClock, hanging: list[Hanging]
) -> None:
    crew = crew_of(clock, hanging)
    began_ms, began = clock.now_ms, clock.seconds
    calls = [Call("a", lambda: 1), Call("b", hanging[0]), Call("c", lambda: 3)]
    assert dict(crew.run(calls, 0.3)) == {"a": 1, "c": 3}
    assert dict(crew.stuck()) == {"b": began_ms}
    assert clock.seconds - began <= 0.61


def test_a_stuck_key_is_not_asked_again_until_its_call_comes_back(
    clock: FakeClock, hanging: list[Hanging]
) -> None:
    crew = crew_of(clock, hanging)
    crew.run([Call("b", hanging[0])], 0.3)
    again = []
    calls = [Call("a", lambda: 1), Call("b", lambda: again.append(1))]
    assert dict(crew.run(calls, 0.3)) == {"a": 1}
    assert again == []
    hanging[0].gate.set()
    until(lambda: not crew.stuck(), "the call came back")
    assert set(crew.run(calls, 0.3)) == {"a", "b"}


def test_when_every_call_hangs_all_are_known_to_hang_within_two_deadlines(
    clock: FakeClock, hanging: list[Hanging]
) -> None:
    crew = crew_of(clock, hanging)
    began = clock.seconds
    assert crew.run([Call(f"gpu{i}", hanging[i]) for i in range(8)], 0.3) == {}
    assert len(crew.stuck()) == 8
    assert clock.seconds - began <= 0.61


def test_slow_calls_that_answer_are_not_taken_for_hanging_ones(clock: FakeClock) -> None:
    crew = Crew(clock)
    clock.busy = lambda: crew.working > 0

    def slow() -> str:
        clock.advance(0.2)
        return "slow"

    results = crew.run([Call(f"gpu{i}", slow) for i in range(4)], 0.3)
    assert set(results.values()) == {"slow"}
    assert crew.stuck() == {}


def test_threads_left_behind_are_bounded(clock: FakeClock, hanging: list[Hanging]) -> None:
    crew = crew_of(clock, hanging, limit=4)
    calls = [Call(f"gpu{i}", hanging[i]) for i in range(12)]
    for _ in range(5):
        crew.run(calls, 0.3)
    # One worker that was reading when the limit was reached, besides those it allows.
    assert crew.working <= 5


def test_an_exception_is_a_result(clock: FakeClock, hanging: list[Hanging]) -> None:
    crew = crew_of(clock, hanging)
    results = crew.run([Call("a", lambda: 1 // 0), Call("b", lambda: 2)], 0.3)
    assert isinstance(results["a"], ZeroDivisionError)
    assert results["b"] == 2
