"""What agents took against what is stored: nothing owed is lost, doubled, changed or invented."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

import orjson

from support.everything import Samples

Places = dict[tuple[str, int], tuple[int, int]]
"""(subject, tick) → the (epoch, seq) under which an agent took it."""


def taken(path: Path) -> tuple[Samples, Places]:
    """What an agent's journal says it took."""
    samples: Samples = {}
    places: Places = {}
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


def received(home: Path) -> dict[tuple[str, int], list[tuple[int, int, int]]]:
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


def caught_up(home: Path, nodes: Iterable[str], hub: int, until: int) -> bool:
    """Every node's records up to ``until`` came to this hub, or ones behind them: an agent sends in
    order, and the last records of one that was killed may have died with it."""
    got = received(home)
    for node in nodes:
        _, places = taken(home / f"{node}.jsonl")
        newest = max(place for (_, tick), place in places.items() if tick <= until)
        came = [
            (epoch, last)
            for (name, epoch), batches in got.items()
            for _, last, number in batches
            if (name, number) == (node, hub)
        ]
        if max(came, default=(0, 0)) < newest:
            return False
    return True


def compare(
    stored: Samples,
    home: Path,
    nodes: Iterable[str],
    until: int,
    *,
    mortal: Collection[str] = (),
    killed_hubs: Collection[int] = (),
) -> int:
    """Every tick up to ``until`` is stored as it was taken; how many died with a ``mortal`` agent.

    Those it had not yet written to disk; and if a hub had them, that hub was killed too.
    """
    got = received(home)
    taken_by_all: Samples = {}
    lost_with_their_agent = 0
    for node in nodes:
        samples, places = taken(home / f"{node}.jsonl")
        taken_by_all |= samples
        for key, values in samples.items():
            if key[1] > until:
                continue
            if key in stored:
                assert stored[key] == values, f"{node} {key}: the stored values are not those taken"
                continue
            epoch, seq = places[key]
            holders = [n for first, last, n in got[(node, epoch)] if first <= seq <= last]
            assert node in mortal, f"{node} {key} is owed and not stored (received by {holders})"
            assert set(holders) <= set(killed_hubs), f"{node} {key} was received, and lost"
            lost_with_their_agent += 1
    invented = set(stored) - set(taken_by_all)
    assert not invented, f"stored, but nobody took them: {sorted(invented)[:5]}"
    return lost_with_their_agent
