"""Each scenario of the simulator leads to the level and the reasons that docs/sim.md promises."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from gpufleet.agent.model import Reading, Subject
from gpufleet.agent.sim.collector import SimCollector
from gpufleet.agent.sim.faults import FAMILIES, SCENARIOS
from gpufleet.alerting import xid
from gpufleet.alerting.health import Health
from gpufleet.alerting.health_extras import extras_of
from gpufleet.hub.health import FleetHealth
from gpufleet.proto.catalog import BY_ID, metrics

ROWS = {metric.id: row for row, metric in enumerate(metrics())}
NOW = 1_763_900_000_000
STEP_MS = 5_000


@dataclass(frozen=True)
class Outcome:
    """The gravest level in ``seconds`` of a scenario, and words of the reasons it then has."""

    level: int
    words: tuple[str, ...] = ()
    seconds: int = 420
    gpu: int = 0
    node: str = "lab"


HEALTHY = Outcome(0)
OUTCOMES: dict[str, Outcome] = {
    "demo": Outcome(2, ("Thermal slowdown for",)),
    "idle": HEALTHY,
    "overheat": Outcome(2, ("Thermal slowdown for",)),
    "throttle": Outcome(2, ("Thermal slowdown for",)),
    "sw_thermal": Outcome(2, ("Thermal slowdown for",)),
    "hw_slowdown": Outcome(2, ("hardware slowdowns in the last 10 min",), 660),
    "power_brake": Outcome(2, ("Hardware power brake",)),
    "near_slowdown": Outcome(1, ("below the slowdown threshold",)),
    "too_hot": Outcome(2, ("above the maximum operating",)),
    "at_slowdown": Outcome(3, ("has reached the slowdown threshold",), 600),
    "near_shutdown": Outcome(3, ("of the shutdown threshold",)),
    "hbm_hot": Outcome(2, ("Memory temperature", "above its maximum")),
    "pcie_slow": Outcome(1, ("generation 1 of 5 while utilisation is",)),
    "overpower": HEALTHY,
    "busyidle": Outcome(0, seconds=1300),
    "powercap": HEALTHY,
    "powerstep": Outcome(0, seconds=1300),
    "fanfail": Outcome(2, ("The fan stands still",), gpu=1),
    "memheld": HEALTHY,
    "memfull": HEALTHY,
    "stuck_kernel": HEALTHY,
    "zeropower": HEALTHY,
    "nopower": HEALTHY,
    "frozen": HEALTHY,
    "ecc": Outcome(3, ("1 uncorrected ECC error",)),
    "xid94": Outcome(2, ("contained", "Xid 94")),
    "remap": Outcome(2, ("waits for a reset",)),
    "remapped": Outcome(1, ("1 memory rows were remapped",)),
    "remap_many": Outcome(2, ("512 memory rows were remapped",)),
    "remap_failed": Outcome(3, ("Remapping of a memory row failed", "Xid 64")),
    "sram": Outcome(3, ("SRAM errors passed the threshold",)),
    "retire": Outcome(2, ("Retirement of a memory page waits",), node="v100-1"),
    "retired": Outcome(3, ("memory pages are retired",), node="v100-1"),
    "xid48": Outcome(3, ("Xid 48", "uncorrected ECC", "recovery action 1", "waits for a reset")),
    "nvlink": Outcome(1, ("NVLink errors",)),
    "nvlink_replay": Outcome(2, ("NVLink replays and recoveries",)),
    "nvlink_crc": Outcome(3, ("NVLink CRC errors a second",)),
    "nvlink_down": Outcome(3, ("NVLink 3 was up and is down",)),
    "pcie": Outcome(2, ("8 lanes of 16", "PCIe replays in the last minute")),
    "dcgm_warning": Outcome(2, ("DCGM reports a warning of InfoROM",)),
    "dcgm_failure": Outcome(3, ("DCGM reports a failure of Memory",)),
    "dcgm_capping": HEALTHY,
    "xid79": Outcome(3, ("The GPU is lost", "Xid 79")),
    "reset_required": Outcome(3, ("needs a reset",)),
    "no_permission": Outcome(1, ("no permission",)),
    "error": Outcome(1, ("cannot be read (error)",)),
    "vanish": Outcome(3, ("no longer lists it",)),
    "hang": Outcome(3, ("The collector hangs",)),
}

NUMBERED: dict[str, Outcome] = {
    "recovery1": Outcome(3, ("reset of the GPU (recovery action 1)",)),
    "recovery2": Outcome(3, ("recovery action 2",)),
    "recovery3": Outcome(2, ("drain peer-to-peer",)),
    "recovery4": Outcome(3, ("recovery action 4",)),
    "recovery9": Outcome(3, ("not known here (9)",)),
    "xid13": Outcome(1, ("Xid 13", "times")),
    "xid13@5m": HEALTHY,
    "xid63@1h": Outcome(1, ("Xid 63",), 3900),
    "xid109@5m": Outcome(2, ("Xid 109",)),
    "xid109": Outcome(3, ("Xid 109", "times")),
    "xid119": Outcome(3, ("Xid 119",)),
    "xid154": HEALTHY,
    "xid9999": Outcome(1, ("Xid 9999",)),
}


class Watched:
    """A simulated GPU that the hub's health follows, sample by sample on a passed clock."""

    def __init__(self, scenario: str, node: str = "lab", gpu: int = 0) -> None:
        self.now = NOW - 120_000
        name, _, period = scenario.partition("@")
        text = f"{name}:{gpu}" + (f"@{period}" if period else "") if name else ""
        self.collector = SimCollector(node, 4, 1, text, lambda: self.now, NOW)
        self.collector.open()
        self.subject: Subject = self.collector.subjects()[gpu]
        # A read that would hang says so instead of hanging.
        self.collector.close()
        self.values = np.full((len(ROWS), 1), np.nan)
        self.tick_ms = np.zeros(1, np.int64)
        self.fleet = FleetHealth()
        self.fleet.set_subject(0, self.subject.key, self.subject.facts, interval_ms=STEP_MS)
        self.detail: object = None

    def step(self) -> Health:
        """One more sample; the health after it."""
        self.now += STEP_MS
        for seen in self.collector.sightings():
            self.fleet.note_xid(0, seen.code, seen.time_ms)
        reading = self.collector.read(self.subject, slow=True)
        self._take(reading)
        faults = {} if reading.fault is None else {0: reading.fault.state.value}
        self.fleet.update(self.values, ROWS, self.tick_ms, self.now, faults=faults)
        return self.fleet.health(0)

    def _take(self, reading: Reading) -> None:
        if reading.detail != self.detail:
            self.detail = reading.detail
            self.fleet.set_extras(0, extras_of(reading.detail))
        if reading.values is not None:
            self.values[:] = np.nan
            for id_, raw in reading.values.items():
                metric = BY_ID[id_]
                self.values[ROWS[id_], 0] = raw * metric.multiplier / metric.divisor
            self.tick_ms[0] = self.now

    def until(self, second: int) -> list[Health]:
        """Every health up to that second of the scenario."""
        healths = []
        while self.now < NOW + second * 1000:
            healths.append(self.step())
        return healths


