"""alerts: 20 threshold rules over 8,000 GPUs, a tick at a time, beside the bare comparisons.

Prints the time of a tick while all is calm, while a tenth of the fleet fires, and of the detector
of power steps apart; and how many Python calls a tick makes with 100 and with 8,000 GPUs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.engine.engine import Engine
from gpufleet.alerting.engine.running import Subject
from gpufleet.alerting.rules.file import read_rules
from gpufleet.alerting.rules.rule import RuleSet
from gpufleet.alerting.state import Scope
from gpufleet.hub.alert_names import alert_schema

RULES = 20
METRICS = (
    *("temperature_celsius", "memory_temperature_celsius", "power_watts", "power_average_watts"),
    *("memory_used_bytes", "clock_memory_hertz", "clock_sm_hertz", "pcie_replay_total"),
    *("remapped_rows_pending", "ecc_uncorrected_volatile_total"),
)
START_MS = 1_700_000_000_000
CALM, HOT = 50.0, 95.0


def threshold_rules(power: bool = False) -> RuleSet:
    """RULES comparisons; with ``power`` the detector of power steps alone."""
    lines = ["groups:", "- name: bench", "  rules:"]
    if power:
        lines.append("  - {alert: Step, expr: power_step(), for: 5m}")
    else:
        for number in range(RULES):
            metric = METRICS[number % len(METRICS)]
            lines.append(
                f"  - {{alert: R{number}, expr: {metric} > {80 + number // len(METRICS)}, for: 5m}}"
            )
    return read_rules("\n".join(lines), alert_schema(), "bench")


class Fleet:
    """An engine over some GPUs, driven tick by tick."""

    def __init__(self, rules: RuleSet, gpus: int) -> None:
        schema = alert_schema()
        self.engine = Engine(rules, schema, gpus)
        for slot in range(gpus):
            subject = Subject(Scope.GPU, f"GPU-{slot}", f"n{slot // 8}", "H100")
            self.engine.set_subject(slot, subject)
        self.slots = np.arange(gpus)
        self.epochs = np.ones(gpus, np.int64)
        self.values = np.full((len(schema.metrics), gpus), CALM)
        self.values[schema.metrics["power_limit_watts"].row] = 700.0
        self.tick = START_MS

    def heat(self, share: float) -> None:
        """So much of the fleet is bad from now on."""
        rows = [alert_schema().metrics[name].row for name in METRICS]
        count = round(len(self.slots) * share)
        self.values[np.ix_(rows, range(count))] = HOT

    def step(self) -> int:
        """A tick; how many alerts moved."""
        self.tick += 1000
        ticks = np.full(len(self.slots), self.tick, np.int64)
        return len(self.engine.step_samples(self.slots, self.epochs, ticks, self.values))


def bare(values: NDArray[np.float64]) -> Callable[[], None]:
    """What the comparisons alone cost."""
    rows = [alert_schema().metrics[METRICS[n % len(METRICS)]].row for n in range(RULES)]

    def compare() -> None:
        for number, row in enumerate(rows):
            (values[row] > 80.0 + number // len(METRICS)).any()

    return compare


def calls_a_tick(gpus: int) -> int:
    """Python function calls of one calm tick."""
    fleet = Fleet(threshold_rules(), gpus)
    fleet.step()
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        fleet.step()
    finally:
        sys.setprofile(None)
    return count


def _timed(label: str, action: Callable[[], object], ticks: int) -> float:
    times = []
    for _ in range(ticks):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    median = statistics.median(times) * 1e3
    print(f"{label}: median {median:.2f} ms a tick, worst {max(times) * 1e3:.2f} ms")
    return median


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench alerts", description=__doc__)
    parser.add_argument("--gpus", type=int, default=8000, help="GPUs (8000)")
    parser.add_argument("--ticks", type=int, default=200, help="ticks of each kind (200)")
    args = parser.parse_args()
    if not 8 <= args.gpus <= 100_000 or not 10 <= args.ticks <= 10_000:
        parser.error("8 to 100000 GPUs and 10 to 10000 ticks")
    calm = Fleet(threshold_rules(), args.gpus)
    plain = _timed("bare comparisons of numpy", bare(calm.values), args.ticks)
    engine = _timed(f"{RULES} rules, all calm", calm.step, args.ticks)
    print(f"  {engine / plain:.1f} times the bare comparisons")
    hot = Fleet(threshold_rules(), args.gpus)
    hot.heat(0.1)
    _timed(f"{RULES} rules, a tenth pending", hot.step, min(args.ticks, 250))
    for _ in range(310):
        hot.step()
    _timed(f"{RULES} rules, a tenth firing", hot.step, args.ticks)
    power = Fleet(threshold_rules(power=True), args.gpus)
    for _ in range(400):  # its windows fill
        power.step()
    _timed("power steps", power.step, args.ticks)
    few, many = calls_a_tick(100), calls_a_tick(args.gpus)
    print(f"Python calls a calm tick: {few} with 100 GPUs, {many} with {args.gpus}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
