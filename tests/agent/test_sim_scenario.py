"""Each scenario shows the fault that it is named for, and nothing before its time."""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.agent.model import FaultState, Reading
from gpufleet.agent.sim.boards import V100
from gpufleet.agent.sim.collector import ScenarioError, SimCollector
from gpufleet.agent.sim.faults import SCENARIOS
from gpufleet.agent.sim.scenario import parse
from gpufleet.proto.catalog import BY_ID, Kind

NOW = 1_763_900_000_000


class Fleet:
    """A simulated node whose clock the test moves; the scenario begins at NOW."""

    def __init__(self, scenario: str, node: str = "lab", gpus: int = 4) -> None:
        self.now = NOW
        self.collector = SimCollector(node, gpus, 1, scenario, lambda: self.now)
        self.collector.open()
        self.subjects = self.collector.subjects()

    def read(self, second: float, index: int = 0) -> Reading:
        self.now = NOW + int(second * 1000)
        return self.collector.read(self.subjects[index], slow=True)

    def values(self, second: float, index: int = 0) -> dict[int, int]:
        values = self.read(second, index).values
        assert values is not None
        return dict(values)


@pytest.mark.parametrize("index", range(4))
def test_an_overheating_gpu_is_above_80_degrees_for_about_40_of_90_seconds(index: int) -> None:
    fleet = Fleet(f"overheat:{index}")
    degrees = [fleet.values(second, index)[20] for second in range(900)]
    for start in range(0, 900, 90):
        assert 34 <= sum(d > 80 for d in degrees[start : start + 90]) <= 46
    assert max(degrees) < 90
    assert degrees[5] < 75


def test_demo_overheats_one_gpu_of_its_node() -> None:
    for node in ("node-1", "node-2", "node-3", "node-4", "lab"):
        fleet = Fleet("demo", node, 8)
        peaks = [max(fleet.values(s, index)[20] for s in range(0, 200, 3)) for index in range(8)]
        assert [peak > 80 for peak in peaks] == [True] + [False] * 7


def test_a_power_step_leaves_utilisation_alone() -> None:
    fleet = Fleet("powerstep")
    before, after = fleet.values(200), fleet.values(600)
    assert after[23] < 0.6 * before[23]
    assert abs(after[1] - before[1]) < 50


def test_a_power_cap_lowers_limit_and_clocks_and_says_so() -> None:
    fleet = Fleet("powercap")
    before, after = fleet.values(5), fleet.values(60)
    assert after[25] == 0.6 * before[25]
    assert after[70] & 0x4
    assert after[30] < before[30]
    assert fleet.values(70)[72] - fleet.values(60)[72] == 10_000


def test_throttling_raises_the_hardware_bits_and_its_time() -> None:
    fleet = Fleet("throttle")
    assert fleet.values(60)[70] & 0x48 == 0x48
    assert fleet.values(70)[71] - fleet.values(60)[71] == 10_000
    assert fleet.values(119)[70] & 0x48 == 0


def test_a_failing_fan_stands_still_above_60_degrees() -> None:
    fleet = Fleet("fanfail:1")
    assert fleet.values(20, 1)[27] >= 300
    values = fleet.values(200, 1)
    assert values[27] == 0
    assert values[20] > 60


def test_held_memory_is_full_at_zero_utilisation() -> None:
    fleet = Fleet("memheld")
    late = [fleet.values(1000 + second) for second in range(100)]
    assert {v[1] for v in late} == {0}
    assert all(v[10] > 0.7 * v[13] for v in late)
    assert fleet.collector.processes(fleet.subjects[0])[0].program == "ipykernel_launcher.py"


def test_a_stuck_kernel_uses_everything_but_power() -> None:
    values = Fleet("stuck_kernel").values(300)
    assert values[1] >= 990
    assert values[23] < 0.3 * values[25]


def test_ecc_errors_are_corrected_until_one_is_not() -> None:
    fleet = Fleet("ecc@60")
    assert fleet.values(59)[51] == 0
    assert fleet.values(59)[50] > fleet.values(10)[50]
    assert fleet.values(61)[51] == 1


