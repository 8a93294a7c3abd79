"""What the demo will run: its nodes, what goes wrong on them, its addresses. Pure."""

from __future__ import annotations

from dataclasses import dataclass


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
