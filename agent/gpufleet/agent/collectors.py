"""Which method reads this node's GPUs, and why. Each collector is imported only when chosen."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from gpufleet.agent.model import Collector, CollectorUnavailable
from gpufleet.agent.processes.table import REVEAL_NOTHING, Reveal

METHODS = ("nvml", "bash", "sim", "auto")


@dataclass(frozen=True, slots=True)
class Choice:
    """A collector and the sentence that says why it was chosen."""

    collector: Collector
    reason: str


@dataclass(frozen=True, slots=True)
class Simulation:
    """What the sim method needs to know."""

    node: str
    gpus: int = 3
    seed: int = 1
    scenario: str = ""
    since_ms: int | None = None
    slow_seconds: float = 30.0
    """How often the slow tier is read, for every method."""
    reveal: Reveal = REVEAL_NOTHING
    """What of processes' own words is told, for every method."""


def choose(method: str, simulation: Simulation, clock: Callable[[], int]) -> Choice:
    """The collector of a method; CollectorUnavailable says why there is none.

    Nothing is asked of the driver here, so that a driver that hangs cannot hold us.
    """
    if method == "sim":
        return Choice(_sim(simulation, clock), "sim was asked for: its GPUs are made up")
    if method == "nvml":
        return Choice(_nvml(simulation), "nvml was asked for")
    if method == "bash":
        return Choice(_bash(simulation), "bash was asked for")
    if method == "auto":
        if driver_library_is_here():
            return Choice(_nvml(simulation), "libnvidia-ml.so.1 is here")
        if nvidia_smi_is_here():
            reason = "there is no libnvidia-ml.so.1, but nvidia-smi is on the PATH"
            return Choice(_bash(simulation), reason)
        reason = "there is neither libnvidia-ml.so.1 nor nvidia-smi on the PATH"
        return Choice(_nvml(simulation), reason)
    raise CollectorUnavailable(f"There is no method {method!r}: use {', '.join(METHODS)}.")


def driver_library_is_here() -> bool:
    """True if the driver's library can be loaded; that alone asks nothing of the driver."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def nvidia_smi_is_here() -> bool:
    """True if nvidia-smi is on the PATH; it is not run."""
    return shutil.which("nvidia-smi") is not None


def methods_on_demand(running: str) -> tuple[str, ...]:
    """What this node can be asked to collect with, the running method first."""
    here = {"nvml": driver_library_is_here(), "bash": nvidia_smi_is_here(), "sim": True}
    return (running, *(method for method in here if here[method] and method != running))


def _sim(simulation: Simulation, clock: Callable[[], int]) -> Collector:
    from gpufleet.agent.sim.collector import SimCollector

    try:
        return SimCollector(
            simulation.node,
            gpus=simulation.gpus,
            seed=simulation.seed,
            scenario=simulation.scenario,
            clock=clock,
            since_ms=simulation.since_ms,
        )
    except ValueError as error:
        sentence = str(error)
        stop = "" if sentence.endswith((".", "?")) else "."
        raise CollectorUnavailable(f"{sentence[:1].upper()}{sentence[1:]}{stop}") from error


def _nvml(simulation: Simulation) -> Collector:
    from gpufleet.agent.nvml.collector import NvmlCollector

    # A slow value may be as old as three slow readings before it is absent.
    slow_seconds = max(3 * simulation.slow_seconds, 90.0)
    return NvmlCollector(node=simulation.node, slow_seconds=slow_seconds, reveal=simulation.reveal)


def _bash(simulation: Simulation) -> Collector:
    from gpufleet.agent.smi.collector import SmiCollector

    return SmiCollector(node=simulation.node, reveal=simulation.reveal)
