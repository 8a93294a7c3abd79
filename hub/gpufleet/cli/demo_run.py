"""The running demo: starts the hub and the agents, watches them, says what happens, ends them."""

from __future__ import annotations

import email
import email.policy
import http.client
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpufleet.cli import children, demo_plan, demo_screen
from gpufleet.cli.children import Child
from gpufleet.cli.demo_plan import Plan
from gpufleet.cli.demo_screen import Fleet, Pen

START_SECONDS = 60.0
"""How long the hub may take to be ready, and then the agents to be seen: a slow machine's time."""
LOOK_SECONDS = 1.0
ROW_SECONDS = 3.0
STOP_SECONDS = 10.0
BACKFILL_INTERVAL = 10
GPUFLEET = (sys.executable, "-P", "-m", "gpufleet.cli")


class DemoFailed(Exception):
    """The demo cannot go on. The text says why, for people."""


class Ended(Exception):
    """Somebody asked the demo to end."""


class HubSilent(Exception):
    """The hub gave no usable answer just now."""


def get(plan: Plan, path: str) -> Any:
    """One JSON answer of the hub; HubSilent if there is none."""
    connection = http.client.HTTPConnection(plan.host, plan.http_port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise HubSilent(f"{path} answered {response.status}")
        return json.loads(body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise HubSilent(f"{path}: {error}") from error
    finally:
        connection.close()


def subject_of(path: Path) -> str:
    """The subject of a mail in a file."""
    with path.open("rb") as file:
        message = email.message_from_binary_file(file, policy=email.policy.default)
    return str(message["Subject"])


def look(plan: Plan) -> Fleet:
    """The fleet as the hub shows it now."""
    nodes = get(plan, "/api/v1/nodes?limit=1000")
    gpus = get(plan, f"/api/v1/gpus?limit=1000&fields={demo_screen.FIELDS}")
    return demo_screen.fleet(nodes["nodes"], gpus["gpus"])


def clean_environment() -> dict[str, str]:
    """The environment without settings meant for a real hub or agent."""
    return {k: v for k, v in os.environ.items() if not k.startswith("GPUFLEET_")}


@dataclass(slots=True)
class Demo:
    """The running demo: its plan, its children and what it last saw."""

    plan: Plan
    folder: Path
    colour: bool
    hub: Child | None = None
    agents: list[Child] = field(default_factory=list)

    @property
    def pen(self) -> Pen:
        """For the terminal as wide as it is now; output to elsewhere keeps its long lines."""
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
        return Pen(self.colour, columns)

    def start_hub(self) -> None:
        """Writes hub.toml and waits until the hub is ready."""
        config = self.folder / "hub.toml"
        (self.folder / demo_plan.RULES_FILE).write_text(demo_plan.RULES)
        config.write_text(demo_plan.hub_config(self.plan, self.folder))
        command = (*GPUFLEET, "hub", "serve", "--config", str(config))
        self.hub = children.start("hub", command, self.folder, clean_environment())
        self._wait("the hub is ready", self._hub_ready)

    def _hub_ready(self) -> bool:
        try:
            look(self.plan)
        except HubSilent:
            return False
        return True

    def start_agents(self) -> Fleet:
        """Starts one agent a node and returns the first look at the whole fleet."""
        for number, node in enumerate(self.plan.nodes, start=1):
            config = self.folder / f"{node.name}.toml"
            config.write_text(f'[labels]\nrack = "rack-{(number + 1) // 2}"\ncluster = "demo"\n')
            command = [*GPUFLEET, "agent", "run", "--config", str(config), "--node", node.name]
            command += ["--hub", self.plan.grpc, "--state-dir", str(self.folder / node.name)]
            if node.gpus is None:
                command += ["--method", "nvml"]
            else:
                command += ["--method", "sim", "--gpus", str(node.gpus)]
                if node.scenario:
                    command += ["--scenario", node.scenario]
                if self.plan.hours:
                    command += ["--backfill", f"{self.plan.hours:g}"]
                    command += ["--backfill-interval", str(BACKFILL_INTERVAL)]
            self.agents.append(children.start(node.name, command, self.folder, clean_environment()))
        expected = self.plan.fewest_gpus
        seen: list[Fleet] = []

        def all_there() -> bool:
            try:
                seen.append(look(self.plan))
            except HubSilent:
                return False
            return sum(not gpu.stale for gpu in seen[-1].gpus.values()) >= expected

        self._wait(f"{expected} GPUs answer", all_there)
        return seen[-1]

    def _wait(self, what: str, done: Callable[[], bool]) -> None:
        """Until ``done``; DemoFailed if a child dies or the time is over, Ended if told to."""
        deadline = time.monotonic() + START_SECONDS
        while not done():
            if children.wait_for_signal(0.1) in children.ENDING:
                raise Ended
            for child in self._children():
                if child.ended() is not None:
                    raise DemoFailed(self._obituary(child))
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"After {START_SECONDS:.0f} s it is not yet so that {what}. The hub's last "
                    f"lines:\n{self.hub.log_tail() if self.hub else ''}"
                )

    def watch(self, before: Fleet, seconds: float | None) -> None:
        """Prints rows and changes until it is told to end or the time is over."""
        end = time.monotonic() + seconds if seconds is not None else float("inf")
        next_look = next_row = time.monotonic()
        rows, trouble = 0, ""
        said: set[Path] = set()
        while (now := time.monotonic()) < end:
            if now >= next_look:
                next_look = now + LOOK_SECONDS
                try:
                    after = look(self.plan)
                except HubSilent as silence:
                    if str(silence) != trouble:
                        trouble = str(silence)
                        self._say(f"the hub gave no answer: {trouble}")
                else:
                    trouble = ""
                    for line in demo_screen.changes(before, after, self.pen):
                        self._say(line)
                    before = after
                self._say_mails(said)
                if now >= next_row:
                    next_row = now + ROW_SECONDS
                    if rows % demo_screen.HEADER_EVERY == 0:
                        print(self.pen.paint(demo_screen.HEADER, "2"))
                    rows += 1
                    print(demo_screen.row(time.strftime("%H:%M:%S"), before, self.pen), flush=True)
            if children.wait_for_signal(min(next_look, end) - time.monotonic()) in children.ENDING:
                raise Ended
            self._bury()

    def mails(self) -> list[Path]:
        """What the hub has mailed, the oldest first."""
        return sorted((self.folder / demo_plan.MAIL).glob("*.eml"), key=lambda p: p.stat().st_mtime)

    def _say_mails(self, said: set[Path]) -> None:
        for path in self.mails():
            if path not in said:
                said.add(path)
                self._say(f"mail: {subject_of(path)}\n            {path}")

    def show(self, seconds: float | None) -> None:
        """The terminal client in the foreground, until somebody quits it or the time is over."""
        end = time.monotonic() + seconds if seconds is not None else float("inf")
        client = children.foreground((*GPUFLEET, "tui", self.plan.http), clean_environment())
        try:
            while client.poll() is None and time.monotonic() < end:
                if children.wait_for_signal(0.5) in children.ENDING:
                    return
                if self.hub and self.hub.ended() is not None:
                    raise DemoFailed(self._obituary(self.hub))
        finally:
            if client.poll() is None:
                client.terminate()
            client.wait()

    def _say(self, line: str) -> None:
        pen = self.pen
        first, *more = line.split("\n")
        text = f"{time.strftime('%H:%M:%S')}  {pen.paint('▸', '1')} {first}"
        print("\n".join([pen.wrap(text, 12), *more]), flush=True)

    def _bury(self) -> None:
        """Says which children died. Without the hub, or without any agent, there is no demo."""
        if self.hub and self.hub.ended() is not None:
            raise DemoFailed(self._obituary(self.hub))
        for child in [child for child in self.agents if child.ended() is not None]:
            self.agents.remove(child)
            if not self.agents:
                raise DemoFailed(self._obituary(child))
            self._say(f"agent {self._obituary(child)}")

    @staticmethod
    def _obituary(child: Child) -> str:
        status = child.ended() or 0
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited: {status}"
        tail = child.log_tail()
        return f"{child.name} {how}" + (f". Its last lines:\n{tail}" if tail else "")

    def _children(self) -> Sequence[Child]:
        return [*([self.hub] if self.hub else []), *self.agents]

    def stop(self) -> None:
        """Ends the agents, then the hub, which so has everything they sent."""
        children.stop(self.agents, STOP_SECONDS)
        children.stop([self.hub] if self.hub else [], STOP_SECONDS)
