"""The agent's own cost and its budget."""

from gpufleet.agent.selfmeasure import Budget, Cost, Shed, resident_bytes, values


def minutes(budget: Budget, *ratios: float, draining: bool = False) -> list[Shed]:
    """What is shed after each minute of such a use of the CPU."""
    shed = []
    for ratio in ratios:
        began, cpu = budget._began or (0.0, 0.0)
        if budget._began is None:
            budget.observe(0.0, 0.0, draining=draining)
        for second in range(1, 61):
            budget.observe(began + second, cpu + second * ratio, draining=draining)
        shed.append(budget.shed)
    return shed


def test_above_budget_processes_go_first_then_the_slow_tier() -> None:
    assert minutes(Budget(0.02), 0.01, 0.03, 0.03, 0.03) == [
        Shed.NOTHING,
        Shed.PROCESSES,
        Shed.SLOW_TIER,
        Shed.SLOW_TIER,
    ]


def test_a_backlog_being_sent_sheds_nothing() -> None:
    assert minutes(Budget(0.02), 0.5, draining=True) == [Shed.NOTHING]


def test_after_ten_calm_minutes_one_step_is_taken_back() -> None:
    budget = Budget(0.02)
    minutes(budget, 0.03)
    assert minutes(budget, *[0.001] * 10) == [*[Shed.PROCESSES] * 9, Shed.NOTHING]


def test_cost_is_scaled_as_the_catalogue_says_and_what_is_not_known_is_absent() -> None:
    cost = Cost(1.5, None, 0.002, 10, 20, 30, 40, 50)
    assert values(cost) == {210: 1500, 212: 2000, 213: 10, 214: 20, 215: 30, 216: 40, 217: 50}


def test_resident_memory_is_that_of_this_process() -> None:
    assert (resident_bytes() or 0) > 1 << 20
