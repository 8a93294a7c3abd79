"""What the hub adds to the Xids that agents tell: their meaning, and a count of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from gpufleet.alerting import xid
from gpufleet.hub.store.write import EventRow
from gpufleet.hub.views import XidView

KIND = "xid"
REMEMBERED_MS = 7 * 24 * 3_600_000
"""How far back Xids are counted after a restart of the hub."""
MOST_CODES = 64
"""Codes counted of one GPU: a hostile agent may not make series without end."""


def described(event: EventRow) -> EventRow:
    """An Xid's event with the severity, class and advice of our catalogue; any other as it is."""
    if event.kind != KIND:
        return event
    meaning = xid.describe(event.code)
    known = {"class": meaning.kind.value, "title": meaning.title, "advice": meaning.advice}
    return replace(
        event,
        severity=xid.severity(event.code),
        message=f"{event.message.rstrip('.')}: {meaning.title}. {meaning.advice}",
        data={**event.data, **known},
    )


class XidCounts:
    """Xids by subject id and code, since the hub's start and for a week before it."""

    def __init__(self) -> None:
        self._counts: dict[int, Mapping[int, XidView]] = {}

    def note(self, events: Iterable[EventRow]) -> bool:
        """Count the Xids among these events; True if there was one."""
        found = False
        for event in events:
            if event.kind == KIND:
                found = self._note(event) or found
        return found

    def view(self) -> Mapping[int, Mapping[int, XidView]]:
        """All counts as they are now."""
        return MappingProxyType(dict(self._counts))

    def _note(self, event: EventRow) -> bool:
        codes = self._counts.get(event.subject_id, {})
        before = codes.get(event.code)
        if before is None and len(codes) >= MOST_CODES:
            return False
        count, seen = (before.count, before.last_seen_ms) if before else (0, event.time_ms)
        after = XidView(count + _times(event), max(seen, event.time_ms))
        # A new mapping each time: readers hold the old ones.
        self._counts[event.subject_id] = {**codes, event.code: after}
        return True


def _times(event: EventRow) -> int:
    """How many Xids the event stands for."""
    count = event.data.get("count")
    return count if type(count) is int and 0 < count < 1 << 31 else 1
