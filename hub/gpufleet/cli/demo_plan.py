"""What the demo will run: its nodes, what goes wrong on them, its addresses. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAIL = "mail"
"""Folder of the mails that the demo's hub writes."""

RULES_FILE = "rules.yml"
RULES = """\
# Rules that fire soon, so that there is something to see. The real ones: gpufleet alerts rules
groups:
  - name: demo
    rules:
      - alert: GpuHot
        expr: temperature_celsius > 80
        for: 3s
        severity: warning
        annotations:
          summary: "GPU {gpu} of {node} is at {value}, above {threshold}"
          advice: "Look at fans, air flow and the inlet temperature."
      - alert: GpuNearPowerLimit
        expr: power_watts > 80% * power_limit_watts
        for: 3s
        keep_firing_for: 2m
        severity: info
        annotations:
          summary: "GPU {gpu} of {node} draws {value}, near its limit"
          advice: "Nothing to do: hard work looks like this."
      - alert: GpuLost
        expr: missing()
        severity: critical
        annotations:
          summary: "GPU {gpu} of {node} is lost: its node no longer reaches it"
          advice: "Drain the node and reboot it."
      - alert: AgentDown
        expr: missing()
        for: 3s
        scope: node
        severity: critical
        annotations:
          summary: "Node {node} sends nothing"
"""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the demo. ``gpus`` is None where an agent reads this machine's own GPUs."""

    name: str
    gpus: int | None
    scenario: str = ""
    watch: str = ""
    """What one can watch on it, for people."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole demo."""

    nodes: tuple[Node, ...]
    hours: float
    host: str
    http_port: int
    grpc_port: int

    @property
    def http(self) -> str:
        return f"http://{self.host}:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"{self.host}:{self.grpc_port}"

    @property
    def simulated(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.gpus is not None)

    @property
    def real(self) -> Node | None:
        return next((node for node in self.nodes if node.gpus is None), None)

    @property
    def fewest_gpus(self) -> int:
        """GPUs that answer once every agent sends: at least one where they are real."""
        return sum(1 if node.gpus is None else node.gpus for node in self.nodes)


def hub_config(plan: Plan, folder: Path) -> str:
    """The hub.toml of the demo: mails are files, and do not wait for others for long."""
    return f'''\
listen = "{plan.host}"
http_port = {plan.http_port}
grpc_port = {plan.grpc_port}
data_dir = "{folder / "hub"}"
rules = "{folder / RULES_FILE}"
group_wait = "2s"

[smtp]
mail_dir = "{folder / MAIL}"
from = "gpufleet demo <gpufleet@localhost>"

[[route]]
recipients = ["you@localhost"]
'''


def nodes(count: int, gpus: int, real: str | None) -> tuple[Node, ...]:
    """``count`` nodes, the first named ``real`` if this machine has GPUs of its own.

    The first simulated node has a GPU that overheats, the last of several one that is lost.
    """
    made = [] if real is None else [Node(real, None)]
    numbers = range(1, count + 1 - len(made))
    for number in numbers:
        name, scenario, watch = f"node-{number}", "", ""
        if number == numbers[0]:
            scenario = "demo"
            watch = f"{name} GPU 0 overheats after half a minute, and again and again"
        elif number == numbers[-1]:
            lost = min(2, gpus - 1)
            scenario = f"xid79:{lost}@60"
            watch = f"{name} GPU {lost} falls off the bus after a minute (Xid 79)"
        made.append(Node(name, gpus, scenario, watch))
    return tuple(made)
