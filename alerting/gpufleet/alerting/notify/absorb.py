"""Takes notices into episodes: from here on the episodes know everything that mails are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gpufleet.alerting.incident import Incident, Notice
from gpufleet.alerting.notify.episode import (
    AlertKey,
    Episode,
    Flap,
    Member,
    episode_id,
    group_of,
)
from gpufleet.alerting.state import Kind

_MOVES = frozenset({Kind.FIRED, Kind.RESOLVED, Kind.NO_DATA, Kind.RETURNED})


@dataclass(slots=True)
class Told:
    """Everything that is remembered for mail; ``changed`` and ``moved`` want writing."""

    episodes: dict[str, Episode] = field(default_factory=dict)
    """The open ones by id."""
    flaps: dict[AlertKey, Flap] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    moved: set[AlertKey] = field(default_factory=set)

    def put(self, episode: Episode) -> None:
        """Keep an episode as it is now."""
        self.episodes[episode.id] = episode
        self.changed.add(episode.id)

    def put_flap(self, flap: Flap) -> None:
        """Keep an alert's moves."""
        self.flaps[flap.alert] = flap
        self.moved.add(flap.alert)


def absorb(
    told: Told,
    notices: Sequence[Notice],
    incidents: Mapping[str, Incident],
    recipients_of: Callable[[Incident], tuple[str, ...]],
    muted: Callable[[Incident, int], bool],
) -> None:
    """Take notices, in their order. An incident that goes to nobody is passed over.

    ``muted`` says whether mail about an incident was muted at a time.
    """
    places = {one: episode.id for episode in told.episodes.values() for one in episode.members}
    groups = {one.key: one.id for one in told.episodes.values() if one.closed_ms is None}
    pending: dict[str, dict[str, Member]] = {}

    def member_of(incident_id: str) -> Member | None:
        place = places.get(incident_id)
        if place is None:
            return None
        new = pending.get(place, {}).get(incident_id)
        return new or told.episodes[place].members[incident_id]

    def keep(member: Member) -> None:
        pending.setdefault(places[member.incident_id], {})[member.incident_id] = member

    for notice in notices:
        incident = incidents.get(notice.incident_id)
        if incident is None:
            continue
        if notice.kind in _MOVES:
            alert = (incident.alertname, incident.subject_key)
            told.put_flap(told.flaps.get(alert, Flap(alert)).moved(notice.noted_ms))
        if notice.kind is Kind.FIRED and incident.id not in places:
            recipients = recipients_of(incident)
            if not recipients:
                continue
            key = group_of(incident, recipients)
            if key not in groups:
                groups[key] = episode_id(key, incident.id)
                told.put(Episode(groups[key], key, notice.noted_ms))
            places[incident.id] = groups[key]
            keep(
                Member(
                    incident.id,
                    incident.alertname,
                    incident.subject_key,
                    incident.node,
                    notice.noted_ms,
                )
            )
            continue
        member = member_of(incident.id)
        if member is not None:
            moved = _moved(member, notice, muted(incident, notice.noted_ms))
            if moved is not member:
                keep(moved)
    for place, members in pending.items():
        told.put(told.episodes[place].with_members(members.values()))


def _moved(member: Member, notice: Notice, muted: bool) -> Member:
    match notice.kind:
        case Kind.RESOLVED | Kind.CLOSED if member.open:
            return replace(member, ended_ms=notice.noted_ms, ended_muted=muted)
        case Kind.NO_DATA if member.open:
            return replace(member, no_data_ms=notice.noted_ms, no_data_told=False)
        case Kind.RETURNED | Kind.RECOVERING if member.no_data_ms is not None:
            return replace(member, no_data_ms=None, no_data_told=False)
        case _:
            return member
