"""Makes one event of what several sources and lines say of the same fault.

The first sighting waits a second for the others: NVML and the kernel's log tell of the same Xid
within milliseconds, and the driver often writes several lines. While the same code of the same GPU
goes on coming it is told again with the number that came, at first after 5 s, then ever more
rarely. What two sources tell is the same, so the number is that of the source that told most.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gpufleet.agent.faults.sighting import FaultKind, Sighting, Source
from gpufleet.agent.model import Json, Subject
from gpufleet.agent.records import Event

SETTLE_SECONDS = 1.0
QUIET_SECONDS = 5.0
LONGEST_QUIET_SECONDS = 600.0
OFF_BUS_XID = 79
_MOST_OPEN = 1024

_Key = tuple[FaultKind, str, int]


@dataclass(slots=True)
class _Incident:
    due: float
    place: Sighting
    """Where it is: the GPU and PCI address of it that are known."""
    subject: Subject | None
    since_ms: int
    counts: dict[Source, int] = field(default_factory=dict)
    told: int = 0
    quiet: float = QUIET_SECONDS
    heard: dict[Source, Sighting] = field(default_factory=dict)


class Incidents:
    """Takes sightings in and says when an event is due. ``now`` is a monotonic time in seconds."""

    def __init__(self) -> None:
        self._open: dict[_Key, _Incident] = {}

    @property
    def untold(self) -> bool:
        """True while something was seen that no event told yet."""
        return any(_untold(incident) for incident in self._open.values())

    def take(self, sightings: Iterable[Sighting], subjects: Sequence[Subject], now: float) -> None:
        """Take in what was seen; ``subjects`` are those of the node, to find GPUs among."""
        by_key = {s.key: s for s in subjects if s.kind == "gpu"}
        by_pci = {str(s.facts["pci_bus_id"]): s for s in by_key.values() if "pci_bus_id" in s.facts}
        for seen in sightings:
            subject = by_key.get(seen.gpu) or (by_pci.get(seen.pci) if seen.pci else None)
            if seen.kind is FaultKind.SXID:
                subject = None
            where = subject.key if subject is not None else seen.gpu or seen.pci
            self._add((seen.kind, where, seen.code), seen, subject, now)

    def _add(self, key: _Key, seen: Sighting, subject: Subject | None, now: float) -> None:
        incident = self._open.get(key)
        if incident is None:
            if len(self._open) >= _MOST_OPEN:
                return
            incident = _Incident(now + SETTLE_SECONDS, seen, subject, seen.time_ms)
            self._open[key] = incident
        elif seen.continued:
            return
        elif not _untold(incident):
            incident.since_ms = seen.time_ms
        incident.since_ms = min(incident.since_ms, seen.time_ms)
        incident.counts[seen.source] = incident.counts.get(seen.source, 0) + 1
        # The first line of a burst names the cause, the later ones what followed from it.
        incident.heard.setdefault(seen.source, seen)

    def due(self, now: float) -> list[Event]:
        """Events to record now."""
        events = []
        for key, incident in list(self._open.items()):
            if now < incident.due:
                continue
            if not _untold(incident) or self._is_part_of_xid(key):
                del self._open[key]
                continue
            events.append(_event(incident))
            incident.told = max(incident.counts.values())
            incident.heard = {}
            incident.due = now + incident.quiet
            incident.quiet = min(incident.quiet * 2, LONGEST_QUIET_SECONDS)
        return events

    def flush(self) -> list[Event]:
        """Everything not yet told, whether due or not: the agent stops."""
        for incident in self._open.values():
            incident.due = 0.0
        return self.due(float("inf"))

    def _is_part_of_xid(self, key: _Key) -> bool:
        kind, where, _ = key
        return kind is FaultKind.OFF_BUS and (FaultKind.XID, where, OFF_BUS_XID) in self._open


def _untold(incident: _Incident) -> bool:
    return max(incident.counts.values(), default=0) > incident.told


def _event(incident: _Incident) -> Event:
    count = max(incident.counts.values()) - incident.told
    told = list(incident.heard.values())
    lines = [seen for seen in told if seen.source is Source.KERNEL_LOG]
    best = (lines or told or [incident.place])[0]
    pci = best.pci or incident.place.pci or _pci_of(incident.subject)
    data: dict[str, Json] = {"count": count}
    if incident.told:
        data["repeated"] = True
    known: Mapping[str, Json] = {
        "pci": pci or None,
        "device": best.device or None,
        "fatal": best.fatal,
        "pid": best.pid,
        "process": best.process,
        "gpu_instance": next((s.gpu_instance for s in told if s.gpu_instance is not None), None),
        "line": best.line or None,
    }
    data.update({name: value for name, value in known.items() if value is not None})
    data["sources"] = ",".join(sorted(source.value for source in incident.heard))
    gpu = incident.subject.key if incident.subject is not None else incident.place.gpu
    if best.kind is FaultKind.SXID:
        gpu = ""
    return Event(
        incident.since_ms,
        best.kind.value,
        _severity(best),
        _sentence(best, incident.subject, pci, count, again=incident.told > 0),
        subject_kind="gpu" if gpu else "",
        subject_key=gpu,
        code=best.code,
        data_json=json.dumps(data, separators=(",", ":"), ensure_ascii=False),
    )


def _pci_of(subject: Subject | None) -> str:
    pci = None if subject is None else subject.facts.get("pci_bus_id")
    return pci if isinstance(pci, str) else ""


def _severity(seen: Sighting) -> str:
    """Of an Xid the hub, which knows the catalogue, decides again."""
    if seen.kind is FaultKind.OFF_BUS or seen.fatal:
        return "critical"
    return "warning"


def _sentence(best: Sighting, subject: Subject | None, pci: str, count: int, *, again: bool) -> str:
    gpu = f"GPU {subject.index} ({pci or subject.key})" if subject is not None else f"GPU {pci}"
    if subject is None and not pci:
        gpu = f"GPU {best.gpu}"
    if best.kind is FaultKind.OFF_BUS:
        return (
            f"{gpu} has fallen off the bus, says the kernel's log: drain the node and restart it."
        )
    times = f" came {count} {'more ' if again else ''}times" if count > 1 or again else ""
    if again and count == 1:
        times = " came once more"
    if best.kind is FaultKind.SXID:
        name = {True: "Fatal SXid", False: "Non-fatal SXid", None: "SXid"}[best.fatal]
        return f"{name} {best.code}{times} on {best.device} ({pci})."
    by = ""
    if best.process or best.pid is not None:
        by = " in process " + " ".join(
            filter(None, (best.process, f"({best.pid})" if best.pid is not None else ""))
        )
    return f"Xid {best.code}{times} on {gpu}{by}."
