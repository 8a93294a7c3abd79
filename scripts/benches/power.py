"""power: does the detector of unexplained power steps find faults, and is it silent otherwise?

Simulates GPUs at work second by second, some of them with a fault that is put in by code that
does not know the detector, and asks the detector and an alert rule with ``for: 5m`` behind it.
Exit status 1 when less than 14 of 16 faults of a kind are found (of step, cap, hang and zero), or
when 0.05 or more false alarms come a GPU-day.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benches.power_faults import KINDS, Fault, inject
from benches.power_fleet import WORK, Day, day_of, kinds
from gpufleet.alerting.engine.machine import Timing
from gpufleet.alerting.engine.machines import Machines
from gpufleet.alerting.power.steps import PowerSteps
from gpufleet.alerting.state import Kind

START_MS = 1_763_900_000_000
GATE_MS = 300_000
LEAST_FOUND = 14 / 16
MOST_ALARMS = 0.05
AFTERMATH = 600
"""So many seconds after a fault an alarm is still its own."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alarm:
    """The detector found a step at this second, or the rule behind it fired."""

    gpu: int
    second: int


@dataclass(slots=True)
class Outcome:
    """What came of some days."""

    steps: list[Alarm] = field(default_factory=list)
    fired: list[Alarm] = field(default_factory=list)


