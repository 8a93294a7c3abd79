"""docs/events.md lists every kind of event that the code makes, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gpufleet.agent.faults.sighting import FaultKind
from gpufleet.agent.model import FaultState

ROOT = Path(__file__).resolve().parent.parent

_MADE = re.compile(r'"([a-z_]+)",\s*(?:severity=)?(?:"(?:info|warning|critical)"|severity\b)')
"""A kind is followed by its severity wherever an event is made."""


SEVERITIES = {"info", "warning"}
"""Followed by another severity in the list of all of them."""


def made() -> Iterator[str]:
    """Kinds that stand in the source, and those that are made of an enum's values."""
    for part in ("agent/gpufleet/agent", "hub/gpufleet/hub"):
        for path in (ROOT / part).rglob("*.py"):
            if path.parent.name not in ("store", "api"):
                yield from _MADE.findall(path.read_text())
    yield from (kind.value for kind in FaultKind)
    yield from (f"gpu_{state.value}" for state in FaultState)


def documented() -> Iterator[str]:
    for line in (ROOT / "docs/events.md").read_text().split("## Xids")[0].splitlines():
        if line.startswith("| `"):
            yield from re.findall(r"`([a-z_]+)`", line.split("|")[1])


def test_every_kind_of_event_is_documented_and_no_other() -> None:
    assert set(documented()) == set(made()) - SEVERITIES