def test_xid_48_and_remap_leave_a_row_pending() -> None:
    for name, action in (("xid48", 1), ("remap", 0)):
        fleet = Fleet(f"{name}@30")
        assert (fleet.values(29)[56], fleet.values(29)[61]) == (0, 0)
        assert (fleet.values(31)[56], fleet.values(31)[61]) == (1, action)


def test_nvlink_errors_grow() -> None:
    fleet = Fleet("nvlink@10")
    assert fleet.values(9)[47] == 0
    assert 0 < fleet.values(20)[47] < fleet.values(40)[47]


def test_a_bad_pcie_link_loses_lanes_and_replays() -> None:
    fleet = Fleet("pcie@10")
    assert fleet.values(9)[41] == 16
    assert fleet.values(40)[41] == 8
    assert fleet.values(70)[42] - fleet.values(40)[42] == 20


@pytest.mark.parametrize(
    ("name", "state", "code"),
    [
        ("xid79", FaultState.LOST, 15),
        ("reset_required", FaultState.RESET_REQUIRED, 16),
        ("vanish", FaultState.MISSING, 6),
    ],
)
def test_a_fault_takes_its_gpu_only_and_after_its_time_only(
    name: str, state: FaultState, code: int
) -> None:
    fleet = Fleet(f"{name}:1@60")
    assert fleet.read(59, 1).fault is None
    reading = fleet.read(60, 1)
    assert reading.values is None
    assert reading.fault is not None
    assert (reading.fault.state, reading.fault.code) == (state, code)
    assert fleet.read(60, 0).values is not None


def test_a_gpu_without_permission_is_listed_with_its_fault() -> None:
    fleet = Fleet("no_permission:2")
    assert [s.fault and s.fault.state for s in fleet.subjects] == [
        None,
        None,
        FaultState.NO_PERMISSION,
        None,
    ]
    assert fleet.read(0, 2).values is None


def test_a_vanished_gpu_makes_the_list_stale_until_it_is_asked_for() -> None:
    fleet = Fleet("vanish:1@10")
    assert not fleet.collector.stale()
    fleet.now = NOW + 10_000
    assert fleet.collector.stale()
    assert [s.index for s in fleet.collector.subjects()] == [0, 2, 3]
    assert not fleet.collector.stale()


def test_a_hanging_gpu_blocks_its_reads_until_the_end_and_no_others() -> None:
    fleet = Fleet("hang:1@10")
    fleet.now = NOW + 20_000
    answers: list[Reading] = []
    subject = fleet.subjects[1]

    def look() -> None:
        answers.append(fleet.collector.read(subject, slow=False))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    assert fleet.read(20, 0).values is not None
    fleet.collector.close()
    thread.join(30)
    assert not thread.is_alive()
    assert answers[0].fault is not None
    assert answers[0].fault.state is FaultState.HUNG


def test_a_hot_memory_is_above_its_limit_while_the_core_is_not() -> None:
    fleet = Fleet("hbm_hot")
    assert fleet.values(20)[21] < 80
    values = fleet.values(200)
    assert 95 < values[21] <= 100
    assert values[20] < 75


@pytest.mark.parametrize(
    ("name", "threshold", "above"),
    [
        ("near_slowdown", "slowdown_temperature_celsius", -5),
        ("too_hot", "max_operating_temperature_celsius", 1),
        ("at_slowdown", "slowdown_temperature_celsius", 0),
        ("near_shutdown", "shutdown_temperature_celsius", -1),
    ],
)
@pytest.mark.parametrize("index", range(4))
def test_a_gpu_settles_at_the_temperature_of_its_scenario(
    name: str, threshold: str, above: int, index: int
) -> None:
    fleet = Fleet(f"{name}:{index}@600")
    wanted = fleet.subjects[index].facts[threshold]
    assert isinstance(wanted, int)
    degrees = [fleet.values(second, index)[20] for second in range(600)]
    assert max(degrees) == degrees[450] == wanted + above
    assert max(abs(b - a) for a, b in pairwise(degrees)) <= 4


