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

import orjson
import pytest

from support.everything import Samples, everything_in
from support.processes import free_port, get, start, wait_for
from support.tcp_proxy import TcpProxy

SECONDS = float(os.environ.get("GPUFLEET_CHAOS_SECONDS", "40"))
SEED = int(os.environ.get("GPUFLEET_CHAOS_SEED", str(random.SystemRandom().randrange(1 << 31))))
STEADY = ("s0", "s1", "s2")
"""Nodes whose agent is never killed: every tick of theirs is owed."""
MORTAL = ("m0", "m1", "m2")


class Stage:
    """A hub and six agents, each of which can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home = home
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
            *("hub", "serve", "--data-dir", str(self.home / "hub")),
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


def _journal(path: Path) -> tuple[Samples, dict[tuple[str, int], tuple[int, int]]]:
    """What an agent took, and the (epoch, seq) of each."""
    samples: Samples = {}
    places: dict[tuple[str, int], tuple[int, int]] = {}
    for line in path.read_bytes().splitlines():
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # the agent was killed in the middle of its last line
        for subject, values in entry.get("samples", {}).items():
            key = (subject, entry["tick"])
            assert key not in samples, f"{key} was taken twice"
            samples[key] = {int(k): v for k, v in values.items()}
            places[key] = (entry["epoch"], entry["seq"])
    return samples, places


def _received(home: Path) -> dict[tuple[str, int], list[tuple[int, int, int]]]:
    """(node, epoch) → (first seq, last seq, which hub) of every batch that a hub received."""
    result: dict[tuple[str, int], list[tuple[int, int, int]]] = defaultdict(list)
    for path in home.glob("hub-*.jsonl"):
        number = int(path.stem.removeprefix("hub-"))
        for line in path.read_bytes().splitlines():
            try:
                e = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            result[(e["node"], e["epoch"])].append((e["seq"] - e["count"] + 1, e["seq"], number))
    return result


def _torment(stage: Stage, dice: random.Random) -> list[str]:
    """Random faults for SECONDS; returns what was done."""
    done = []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(dice.uniform(0.3, min(5.0, SECONDS / 10)))
        action = dice.choice(["hub", "agent", "agent", "cut", "cut", "freeze", "lock"])
        if action == "hub":
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
    dice = random.Random(SEED)
    print(f"GPUFLEET_CHAOS_SEED={SEED}")
    stage = Stage(tmp_path)
    try:
        stage.start_hub()
        for node in STEADY + MORTAL:
            stage.start_agent(node)
        wait_for(lambda: _nodes_up(stage) == 6, 60, "six nodes up")
        done = _torment(stage, dice)
        until = time.time_ns() // 1_000_000
        # Everything runs again for a while: what is owed arrives.
        wait_for(lambda: _nodes_up(stage) == 6, 90, "six nodes up after the torment")
        wait_for(lambda: _caught_up(stage, until), 60, "every journalled tick received")
        assert stage.hub is not None
        stage.hub.send_signal(signal.SIGTERM)
        assert stage.hub.wait(60) == 0
        for process in stage.agents.values():
            process.send_signal(signal.SIGTERM)
        for process in stage.agents.values():
            assert process.wait(30) == 0
        _compare(stage, until, done)
    finally:
        stage.close()


def _nodes_up(stage: Stage) -> int:
    status, body = get(stage.http_port, "/api/v1/fleet")
    return body["nodes"]["up"] if status == 200 else 0


def _caught_up(stage: Stage, until: int) -> bool:
    """Every steady node's records up to ``until`` came to the hub that runs now."""
    received = _received(stage.home)
    for node in STEADY + MORTAL:
        _, places = _journal(stage.home / f"{node}.jsonl")
        newest = max(place for (_, tick), place in places.items() if tick <= until)
        live = [last for _, last, n in received[(node, newest[0])] if n == stage.hubs]
        if not live or max(live) < newest[1]:
            return False
    return True


def _compare(stage: Stage, until: int, done: list[str]) -> None:
    stored = everything_in(stage.home / "hub" / "gpufleet.db")
    received = _received(stage.home)
    taken_by_all: Samples = {}
    lost_with_their_agent = 0
    for node in STEADY + MORTAL:
        taken, places = _journal(stage.home / f"{node}.jsonl")
        taken_by_all |= taken
        for key, values in taken.items():
            if key[1] > until:
                continue
            if key in stored:
                assert stored[key] == values, f"{node} {key}: the stored values are not those taken"
                continue
            epoch, seq = places[key]
            holders = [
                number for first, last, number in received[(node, epoch)] if first <= seq <= last
            ]
            assert node in MORTAL, f"{node} {key} is owed and not stored (received by {holders})"
            assert set(holders) <= stage.killed_hubs, f"{node} {key} was received, and lost"
            lost_with_their_agent += 1
    invented = set(stored) - set(taken_by_all)
    assert not invented, f"stored, but nobody took them: {sorted(invented)[:5]}"
    print(
        f"{len(done)} faults ({stage.hubs - 1} hub kills,"
        f" {sum(action.startswith('lock') for action in done)} locks,"
        f" {sum(len(k) for k in stage.kills.values())} agent kills): {len(stored)} samples stored,"
        f" {lost_with_their_agent} taken by an agent that died with them, not owed"
    )
