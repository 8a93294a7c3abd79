"""Kills hubs and agents, cuts connections and locks the database at random: nothing owed is lost,
doubled or invented.

A short run by default; ``GPUFLEET_CHAOS_SECONDS=120`` makes the long one. The seed is printed.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from support.everything import everything_at
from support.owed import caught_up, compare
from support.postgres_cluster import Cluster
from support.processes import free_port, get, start, wait_for
from support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.own_database

SECONDS = float(os.environ.get("GPUFLEET_CHAOS_SECONDS", "40"))
SEED = int(os.environ.get("GPUFLEET_CHAOS_SEED", str(random.SystemRandom().randrange(1 << 31))))
STEADY = ("s0", "s1", "s2")
"""Nodes whose agent is never killed: every tick of theirs is owed."""
MORTAL = ("m0", "m1", "m2")


class Stage:
    """A hub and six agents, each of which can be killed and started again."""

    def __init__(self, home: Path, database: str) -> None:
        self.home = home
        self.database = database
        self.http_port, self.grpc_port = free_port(), free_port()
        self.proxies = {n: TcpProxy(("127.0.0.1", self.grpc_port)) for n in STEADY + MORTAL}
        self.hub: subprocess.Popen[bytes] | None = None
        self.hubs = 0
        self.killed_hubs: set[int] = set()
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.kills: dict[str, list[int]] = defaultdict(list)

    def start_hub(self) -> None:
        self.hubs += 1
        self.hub = start(
            *("hub", "serve", "--database", self.database),
            *("--http-port", str(self.http_port), "--grpc-port", str(self.grpc_port)),
            *("--journal", str(self.home / f"hub-{self.hubs}.jsonl")),
            log=self.home / "hub.log",
        )

    def kill_hub(self) -> None:
        assert self.hub is not None
        self.hub.kill()
        self.hub.wait()
        self.killed_hubs.add(self.hubs)

    @contextmanager
    def locked_database(self) -> Iterator[None]:
        """Nobody else can write to the database meanwhile."""
        path = self.home / "hub" / "gpufleet.db"
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def start_agent(self, node: str) -> None:
        self.agents[node] = start(
            *("agent", "run", "--method", "sim", "--gpus", "2", "--node", node),
            *("--hub", f"127.0.0.1:{self.proxies[node].port}"),
            *("--state-dir", str(self.home / node)),
            *("--journal", str(self.home / f"{node}.jsonl")),
            log=self.home / f"{node}.log",
        )

    def kill_agent(self, node: str) -> None:
        self.agents[node].kill()
        self.agents[node].wait()
        self.kills[node].append(time.time_ns() // 1_000_000)

    def close(self) -> None:
        processes = [*self.agents.values(), *([self.hub] if self.hub else [])]
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)
        for proxy in self.proxies.values():
            proxy.__exit__(None, None, None)


def _torment(
    stage: Stage, dice: random.Random, seconds: float, server: Cluster | None = None
) -> list[str]:
    """Random faults for so long; returns what was done. A server is killed at least once."""
    done = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or (server and "database" not in done):
        time.sleep(dice.uniform(0.3, min(5.0, seconds / 10)))
        action = dice.choice(["hub", "agent", "agent", "cut", "cut", "freeze", "database"])
        if action == "database" and server is None:
            action = "lock"
        elif server is not None and "database" not in done:
            action = "database"
        if action == "database":
            assert server is not None
            server.stop("immediate")
            time.sleep(dice.choice([0.0, 1.0, 4.0]))
            server.start()
        elif action == "hub":
            stage.kill_hub()
            time.sleep(dice.choice([0.0, 1.0, 4.0]))
            stage.start_hub()
        elif action == "lock":
            with stage.locked_database():
                time.sleep(dice.uniform(1, min(14.0, SECONDS / 6)))
                if dice.random() < 0.3:
                    stage.kill_hub()
                    stage.start_hub()
                    time.sleep(dice.uniform(0, 3))
                    action = "lock and hub"
        elif action == "agent":
            node = dice.choice(MORTAL)
            stage.kill_agent(node)
            time.sleep(dice.choice([0.0, 1.5]))
            stage.start_agent(node)
            action = f"agent {node}"
        else:
            node = dice.choice(STEADY + MORTAL)
            proxy = stage.proxies[node]
            if action == "freeze":
                proxy.freeze()
                time.sleep(dice.uniform(0.5, 3))
                proxy.thaw()
            proxy.cut()
            action = f"{action} {node}"
        done.append(action)
    return done


@pytest.mark.timeout(SECONDS + 240)
def test_every_owed_tick_is_stored_exactly_once_whatever_is_killed_or_cut(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    _crash(Stage(tmp_path, f"sqlite:///{tmp_path / 'hub' / 'gpufleet.db'}"), SECONDS)


def test_the_same_on_postgresql_whose_server_is_killed_as_well(
    tmp_path: Path, postgres_url: str, postgres: Cluster
) -> None:
    _crash(Stage(tmp_path, postgres_url), SECONDS / 3, postgres)


def _crash(stage: Stage, seconds: float, server: Cluster | None = None) -> None:
    dice = random.Random(SEED)
    print(f"GPUFLEET_CHAOS_SEED={SEED}")
    try:
        stage.start_hub()
        for node in STEADY + MORTAL:
            stage.start_agent(node)
        wait_for(lambda: _nodes_up(stage) == 6, 60, "six nodes up")
        done = _torment(stage, dice, seconds, server)
        until = time.time_ns() // 1_000_000
        # Everything runs again for a while: what is owed arrives.
        wait_for(lambda: _nodes_up(stage) == 6, 90, "six nodes up after the torment")
        wait_for(
            lambda: caught_up(stage.home, STEADY + MORTAL, stage.hubs, until),
            60,
            "every journalled tick received",
        )
        assert stage.hub is not None
        stage.hub.send_signal(signal.SIGTERM)
        assert stage.hub.wait(60) == 0
        for process in stage.agents.values():
            process.send_signal(signal.SIGTERM)
        for process in stage.agents.values():
            assert process.wait(30) == 0
        stored = everything_at(stage.database)
        died = compare(
            stored,
            stage.home,
            STEADY + MORTAL,
            until,
            mortal=MORTAL,
            killed_hubs=stage.killed_hubs,
        )
        print(
            f"{len(done)} faults ({stage.hubs - 1} hub kills, {done.count('database')} of the"
            f" database, {sum(len(k) for k in stage.kills.values())} agent kills): {len(stored)}"
            f" samples stored, {died} taken by an agent that died with them, not owed"
        )
    finally:
        stage.close()


def _nodes_up(stage: Stage) -> int:
    status, body = get(stage.http_port, "/api/v1/fleet")
    return body["nodes"]["up"] if status == 200 else 0
