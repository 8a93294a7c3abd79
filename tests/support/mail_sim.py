"""Grouping without a database: notices in, mails out, second by second, on a passed clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.notify.absorb import Told, absorb
from gpufleet.alerting.notify.content import Content, Reason
from gpufleet.alerting.notify.due import Sight, due, explains_silence
from gpufleet.alerting.notify.limits import HOUR_MS, Recent, digest_due, digest_of, placed
from gpufleet.alerting.state import Kind, Severity
from support.mail_incidents import T0, incident, moved

OPS = "ops@example.org"


@dataclass(frozen=True, slots=True)
class Out:
    """A mail that went out, or waits to."""

    at_ms: int
    episode: str
    severity: Severity
    content: Content


@dataclass(slots=True)
class Sim:
    """One recipient, one mail server that may be down."""

    now_ms: int = T0
    told: Told = field(default_factory=Told)
    incidents: dict[str, Incident] = field(default_factory=dict)
    muted: Callable[[Incident, int], bool] = lambda one, at: False
    up: bool = True
    sent: list[Out] = field(default_factory=list)
    queued: list[Out] = field(default_factory=list)
    held: list[Out] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def fire(self, name: str, **changes: Any) -> Incident:
        one = incident(name, fired_ms=self.now_ms, since_ms=self.now_ms - 300_000, **changes)
        return self.move(one, Kind.FIRED)

    def move(self, one: Incident, kind: Kind, **changes: Any) -> Incident:
        found = moved(one, kind, self.now_ms, **changes)
        self.incidents[one.id] = found
        self.notices.append(Notice(0, one.id, kind, self.now_ms, self.now_ms))
        return found

    def run(self, seconds: int, every: int = 1) -> list[Out]:
        """Let time pass; what went out meanwhile."""
        before = len(self.sent)
        self.step()
        for _ in range(0, seconds, every):
            self.now_ms += every * 1000
            self.step()
        return self.sent[before:]

    def step(self) -> None:
        absorb(self.told, self.notices, self.incidents, lambda one: (OPS,), self.muted)
        self.notices = []
        down = frozenset(o.node for o in self.incidents.values() if explains_silence(o))
        for episode in list(self.told.episodes.values()):
            silent = frozenset(
                member.node
                for other in self.told.episodes.values()
                for member in other.members.values()
                if member.open and member.no_data_ms is not None and member.no_data_told
            )
            verdict = due(
                episode,
                Sight(
                    self.now_ms,
                    self.incidents,
                    lambda one: self.muted(one, self.now_ms),
                    self.told.flaps,
                    down,
                    silent,
                ),
            )
            self.told.put(verdict.episode)
            for flap in verdict.flaps:
                self.told.put_flap(flap)
            if verdict.content is not None:
                self._place(episode.id, episode.key.severity, verdict.content)
            if verdict.episode.closed_ms is not None:
                del self.told.episodes[episode.id]
        recent = self._recent()
        if self.held and digest_due(recent, self.now_ms):
            content = digest_of([one.content for one in self.held])
            severity = max((one.severity for one in self.held), key=lambda one: one.rank)
            self.queued.append(Out(self.now_ms, "", severity, content))
            self.held = []
        if self.up:
            self.sent += [replace(one, at_ms=self.now_ms) for one in self.queued]
            self.queued = []

    def _recent(self) -> Recent:
        given = [one for one in (*self.sent, *self.queued) if one.at_ms > self.now_ms - HOUR_MS]
        digests = [one.at_ms for one in given if one.content.reason is Reason.DIGEST]
        return Recent(tuple(one.at_ms for one in given), max(digests, default=None))

    def _place(self, episode: str, severity: Severity, content: Content) -> None:
        before = [one for one in (*self.held, *self.queued) if one.episode == episode]
        was_held = any(one.episode == episode for one in self.held)
        self.held = [one for one in self.held if one.episode != episode]
        self.queued = [one for one in self.queued if one.episode != episode]
        place = placed(
            content,
            severity,
            self._recent(),
            [one.content for one in before],
            was_held,
            self.now_ms,
        )
        out = Out(self.now_ms, episode, severity, place.content)
        (self.held if place.held else self.queued).append(out)
