"""What the demo shows, line by line."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from gpufleet.agent.sim.collector import SimCollector
from gpufleet.cli import demo_plan, demo_screen
from gpufleet.cli.demo_plan import Plan
from gpufleet.cli.demo_screen import Fleet, Pen

PLAIN = Pen(colour=False)


def gpu(node: str, index: int, **values: Any) -> dict[str, Any]:
    return {"uuid": f"GPU-{node}-{index}", "node": node, "index": index, "stale": False, **values}


def look(*gpus: dict[str, Any], **nodes: bool) -> Fleet:
    names = {g["node"] for g in gpus}
    return demo_screen.fleet(
        [{"name": name, "up": nodes.get(name, True)} for name in sorted(names)], list(gpus)
    )


def test_a_row_counts_and_names_the_hottest_gpu() -> None:
    line = demo_screen.row(
        "12:00:05",
        look(
            gpu("a", 0, temperature_celsius=60, power_watts=700, utilization_ratio=1.0, health=0),
            gpu("b", 1, temperature_celsius=84, power_watts=650, utilization_ratio=0.5, health=2),
        ),
        PLAIN,
    )
    assert " ".join(line.split()) == (
        "12:00:05 2/2 2/2 75% 1.4 kW 84 °C b GPU 1 1 healthy, 1 warning"
    )


def test_columns_stand_under_their_heads() -> None:
    line = demo_screen.row("12:00:05", look(gpu("a", 0, temperature_celsius=60, health=3)), PLAIN)
    for head, cell in (("time", "12:00:05"), ("hottest", "60 °C"), ("health", "1 critical")):
        assert line.index(cell) == demo_screen.HEADER.index(head)
    for head, cell in (("nodes", "1/1"), ("GPUs", "1/1")):
        end = demo_screen.HEADER.index(head) + len(head)
        assert line[:end].endswith(cell)


def test_what_is_not_known_is_a_dash_and_never_zero() -> None:
    line = demo_screen.row("12:00:05", look(gpu("a", 0, temperature_celsius=None)), PLAIN)
    assert line.split() == ["12:00:05", "1/1", "1/1", "-", "-", "-", "-"]


def test_an_empty_fleet_has_a_row_too() -> None:
    assert demo_screen.row("12:00:05", look(), PLAIN).split()[1:3] == ["0/0", "0/0"]


def test_stale_gpus_do_not_count_as_current() -> None:
    fleet = look(
        gpu("a", 0, temperature_celsius=50, power_watts=100),
        gpu("b", 0, temperature_celsius=90, power_watts=300, stale=True),
        b=False,
    )
    assert demo_screen.row("12:00:05", fleet, PLAIN).split()[:7] == (
        ["12:00:05", "1/2", "1/2", "-", "100", "W", "50"]
    )


def test_a_change_of_health_is_said_with_its_reasons() -> None:
    before = look(gpu("a", 3, health=0))
    after = look(gpu("a", 3, health=2, health_reasons=["too hot", "slowed down"]))
    assert list(demo_screen.changes(before, after, PLAIN)) == [
        "a GPU 3  healthy → warning: too hot; slowed down"
    ]


def test_a_fault_is_said_when_it_comes_and_when_it_goes() -> None:
    well, lost = look(gpu("a", 3, fault=None)), look(gpu("a", 3, fault="lost"))
    assert list(demo_screen.changes(well, lost, PLAIN)) == ["a GPU 3  fault: lost"]
    assert list(demo_screen.changes(lost, well, PLAIN)) == ["a GPU 3  no longer lost"]


def test_a_node_going_down_and_coming_back_is_said() -> None:
    up, down = look(gpu("a", 0)), look(gpu("a", 0), a=False)
    assert list(demo_screen.changes(up, down, PLAIN)) == ["a is down"]
    assert list(demo_screen.changes(down, up, PLAIN)) == ["a is up"]


def test_nothing_is_said_where_nothing_changed() -> None:
    same = look(gpu("a", 0, health=1, temperature_celsius=50))
    hotter = look(gpu("a", 0, health=1, temperature_celsius=60))
    assert list(demo_screen.changes(same, hotter, PLAIN)) == []


def test_colour_is_there_only_where_it_is_wanted() -> None:
    fleet = look(gpu("a", 0, health=3))
    assert "\x1b[" not in demo_screen.row("12:00:05", fleet, PLAIN)
    assert "\x1b[31;1m1 critical\x1b[0m" in demo_screen.row("12:00:05", fleet, Pen(colour=True))


def columns(text: str) -> int:
    return max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()))


def test_a_row_of_a_large_and_sick_fleet_fits_into_80_columns() -> None:
    gpus = [
        gpu(f"node-{n}", i, temperature_celsius=88, power_watts=700, utilization_ratio=1.0)
        for n in range(1, 33)
        for i in range(16)
    ]
    levels = [1] * 8 + [2, 3]
    sick = [{**g, "health": level} for g, level in zip(gpus, levels, strict=False)]
    line = demo_screen.row("12:00:05", look(*sick, *gpus[10:]), Pen(colour=True, width=80))
    assert columns(line) <= 80
    assert line.split("1m")[-1] == "1 crit\x1b[0m"
    assert re.sub(r"\x1b\[[0-9;]*m", "", line).endswith(" 8 caut 1 warn 1 crit")
    wide = demo_screen.row("12:00:05", look(*sick, *gpus[10:]), Pen(colour=False, width=120))
    assert wide.endswith("8 caution, 1 warning, 1 critical")


def test_a_long_sentence_is_broken_between_words_and_goes_on_under_its_beginning() -> None:
    pen = Pen(colour=True, width=30)
    text = f"12:00:05  ▸ a GPU 0  {pen.paint('caution', '33')}: GPU temperature 84 °C is too near"
    assert columns(pen.wrap(text, 12)) <= 30
    assert [line.strip() for line in pen.wrap(text, 12).splitlines()] == [
        f"12:00:05  ▸ a GPU 0  {pen.paint('caution', '33')}:",
        "GPU temperature 84",
        "°C is too near",
    ]
    assert pen.wrap("  short", 4) == "  short"


def test_a_word_longer_than_the_line_stays_whole() -> None:
    assert Pen(colour=False, width=5).wrap("a abcdefgh b", 1) == "a\n abcdefgh\n b"


PLAN = Plan(
    nodes=demo_plan.nodes(3, 8, real=None),
    hours=6,
    host="127.0.0.1",
    http_port=9555,
    grpc_port=9556,
)
FLEET = look(*(gpu(node, i) for node in ("node-1", "node-2", "node-3", "here") for i in range(8)))


def first_screen(plan: Plan) -> str:
    return demo_screen.start_screen(plan, FLEET, 3.21, "/tmp/gpufleet-demo-x", PLAIN)


def test_the_first_screen_says_what_runs_and_what_to_try() -> None:
    text = first_screen(PLAN)
    assert "32 GPUs answer after 3.2 s" in text
    assert "node-1 … node-3: 8 simulated GPUs each" in text
    assert "6 simulated hours" in text
    assert "curl http://127.0.0.1:9555/gpu/GPU-node-1-0" in text
    assert "node-1 GPU 0 overheats" in text
    assert "node-3 GPU 2 falls off the bus" in text
    assert max(len(line) for line in text.splitlines() if "curl" not in line) <= 80


def test_in_a_narrow_terminal_every_command_that_does_not_fit_has_its_own_line() -> None:
    text = demo_screen.start_screen(PLAN, FLEET, 3.2, "/tmp/x", Pen(colour=False, width=80))
    commands = [line for line in text.splitlines() if "curl" in line]
    assert all(len(line) <= 80 or line.startswith("curl ") for line in commands)
    assert "  one GPU" in text


@pytest.mark.parametrize(
    ("plan", "said", "unsaid"),
    [
        (replace(PLAN, hours=0.0), "node-1 … node-3", "history "),
        (replace(PLAN, nodes=demo_plan.nodes(1, 8, None)), "node-1: 8 simulated", "falls off"),
        (replace(PLAN, nodes=demo_plan.nodes(3, 8, "here")), "node-1 … node-2", "node-3"),
        (replace(PLAN, nodes=demo_plan.nodes(1, 8, "here")), "here reads this", "simulated"),
    ],
)
def test_the_first_screen_says_only_what_is_so(plan: Plan, said: str, unsaid: str) -> None:
    text = first_screen(plan)
    assert said in text
    assert unsaid not in text


@pytest.mark.parametrize("real", [None, "here"])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_a_plan_has_as_many_nodes_as_asked_for_and_troubles_only_gpus_that_it_has(
    count: int, gpus: int, real: str | None
) -> None:
    nodes = demo_plan.nodes(count, gpus, real)
    assert len({node.name for node in nodes}) == count
    assert [node.gpus for node in nodes if node.gpus is None] == ([None] if real else [])
    for node in nodes:
        SimCollector(node.name, node.gpus or 0, scenario=node.scenario)  # or ScenarioError
