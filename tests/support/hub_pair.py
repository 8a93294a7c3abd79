"""Two hubs on one database and four agents that know both, each of which can be killed."""

from __future__ import annotations

import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.everything import Samples, everything_at
from support.owed import caught_up, compare, taken
from support.processes import free_port, get, start, wait_for

NODES = ("n0", "n1", "n2", "n3")


@dataclass
class Hub:
    """A place for a hub: its ports stay the same whenever it is started again."""

    http_port: int
    grpc_port: int
    process: subprocess.Popen[bytes] | None = None
    number: int = 0

    @property
    def ready(self) -> bool:
        assert self.process is None or self.process.poll() is None, f"hub {self.number} has ended"
        return get(self.http_port, "/readyz")[0] == 200

    @property
    def sentence(self) -> str:
        """Why it is not ready; "" when it is, or when it does not answer."""
        status, body = get(self.http_port, "/readyz")
        return str(body["sentence"]) if status == 503 else ""

    @property
    def nodes_up(self) -> int:
        status, body = get(self.http_port, "/api/v1/fleet")
        return int(body["nodes"]["up"]) if status == 200 else 0

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


class HubPair:
    """``hubs[0]`` is the active one at first, where only it was started before."""

    def __init__(self, home: Path, url: str, seconds: float = 15.0) -> None:
        self.home = home
        self.url = url
        self.seconds = seconds
        self.hubs = [Hub(free_port(), free_port()) for _ in range(2)]
        self.started = 0
        self.config: Path | None = None
        """Settings of both hubs, where the usual ones will not do."""
        self.agents: dict[str, subprocess.Popen[bytes]] = {}

    def start_hub(self, hub: Hub, url: str = "") -> None:
        self.started += 1
        hub.number = self.started
        hub.process = start(
            *("hub", "serve", "--database", url or self.url),
            *("--http-port", str(hub.http_port), "--grpc-port", str(hub.grpc_port)),
            *("--journal", str(self.home / f"hub-{hub.number}.jsonl")),
            *(() if self.config is None else ("--config", str(self.config))),
            log=self.home / f"hub-{hub.number}.log",
            extra={"GPUFLEET_DATABASE_SECONDS": str(self.seconds)},
        )

    def start_agent(self, node: str, *more: str) -> None:
        addresses = [f"127.0.0.1:{hub.grpc_port}" for hub in self.hubs]
        self.agents[node] = start(
            *("agent", "run", "--method", "sim", "--gpus", "2", "--node", node),
            *(part for address in addresses for part in ("--hub", address)),
            *("--state-dir", str(self.home / node)),
            *("--journal", str(self.home / f"{node}.jsonl")),
            *more,
            log=self.home / f"{node}.log",
        )

    def start_agents(self, *more: str) -> None:
        for node in NODES:
            self.start_agent(node, *more)
        wait_for(lambda: self.hubs[0].nodes_up == len(NODES), 60, "all nodes up")

    def followed(self, hub: Hub, since: float) -> dict[str, float]:
        """Waits for the hub to take over and the agents to follow; seconds since ``since``."""
        wait_for(lambda: hub.ready, 60, "the standby has taken over")
        taken = time.monotonic() - since
        wait_for(lambda: hub.nodes_up == len(NODES), 60, "the agents have followed")
        return {"taken": taken, "followed": time.monotonic() - since}

    def compare(self, hub: Hub, mortal: tuple[str, ...] = ()) -> tuple[Samples, Samples]:
        """End all in order and compare what is stored with what was taken.

        Returns what is stored of the journals' time and of before: a simulated past is in none.
        """
        until = time.time_ns() // 1_000_000
        wait_for(
            lambda: caught_up(self.home, NODES, hub.number, until), 60, "all has come to the hub"
        )
        for one in sorted(self.hubs, key=lambda one: one is hub):  # the active one last
            self._end(one.process, 60)
        for process in self.agents.values():
            self._end(process, 30)
        stored = everything_at(self.url)
        begins: dict[str, int] = {}
        for node in NODES:
            for subject, tick in taken(self.home / f"{node}.jsonl")[0]:
                begins[subject] = min(tick, begins.get(subject, tick))
        past = {key: values for key, values in stored.items() if key[1] < begins[key[0]]}
        now = {key: values for key, values in stored.items() if key not in past}
        compare(now, self.home, NODES, until, mortal=mortal)
        return now, past

    @staticmethod
    def _end(process: subprocess.Popen[bytes] | None, seconds: float) -> None:
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(seconds) == 0

    def close(self) -> None:
        processes: list[Any] = [hub.process for hub in self.hubs if hub.process]
        for process in [*processes, *self.agents.values()]:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)