def watch(days: Sequence[Day], seed: int = 0, interval: int = 1) -> Outcome:
    """Feed days of equal length to the detector and to a rule of 5 minutes behind it.

    A sample comes each ``interval`` seconds.
    """
    rng = np.random.default_rng(seed)
    n, seconds = len(days), len(days[0].power)
    power = np.array([day.power for day in days]).T.copy()
    utilization = np.array([day.utilization for day in days]).T.copy()
    limits = np.array([day.board.limit for day in days])
    changes: dict[int, list[int]] = {}
    for gpu, day in enumerate(days):
        for second in day.changes:  # an agent lists processes every ten seconds
            seen = -(-(second + int(rng.uniform(0, 10))) // interval) * interval
            changes.setdefault(seen, []).append(gpu)
    everyone, every = np.arange(n), np.full(n, 1000 * interval)
    steps, machines = PowerSteps(n), Machines(Timing(GATE_MS), n)
    before = np.zeros(n, np.bool_)
    outcome = Outcome()
    for second in range(0, seconds, interval):
        now = START_MS + second * 1000
        there = ~(np.isnan(power[second]) & np.isnan(utilization[second]))
        slots = everyone[there]
        times = np.full(len(slots), now)
        steps.feed(
            slots,
            times,
            every[there],
            power[second, there].astype(np.float64),
            limits[there],
            utilization[second, there].astype(np.float64),
        )
        if second in changes:
            whose = np.array(changes[second])
            steps.note_changed(whose, np.full(len(whose), now))
        flags = steps.flags[slots]
        for one in machines.step(
            slots, times, np.zeros_like(slots), flags == 1, flags == 0, ~np.isnan(flags)
        ):
            if one.kind is Kind.FIRED:
                outcome.fired.append(Alarm(one.slot, second))
        latched = steps.latched(everyone)
        if (latched & ~before).any():
            fresh = np.flatnonzero(latched & ~before)
            outcome.steps += [Alarm(gpu, second) for gpu in fresh.tolist()]
        before = latched
    return outcome


def with_faults(seed: int, each: int, seconds: int) -> tuple[list[Day], list[Fault]]:
    """So many days with one fault of each kind."""
    days: list[Day] = []
    faults: list[Fault] = []
    rng = np.random.default_rng([seed, 1])
    works = [work for work in WORK if work not in ("idle", "notebook")]
    for kind in KINDS:
        wanted = len(faults) + each
        while len(faults) < wanted:
            number = int(rng.integers(1 << 30))
            work = works[int(rng.choice(len(works), p=[0.5, 0.05, 0.35, 0.1]))]
            day = day_of(seed, number, work, seconds)
            fault = inject(rng, day, kind)
            if fault is not None:
                days.append(day)
                faults.append(fault)
    return days, faults


def found(faults: Sequence[Fault], fired: Iterable[Alarm]) -> dict[int, int]:
    """Which faults were told of, and the seconds that took."""
    told: dict[int, int] = {}
    for alarm in fired:
        fault = faults[alarm.gpu]
        if fault.start <= alarm.second < fault.end + 60:
            told.setdefault(alarm.gpu, alarm.second - fault.start)
    return told


def false_alarms(faults: Sequence[Fault], fired: Iterable[Alarm]) -> list[Alarm]:
    """Alarms that are not of the GPU's fault."""
    return [
        alarm
        for alarm in fired
        if not faults[alarm.gpu].start <= alarm.second < faults[alarm.gpu].end + AFTERMATH
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench power", description=__doc__)
    parser.add_argument("--gpus", type=int, default=224, help="GPUs without a fault (224)")
    parser.add_argument("--hours", type=float, default=24.0, help="hours of each GPU (24)")
    parser.add_argument("--each", type=int, default=16, help="faults of each kind (16)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is random (1)")
    parser.add_argument("--list", action="store_true", help="tell of every false alarm")
    args = parser.parse_args()
    if not 1 <= args.gpus <= 1000 or not 1 <= args.hours <= 24 or not 1 <= args.each <= 100:
        parser.error("1 to 1000 GPUs, 1 to 24 hours and 1 to 100 faults of a kind can be simulated")
    return args


def _cost() -> float:
    """CPU seconds that a second of 8,000 GPUs costs."""
    n = 8000
    rng = np.random.default_rng(1)
    steps, slots, every, limit = PowerSteps(n), np.arange(n), np.full(n, 1000), np.full(n, 700.0)
    busy = rng.uniform(0.9, 1.0, n)
    spent = []
    for second in range(460):
        power = rng.normal(500.0, 30.0, n)
        before = time.process_time()
        steps.feed(slots, np.full(n, START_MS + second * 1000), every, power, limit, busy)
        spent.append(time.process_time() - before)
    return float(np.mean(spent[400:]))


def main() -> int:
    """Print the tables; 0 when all bounds are met."""
    args = _arguments()
    seconds = int(args.hours * 3600)
    calm = [day_of(args.seed, i, work, seconds) for i, work in enumerate(kinds(args.gpus))]
    ill, faults = with_faults(args.seed, args.each, seconds)
    outcome = watch([*calm, *ill])
    of_calm = [alarm for alarm in outcome.fired if alarm.gpu < len(calm)]
    of_ill = [Alarm(a.gpu - len(calm), a.second) for a in outcome.fired if a.gpu >= len(calm)]
    good = True

    print(f"{'work':<15}{'GPU-days':>9}{'steps found':>12}{'alarms':>8}{'a GPU-day':>11}")
    found_by = Counter(calm[a.gpu].work for a in outcome.steps if a.gpu < len(calm))
    fired_by = Counter(calm[a.gpu].work for a in of_calm)
    days_by = Counter(day.work for day in calm)
    for work, count in days_by.items():
        gpu_days = count * args.hours / 24
        fired = fired_by[work]
        print(f"{work:<15}{gpu_days:>9.1f}{found_by[work]:>12}{fired:>8}{fired / gpu_days:>11.3f}")
    stray = false_alarms(faults, of_ill)
    gpu_days = (len(calm) + len(ill)) * args.hours / 24
    alarms = len(of_calm) + len(stray)
    rate = alarms / gpu_days
    good &= rate < MOST_ALARMS
    print(f"{'GPUs with fault':<15}{len(ill) * args.hours / 24:>9.1f}{'':>12}{len(stray):>8}")
    print(f"{'all':<15}{gpu_days:>9.1f}{len(outcome.steps):>12}{alarms:>8}{rate:>11.3f}")
    if args.list:
        for alarm in of_calm:
            day = calm[alarm.gpu]
            print(f"  GPU {alarm.gpu} ({day.board.name}, {day.work}): at second {alarm.second}")
        for alarm in stray:
            print(f"  GPU with fault {alarm.gpu}, {faults[alarm.gpu]}: at {alarm.second}")

    print(f"\n{'fault':<15}{'found':>9}{'after, median':>15}{'at most':>9}")
    told = found(faults, of_ill)
    for kind in KINDS:
        these = [i for i, fault in enumerate(faults) if fault.kind == kind]
        delays = [told[i] for i in these if i in told]
        asked = kind != "oscillation"
        good &= len(delays) >= LEAST_FOUND * len(these) or not asked
        line = f"{kind:<15}{f'{len(delays)} of {len(these)}':>9}"
        if delays:
            line += f"{np.median(delays):>13.0f} s{max(delays):>7} s"
        print(line + ("" if asked else "   (reported only)"))
        if args.list:
            for i in these:
                if i not in told:
                    print(f"  not found: {ill[i].work} {ill[i].board.name} {faults[i]}")
    print(f"\n8,000 GPUs at 1 s: {1000 * _cost():.1f} ms of CPU a second")
    if not good:
        print("bounds missed: see the exit status in --help", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
