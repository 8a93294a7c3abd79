"""What the demo shows: lines of text made from the hub's own REST answers. Pure."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpufleet.cli.demo_plan import MAIL, RULES_FILE, Plan

FIELDS = (
    "uuid,node,index,name,stale,health,health_reasons,fault,"
    "temperature_celsius,power_watts,utilization_ratio"
)
"""What /api/v1/gpus is asked for."""

LEVELS = ("healthy", "caution", "warning", "critical")
SHORT = {"caution": "caut", "warning": "warn", "critical": "crit"}
"""What is said where there is little room."""
COLOURS = {"healthy": "32", "caution": "33", "warning": "33;1", "critical": "31;1", None: "2"}
HEADER_EVERY = 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the last answer had it. ``None``: the hub has no value."""

    uuid: str
    node: str
    index: int
    stale: bool
    level: str | None
    reasons: tuple[str, ...]
    fault: str | None
    temperature_celsius: float | None
    power_watts: float | None
    utilization_ratio: float | None

    @property
    def place(self) -> str:
        return f"{self.node} GPU {self.index}"


@dataclass(frozen=True, slots=True)
class Fleet:
    """One look at the fleet: which nodes are up, and every GPU by UUID."""

    nodes: Mapping[str, bool]
    gpus: Mapping[str, Gpu]


def _gpu(row: Mapping[str, Any]) -> Gpu:
    health = row.get("health")
    return Gpu(
        uuid=row["uuid"],
        node=row["node"],
        index=row["index"],
        stale=bool(row.get("stale")),
        level=None if health is None else LEVELS[int(health)],
        reasons=tuple(row.get("health_reasons") or ()),
        fault=row.get("fault"),
        temperature_celsius=row.get("temperature_celsius"),
        power_watts=row.get("power_watts"),
        utilization_ratio=row.get("utilization_ratio"),
    )


def fleet(nodes: Sequence[Mapping[str, Any]], gpus: Sequence[Mapping[str, Any]]) -> Fleet:
    """The answers of /api/v1/nodes and /api/v1/gpus as one look."""
    return Fleet({node["name"]: node["up"] for node in nodes}, {g["uuid"]: _gpu(g) for g in gpus})


@dataclass(frozen=True, slots=True)
class Pen:
    """Colours where the output is a terminal that wants them, and how many columns there are."""

    colour: bool
    width: int = 120

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def wrap(self, text: str, indent: int) -> str:
        """The text no wider than the terminal, broken between words; what follows is indented."""
        lines = [""]
        for word in re.findall(" *[^ ]+", text):
            if lines[-1] and _columns(lines[-1] + word) > self.width:
                lines.append(" " * indent + word.lstrip())
            else:
                lines[-1] += word
        return "\n".join(lines)


def _columns(text: str) -> int:
    """How many columns a text takes: its colours take none."""
    return len(_COLOUR.sub("", text))


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


HEADER = f"{'time':<8}{'nodes':>6}{'GPUs':>8}{'busy':>6}{'power':>9}  {'hottest':<21}health"