@cache
def healths_of(name: str) -> tuple[Outcome, tuple[Health, ...], tuple[Health, ...]]:
    """The outcome that is promised, the health before the scenario's begin and since."""
    outcome = {**OUTCOMES, **NUMBERED}[name]
    watched = Watched(name, outcome.node, outcome.gpu)
    before = tuple(watched.until(0)[:-1])
    return outcome, before, tuple(watched.until(outcome.seconds))


@pytest.mark.parametrize("name", [*SCENARIOS, *NUMBERED])
def test_a_scenario_leads_to_its_level_and_its_reason(name: str) -> None:
    assert name in OUTCOMES or name in NUMBERED, f"say in OUTCOMES what {name} leads to"
    outcome, before, since = healths_of(name)
    assert {health.level for health in before} == {0}
    worst = max(since, key=lambda health: health.level or 0)
    assert worst.level == outcome.level, worst.reasons
    told = [health.reasons for health in since if health.level == outcome.level]
    assert any(all(any(w in r for r in reasons) for w in outcome.words) for reasons in told), told


@pytest.mark.parametrize("node", ["lab", "v100-1", "gpu-1"])
@pytest.mark.parametrize("gpu", [0, 1, 3])
def test_without_a_scenario_a_gpu_stays_healthy(node: str, gpu: int) -> None:
    assert {health.level for health in Watched("", node, gpu).until(900)} == {0}


def test_the_documentation_tells_the_level_of_every_scenario() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sim.md").read_text()
    told = {
        name: int(level) for name, level in re.findall(r"^\| `(\w+)` \|.*\| (\d) \|$", page, re.M)
    }
    assert told == {name: outcome.level for name, outcome in OUTCOMES.items()}
    assert [name for name in FAMILIES if f"| `{name}` |" not in page] == []


def test_an_xid_of_every_class_can_be_had() -> None:
    kinds = {
        xid.describe(code).kind
        for name in (*OUTCOMES, *NUMBERED)
        for code in map(int, re.findall(r"^xid(\d+)", name))
    }
    assert kinds == set(xid.XidClass)
