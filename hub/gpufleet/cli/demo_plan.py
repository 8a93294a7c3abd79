"""What the demo will run: its nodes, what goes wrong on them, its settings. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

RULES = """\
groups:
  - name: demo
    rules:
      - alert: GpuHot
        expr: temperature_celsius > 80
        for: 3s
        severity: warning
        annotations:
          summary: "GPU {gpu} of {node} is at {value}, above {threshold} for more than {for}"
          advice: "Look at fans, air flow and the inlet temperature."
      - alert: GpuMemoryFull
        expr: memory_used_ratio > 90%
        for: 3s
        severity: warning
        annotations:
          summary: "Memory of GPU {gpu} of {node} is {value} full"
          advice: "A job may soon fail for want of memory."
      - alert: GpuXid
        expr: xid(79, 1h)
        severity: critical
        annotations:
          summary: "GPU {gpu} of {node} fell off the bus"
      - alert: NodeDown
        expr: missing()
        for: 3s
        scope: node
        severity: critical
        annotations:
          summary: "Nothing comes from {node} any more"
          advice: "Look whether the node and its agent run."
"""
"""Like some of the default rules, but seconds are enough to fire."""

RECIPIENT = "you@demo.example"


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the demo. ``gpus`` is None where an agent reads this machine's own GPUs."""

    name: str
    gpus: int | None
    scenario: str = ""
    watch: tuple[str, ...] = ()
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

    def hub_toml(self, folder: str) -> str:
        """The hub's settings, in ``folder`` as everything of the demo."""
        return (
            f"listen = {json.dumps(self.host)}\n"
            f"http_port = {self.http_port}\n"
            f"grpc_port = {self.grpc_port}\n"
            f"data_dir = {json.dumps(f'{folder}/hub')}\n"
            f"rules = {json.dumps(f'{folder}/rules.yml')}\n"
            f"external_url = {json.dumps(self.http)}\n"
            "mail_wait_seconds = 1  # else 30: alerts of half a minute come in one mail\n"
            "\n[smtp]\n"
            f"mail_dir = {json.dumps(mail_folder(folder))}  # a real hub names its mail server\n"
            'from = "gpufleet@demo.example"\n'
            f"\n[[route]]\nrecipients = [{json.dumps(RECIPIENT)}]\n"
        )

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


def mail_folder(folder: str) -> str:
    """Where the demo's mails lie, as files."""
    return f"{folder}/mail"


def nodes(count: int, gpus: int, real: str | None) -> tuple[Node, ...]:
    """``count`` nodes, the first named ``real`` if this machine has GPUs of its own.

    The first simulated node has a GPU that overheats and one whose memory is full, the last of
    several one that is lost.
    """
    made = [] if real is None else [Node(real, None)]
    numbers = range(1, count + 1 - len(made))
    for number in numbers:
        name, scenario, watch = f"node-{number}", "", list[str]()
        if number == numbers[0]:
            scenario = "demo"
            watch.append(f"{name} GPU 0 overheats after half a minute, and again and again")
            if gpus > 1:
                scenario = f"demo:0+memfull:{gpus - 1}"
                watch.append(f"{name} GPU {gpus - 1} has its memory full, which is mailed at once")
        elif number == numbers[-1]:
            lost = min(2, gpus - 1)
            scenario = f"xid79:{lost}@60"
            watch.append(f"{name} GPU {lost} falls off the bus after a minute (Xid 79)")
        made.append(Node(name, gpus, scenario, tuple(watch)))
    return tuple(made)