def _sum(values: Iterator[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) if present else None


def _power(watts: float | None) -> str:
    if watts is None:
        return "-"
    return f"{watts / 1000:.1f} kW" if watts >= 1000 else f"{watts:.0f} W"


def row(clock: str, look: Fleet, pen: Pen) -> str:
    """One line about the whole fleet, under HEADER. What is not known shows as a dash."""
    current = [gpu for gpu in look.gpus.values() if not gpu.stale]
    busy = [g.utilization_ratio for g in current if g.utilization_ratio is not None]
    hot = max(
        (g for g in current if g.temperature_celsius is not None),
        key=lambda g: g.temperature_celsius or 0.0,
        default=None,
    )
    hottest = f"{hot.temperature_celsius:.0f} °C {hot.place}" if hot else "-"
    counts = {level: sum(g.level == level for g in look.gpus.values()) for level in LEVELS}
    nodes = f"{sum(look.nodes.values())}/{len(look.nodes)}"
    gpus = f"{len(current)}/{len(look.gpus)}"
    share = f"{statistics.fmean(busy):.0%}" if busy else "-"
    power = _power(_sum(g.power_watts for g in current))
    start = f"{clock:<8}{nodes:>6}{gpus:>8}{share:>6}{power:>9}  {hottest:<21}"
    health = ", ".join(
        pen.paint(f"{n} {level}", COLOURS[level]) for level, n in counts.items() if n
    )
    if len(start) + _columns(health) > pen.width:
        health = " ".join(
            pen.paint(f"{counts[level]} {word}", COLOURS[level])
            for level, word in SHORT.items()
            if counts[level]
        )
    return start + (health or "-")


def changes(before: Fleet, after: Fleet, pen: Pen) -> Iterator[str]:
    """A line for every node and GPU whose state is another than at the look before."""
    for node, up in after.nodes.items():
        if node in before.nodes and before.nodes[node] != up:
            yield pen.paint(f"{node} is up" if up else f"{node} is down", "32" if up else "31;1")
    for uuid, gpu in after.gpus.items():
        old = before.gpus.get(uuid)
        if old is None:
            continue
        if gpu.fault != old.fault:
            text = f"fault: {gpu.fault}" if gpu.fault else f"no longer {old.fault}"
            yield f"{gpu.place}  {pen.paint(text, '31;1' if gpu.fault else '32')}"
        if gpu.level != old.level and gpu.level is not None:
            reasons = "; ".join(gpu.reasons)
            state = pen.paint(gpu.level, COLOURS[gpu.level])
            yield f"{gpu.place}  {old.level or 'new'} → {state}{': ' if reasons else ''}{reasons}"


def _gpus(count: int, kind: str = "") -> str:
    return f"{count} {kind}{'GPU' if count == 1 else 'GPUs'}"


def _facts(plan: Plan, folder: str) -> Iterator[tuple[str, str]]:
    yield "hub", f"{plan.http}   (agents push to {plan.grpc})"
    agents = []
    if plan.real:
        agents.append(f"{plan.real.name} reads this machine's own GPUs")
    if plan.simulated:
        first, last = plan.simulated[0], plan.simulated[-1]
        names = first.name if first is last else f"{first.name} … {last.name}"
        agents.append(
            f"{names}: {_gpus(first.gpus or 0, 'simulated ')} each, a sample every second"
        )
    yield from (("" if i else "agents", text) for i, text in enumerate(agents))
    if plan.hours and plan.simulated:
        hours = "hour" if plan.hours == 1 else "hours"
        yield "history", f"{plan.hours:g} simulated {hours} at 10 s, sent first"
    watch = [node.watch for node in plan.nodes if node.watch]
    yield from (("" if i else "watch", text) for i, text in enumerate(watch))
    yield "rules", f"{folder}/{RULES_FILE}   (alert rules; edit and watch)"
    yield "mail", f"{folder}/{MAIL}   (what the hub mails of alerts, as files)"
    yield "files", f"{folder}   (settings, logs, SQLite; removed at the end)"


def _attempt(what: str, how: str, pen: Pen) -> str:
    """Something to try; a long command gets a line of its own, so that it can be copied whole."""
    line = f"  {what:<22}{pen.paint(how, '36')}"
    return line if _columns(line) <= pen.width else f"  {what}\n{pen.paint(how, '36')}"


def start_screen(plan: Plan, look: Fleet, seconds: float, folder: str, pen: Pen) -> str:
    """What runs, and what to try. ``seconds``: how long it took to get here."""
    watched = next((node for node in plan.nodes if node.watch), plan.nodes[0]).name
    uuid = next(gpu.uuid for gpu in look.gpus.values() if gpu.node == watched)
    gpus = f"{plan.http}/api/v1/gpus"
    past = max(1, math.ceil(plan.hours))
    tries = [
        ("the fleet in numbers", f"curl {plan.http}/api/v1/fleet"),
        ("every GPU", f"curl {gpus}"),
        (
            "the free ones",
            f"curl '{gpus}?filter=util<5+and+process_count=0&fields=node,index,name'",
        ),
        ("the hot ones", f"curl '{gpus}?filter=temp>60&sort=-temp&fields=node,index,temp'"),
        ("one GPU", f"curl {plan.http}/gpu/{uuid}"),
        ("its past", f"curl '{gpus}/{uuid}/history?metric=temperature_celsius&start=-{past}h'"),
        ("what happened to it", f"curl {gpus}/{uuid}/events"),
        ("what is wrong now", f"curl {plan.http}/api/v1/alerts"),
        ("for Prometheus", f"curl {plan.http}/metrics"),
        ("changes as they come", f"curl -N {plan.http}/api/v1/stream"),
        ("all of it, to click", f"{plan.http}/docs"),
    ]
    title = f": {_gpus(len(look.gpus))} answer after {seconds:.1f} s, on loopback only"
    lines = [
        "",
        pen.paint("gpufleet demo", "1") + title,
        "",
        *(pen.wrap(f"  {name:<9}{text}", 11) for name, text in _facts(plan, folder)),
        "",
        pen.paint("Try", "1") + " in another terminal",
        "",
        *(_attempt(what, how, pen) for what, how in tries),
        "",
        pen.paint("Ctrl-C", "1") + " ends everything.",
        "",
    ]
    return "\n".join(lines)
