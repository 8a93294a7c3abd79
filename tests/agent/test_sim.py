"""The simulator is deterministic, believable and consistent with itself."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.agent.model import Collector, Subject, Values
from gpufleet.agent.sim.boards import A100, H100, L40S, RTX_4090, V100, board_of
from gpufleet.agent.sim.collector import SimCollector
from gpufleet.proto.catalog import BY_ID, BY_NAME, Kind, Source, SubjectKind

NOW = 1_763_900_000_000
DAY = 86_400_000

times = st.integers(1_735_689_600_000, 1_893_456_000_000)
nodes = st.sampled_from(["lab", "gpu-1", "gpu-2", "gpu-3", "gpu-4", "v100-1"])
indices = st.integers(0, 7)


def ID(name: str) -> int:
    return BY_NAME[name].id


class Sim:
    """One GPU of a simulated node that can be asked for any time."""

    def __init__(self, node: str, index: int, scenario: str = "", since_ms: int = NOW) -> None:
        self.now = since_ms
        self.collector = SimCollector(node, 8, 1, scenario, lambda: self.now, since_ms)
        self.collector.open()
        self.subject: Subject = self.collector.subjects()[index]

    def at(self, time_ms: int) -> Values:
        self.now = time_ms
        values = self.collector.read(self.subject, slow=True).values
        assert values is not None
        return values


def is_collector(collector: Collector) -> Collector:
    return collector


def test_the_simulator_is_a_collector() -> None:
    assert is_collector(SimCollector("lab")).method == "sim"


@settings(max_examples=60, deadline=None)
@given(nodes, indices, times)
def test_the_same_gpu_at_the_same_time_says_the_same(node: str, index: int, time_ms: int) -> None:
    one, other = Sim(node, index), Sim(node, index)
    first = one.at(time_ms)
    other.at(time_ms - 5 * DAY)
    other.at(time_ms + 3 * DAY)
    assert other.at(time_ms) == first
    one.now = other.now = time_ms
    assert one.collector.processes(one.subject) == other.collector.processes(other.subject)
    assert one.subject == other.subject


@settings(max_examples=100, deadline=None)
@given(nodes, indices, times)
def test_every_column_has_a_value_in_range_at_any_time(node: str, index: int, time_ms: int) -> None:
    sim = Sim(node, index)
    values = sim.at(time_ms)
    board = board_of(1, node, index)
    assert tuple(sorted(values)) == sim.subject.columns
    for id_, raw in values.items():
        metric = BY_ID[id_]
        assert metric.source is Source.AGENT
        assert SubjectKind.GPU in metric.subjects
        assert 0 <= raw < 2**63
        if metric.unit == "ratio":
            assert raw <= 1000, metric.name
    used, free, reserved, total = (values[i] for i in (10, 11, 12, 13))
    assert used + free + reserved == total
    # A calm fleet: nothing that a default rule would report.
    assert 20 <= values[20] <= 80
    assert used / total < 0.9
    assert values[23] <= board.limit_watts * 1000 * 1.02
    assert values[30] <= board.clock_max
    assert values.get(21, 0) <= 92


@settings(max_examples=60, deadline=None)
@given(nodes, indices, times, st.lists(st.integers(1, 5_000_000), min_size=2, max_size=30))
def test_counters_never_fall(node: str, index: int, time_ms: int, steps: list[int]) -> None:
    sim = Sim(node, index)
    counters = [i for i in sim.subject.columns if BY_ID[i].kind is Kind.COUNTER]
    before = sim.at(time_ms)
    for step in steps:
        time_ms += step
        after = sim.at(time_ms)
        assert [i for i in counters if after[i] < before[i]] == []
        before = after


@settings(max_examples=25, deadline=None)
@given(nodes, indices, times)
def test_energy_is_the_integral_of_power(node: str, index: int, time_ms: int) -> None:
    sim = Sim(node, index)
    time_ms -= time_ms % 1000
    start = sim.at(time_ms)[26]
    power = sum(sim.at(time_ms + second * 1000)[23] for second in range(1800))
    energy = sim.at(time_ms + 1_800_000)[26] - start
    assert abs(energy - power) / power < 0.02


@settings(max_examples=25, deadline=None)
@given(nodes, indices, times)
def test_temperature_never_jumps_even_when_jobs_change(node: str, index: int, time_ms: int) -> None:
    sim = Sim(node, index)
    degrees = [sim.at(time_ms + second * 1000)[20] for second in range(3600)]
    assert max(abs(b - a) for a, b in pairwise(degrees)) <= 4


def test_jobs_change_over_a_day() -> None:
    sim = Sim("gpu-4", 0)
    users, idle = set(), 0
    for minute in range(0, 3 * 1440, 5):
        sim.now = NOW + minute * 60_000
        processes = sim.collector.processes(sim.subject)
        users |= {(p.user, p.program, p.pid, p.start_ms) for p in processes}
        idle += not processes
        assert all(p.start_ms is not None and p.start_ms <= sim.now + 4000 for p in processes)
    assert len(users) >= 3
    assert idle > 0


def test_inference_is_busier_in_the_afternoon_than_at_night() -> None:
    sim = Sim("gpu-3", 2)
    midnight = NOW - NOW % DAY

    def mean(hour: int) -> float:
        start = midnight + hour * 3_600_000
        return sum(sim.at(start + s * 1000)[1] for s in range(0, 7200, 7)) / 1029

    assert mean(15) > 2 * mean(3)


def test_a_gpu_without_a_program_is_idle() -> None:
    sim = Sim("lab", 0, "idle")
    values = sim.at(NOW + 60_000)
    assert values[ID("throttle_reasons")] == 0x1
    assert values[ID("utilization_ratio")] == 0
    assert values[ID("memory_used_bytes")] == 0
    assert values[ID("clock_sm_hertz")] == H100.clock_idle
    assert sim.collector.processes(sim.subject) == ()


def test_clocks_fall_while_the_power_cap_holds() -> None:
    sim = Sim("gpu-3", 5)
    capped = free = 0
    for second in range(0, 4 * 3600, 3):
        values = sim.at(NOW + second * 1000)
        if values[70] & 0x4:
            capped += 1
            assert values[30] < L40S.clock_max
        elif values[1] > 900:
            free += 1
            assert values[30] == L40S.clock_max // 15 * 15
    assert capped > 0
    assert free > 0


def test_what_a_board_lacks_is_absent() -> None:
    gpus = {s.name: s for s in (Sim("lab", i).subject for i in range(4))}
    assert list(gpus) == [b.name for b in (H100, RTX_4090, A100, L40S)]
    consumer = {BY_ID[i].name for i in gpus[RTX_4090.name].columns}
    assert not {n for n in consumer if n.startswith(("ecc_", "nvlink_", "remapped_"))}
    assert "memory_temperature_celsius" not in consumer
    assert "fan_speed_ratio" in consumer
    assert "ecc_mode" not in gpus[RTX_4090.name].facts
    passive = {BY_ID[i].name for i in gpus[H100.name].columns}
    assert "fan_speed_ratio" not in passive
    assert {"sm_active_ratio", "nvlink_rx_bytes_total", "ecc_corrected_volatile_total"} <= passive
    ampere = {BY_ID[i].name for i in gpus[A100.name].columns}
    assert "temperature_margin_celsius" not in ampere
    assert "sm_active_ratio" not in ampere


def test_uuids_look_like_the_drivers_and_differ() -> None:
    seen = set()
    for seed in (1, 2):
        for node in ("gpu-1", "gpu-2"):
            collector = SimCollector(node, 8, seed)
            collector.open()
            seen |= {s.key for s in collector.subjects()}
    assert len(seen) == 32
    form = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    assert all(form.fullmatch(uuid) for uuid in seen)


def test_a_fleet_of_numbered_nodes_has_every_model() -> None:
    boards = {board_of(1, f"gpu-{n}", 0).name for n in range(1, 4)}
    assert boards == {H100.name, A100.name, L40S.name}
    assert {board_of(1, "gpu-04", i) for i in range(4)} == {H100, A100, L40S, RTX_4090}


def test_a_node_named_after_a_model_holds_that_one() -> None:
    assert board_of(1, "v100-1", 2) is V100
    assert board_of(1, "h100", 3) is H100
    assert board_of(1, "v1000-2", 0) is not V100
