"""A whole agent in this process over a scripted collector, on a clock that runs fast."""

from __future__ import annotations

import io
import json
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpufleet.agent.clock import Clock
from gpufleet.agent.config import Settings, load
from gpufleet.agent.host import Host
from gpufleet.agent.log import Log
from gpufleet.agent.runtime import Agent
from support.agent_clock import FastClock
from support.scripted_collector import ScriptedCollector

Sample = tuple[str, str, int]


def settings(folder: Path, *hubs: str, **changes: Any) -> Settings:
    """Settings of a test's agent, with its state and journal in ``folder``."""
    flags = {
        "node": "n1",
        "method": "sim",
        "hub": list(hubs) or None,
        "state_dir": str(folder / "state"),
        "journal": str(folder / "journal"),
    }
    return replace(load(None, {}, flags), **changes)


class RunningAgent:
    """An agent in a thread; ``log`` is what it said."""

    def __init__(self, made: Settings, collector: ScriptedCollector, clock: Clock) -> None:
        self.log = io.StringIO()
        self.agent = Agent(
            made,
            collector,
            version="1.2.3",
            clock=clock,
            log=Log(self.log),
            machine=Host(),
            rng=random.Random(1),
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.agent.run, args=(self.stop,))
        self.thread.start()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


@contextmanager
def running_agent(
    made: Settings, collector: ScriptedCollector | None = None, clock: Clock | None = None
) -> Iterator[RunningAgent]:
    """An agent that ends with the block; forty times real time unless a clock is given."""
    running = RunningAgent(made, collector or ScriptedCollector("a", "b"), clock or FastClock(40))
    try:
        yield running
    finally:
        running.end()


def journal_of(folder: Path) -> list[dict[str, Any]]:
    """Every whole line of the journal; the agent may be writing the next."""
    whole, _, _ = (folder / "journal").read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def samples_of(lines: Sequence[dict[str, Any]]) -> dict[Sample, dict[int, int]]:
    """The journal's samples as a hub would hold them."""
    found: dict[Sample, dict[int, int]] = {}
    for line in lines:
        for subject, values in line.get("samples", {}).items():
            kind, _, key = subject.partition("/")
            found[kind, key, line["tick"]] = {int(m): raw for m, raw in values.items()}
    return found