@pytest.mark.parametrize(
    ("name", "bits"), [("sw_thermal", 0x20), ("hw_slowdown", 0x8), ("power_brake", 0x88)]
)
def test_slowdowns_come_with_their_own_bits_and_slower_clocks(name: str, bits: int) -> None:
    fleet = Fleet(f"{name}@120")
    assert fleet.values(30)[70] == 0
    assert fleet.values(60)[70] == bits
    assert fleet.values(60)[30] < 0.8 * fleet.values(30)[30]


def test_a_board_draws_more_than_105_percent_of_its_limit() -> None:
    for index in range(4):
        fleet = Fleet(f"overpower:{index}")
        values = fleet.values(200, index)
        assert values[23] > 1.05 * values[25]
        assert fleet.values(20, index)[23] <= values[25]


def test_power_is_zero_or_absent_under_load_while_energy_goes_on() -> None:
    zero, absent = Fleet("zeropower"), Fleet("nopower")
    assert zero.values(59)[23] > 0 < absent.values(59)[23]
    values = zero.values(100)
    assert (values[23], values[24]) == (0, 0)
    assert values[1] > 900
    assert {23, 24} & absent.values(100).keys() == set()
    assert absent.values(110)[26] > absent.values(100)[26]


def test_frozen_values_are_those_of_the_last_moment_for_ever() -> None:
    fleet = Fleet("frozen")
    assert fleet.values(58) != fleet.values(60)
    assert fleet.values(60) == fleet.values(61) == fleet.values(90_000)


def test_a_job_that_rests_keeps_its_memory_and_its_process() -> None:
    fleet = Fleet("busyidle")
    busy, resting = fleet.values(200), fleet.values(700)
    assert busy[1] > 900
    assert resting[1] == 0
    assert resting[23] < 0.3 * busy[23]
    assert resting[10] >= busy[10] > 0
    assert len(fleet.collector.processes(fleet.subjects[0])) == 1
    assert fleet.values(1250)[1] > 900


def test_a_full_memory_is_above_90_percent_from_the_start() -> None:
    for index in range(4):
        values = Fleet(f"memfull:{index}").values(1, index)
        assert values[10] / values[13] > 0.9
        assert values[11] >= 0


def test_a_slow_pcie_link_is_slow_under_load() -> None:
    fleet = Fleet("pcie_slow")
    assert (fleet.values(20)[40], fleet.values(200)[40]) == (5, 1)
    assert fleet.values(200)[1] > 900


@pytest.mark.parametrize(
    ("name", "counter"), [("nvlink_replay", "replay_errors"), ("nvlink_crc", "crc_errors")]
)
def test_the_errors_of_the_links_add_up_to_the_metric(name: str, counter: str) -> None:
    fleet = Fleet(f"{name}@30")
    for second in (10, 29, 30, 60, 120):
        reading = fleet.read(second)
        assert reading.detail is not None
        assert reading.values is not None
        links = reading.detail["nvlinks"]
        assert isinstance(links, list)
        assert len(links) == fleet.subjects[0].facts["nvlink_count"]
        assert all(link["up"] for link in links)
        assert sum(link[counter] for link in links) == reading.values[47]


def test_a_link_is_up_before_it_is_down_and_the_others_stay_up() -> None:
    fleet = Fleet("nvlink_down")

    def down(second: float) -> list[object]:
        detail = fleet.read(second).detail
        assert detail is not None
        links = detail["nvlinks"]
        assert isinstance(links, list)
        return [link["link"] for link in links if not link["up"]]

    assert (down(0), down(29), down(30), down(4000)) == ([], [], [3], [3])


def test_gpus_without_such_a_scenario_have_no_detail() -> None:
    assert {Fleet("xid79:1+nvlink_down:0").read(5, index).detail is None for index in (1, 2)} == {
        True
    }


def test_an_xid_by_its_number_comes_after_each_period_and_is_told_once() -> None:
    fleet = Fleet("xid13:2@60")

    def told(second: int) -> list[tuple[int, int]]:
        fleet.now = NOW + second * 1000
        return [(s.code, (s.time_ms - NOW) // 1000) for s in fleet.collector.sightings()]

    assert (told(59), told(60), told(60), told(119)) == ([], [(13, 60)], [], [])
    assert told(200) == [(13, 120), (13, 180)]
    late = told(90_000)
    assert len(late) == 16
    assert late[-1] == (13, 90_000)


def test_a_recovery_action_by_its_number_comes_with_its_xid() -> None:
    fleet = Fleet("recovery3@60")
    assert (fleet.values(59)[61], fleet.values(60)[61]) == (0, 3)
    assert [seen.code for seen in fleet.collector.sightings()] == [154]


def test_pages_are_retired_only_where_rows_are_not_remapped() -> None:
    fleet = Fleet("retire:0+retired:1+xid48:2@30", "v100-1")
    assert {subject.name for subject in fleet.subjects} == {V100.name}
    assert {54, 55, 56, 57, 62} & fleet.values(40).keys() == set()
    assert (fleet.values(29)[60], fleet.values(30)[60]) == (0, 1)
    assert fleet.values(30, 1)[58] + fleet.values(30, 1)[59] >= 63
    assert (fleet.values(30, 2)[59], fleet.values(30, 2)[61]) == (1, 1)


def node_for(name: str) -> str:
    return "v100-1" if SCENARIOS[name].needs == "retires_pages" else "lab"


VALUE_SCENARIOS = [name for name, s in SCENARIOS.items() if s.fault is None]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(VALUE_SCENARIOS),
    st.lists(st.integers(1, 40_000), min_size=3, max_size=40),
)
def test_counters_go_on_from_before_the_fault_and_never_fall(name: str, steps: list[int]) -> None:
    fleet = Fleet(name, node_for(name))
    second = -60.0
    before = fleet.values(second)
    counters = [i for i in before if BY_ID[i].kind is Kind.COUNTER]
    for step in steps:
        second += step / 1000
        after = fleet.values(second)
        assert [i for i in counters if after[i] < before[i]] == []
        # 800 W at most: a counter that began anew would jump by far more.
        assert after[26] - before[26] <= 800 * (step + 1000)
        before = after


def test_before_its_scenario_a_gpu_is_well() -> None:
    for name in SCENARIOS:
        node = node_for(name)
        plain, faulty = Fleet("", node), Fleet(name, node)
        assert faulty.read(-3600) == plain.read(-3600)


def test_scenarios_combine_and_a_named_gpu_goes_first() -> None:
    fleet = Fleet("idle+overheat:2@1m+xid79:1")
    assert fleet.values(45, 0)[1] == 0
    assert fleet.read(61, 1).fault is not None
    assert max(fleet.values(second, 2)[20] for second in range(60)) > 80


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("overheet", "did you mean overheat?"),
        ("zzz", "choose one of demo, idle"),
        ("overheat:9", "names GPU 9, but there are 4: choose 0 to 3"),
        ("overheat:a", "is not understood"),
        ("overheat@1", "choose 10 s to 6 h"),
        ("xid48:1", "a simulated NVIDIA GeForce RTX 4090 has no ECC memory"),
        ("nvlink:3", "has no NVLink"),
        ("idle++demo", "is not understood"),
        ("retired", "has no memory pages to retire; call the node v100-1"),
        ("hbm_hot:1", "has no sensor of the memory's temperature"),
        ("xid13@1", "choose 10 s or more"),
        ("xid0", "did you mean xid"),
        ("recovery", "there is no scenario 'recovery': did you mean recoveryN?"),
    ],
)
def test_a_scenario_that_cannot_be_had_is_refused_with_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        SimCollector("lab", 4, scenario=text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_gpu_warms_up_to_its_scenario_and_does_not_jump() -> None:
    for index in range(4):
        fleet = Fleet(f"overheat:{index}")
        degrees = [fleet.values(second, index)[20] for second in range(-10, 30)]
        assert max(abs(b - a) for a, b in pairwise(degrees)) <= 4


@given(st.from_regex(r"[a-z_+:,@0-9smh]{0,30}|(idle|ecc)[:@0-9,]{0,9}", fullmatch=True))
def test_any_text_is_scenarios_or_a_sentence(text: str) -> None:
    with suppress(ScenarioError):
        assert all(injection.name in SCENARIOS for injection in parse(text, 4))


def test_the_documentation_names_every_scenario() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sim.md").read_text()
    assert [name for name in SCENARIOS if f"| `{name}` |" not in page] == []
