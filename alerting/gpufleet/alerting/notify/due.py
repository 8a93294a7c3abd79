"""What an episode has to tell now, and why: waiting, updates, repeats, flapping, muting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.notify.content import Content, Reason
from gpufleet.alerting.notify.episode import AlertKey, Episode, Flap, Member
from gpufleet.alerting.state import Scope, Severity

WAIT_MS = 30_000
"""A group's first alerts are gathered for so long."""
UPDATE_MS = 5 * 60_000
"""Between two mails of a group, at least."""
REPEAT_MS = 4 * 3_600_000
"""What lasts is told again after this."""
RESOLVE_WAIT_MS = 60_000
"""What ended may fire again: its end is told after this."""
NO_DATA_WAIT_MS = 60_000
"""Within this a node that is down has its own alert, which says it all."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The world as an episode is judged in it."""

    now_ms: int
    incidents: Mapping[str, Incident]
    """Those of the members at least, as they are now."""
    muted: Callable[[Incident], bool]
    flaps: Mapping[AlertKey, Flap] = field(default_factory=dict)
    down: frozenset[str] = frozenset()
    """Nodes with an open alert of their own that explains why nothing comes from them."""
    told_silent: frozenset[str] = frozenset()
    """Nodes that these recipients were told of as silent, and still are."""
    wait_ms: int = WAIT_MS
    """So long a mail waits for more of its group to fire."""

    def flapping(self, member: Member) -> Flap | None:
        """The moves of its alert, if they are too many to tell each."""
        flap = self.flaps.get(member.alert)
        return flap if flap is not None and flap.flapping(self.now_ms) else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The episode after what is to be told now; ``content`` None: nothing is."""

    episode: Episode
    content: Content | None = None
    flaps: tuple[Flap, ...] = ()
    """Alerts told as flapping."""


def explains_silence(incident: Incident) -> bool:
    """A node-scope alert about the node itself (agent down, driver hung), not about a number."""
    return incident.open and incident.scope is Scope.NODE and not incident.comparison


@dataclass(slots=True)
class _Parts:
    """The members of an episode by what there is to tell of them."""

    fresh: list[Member] = field(default_factory=list)
    brief: list[Member] = field(default_factory=list)
    ended: list[Member] = field(default_factory=list)
    muted: list[Member] = field(default_factory=list)
    lost: list[Member] = field(default_factory=list)
    lasting: list[Member] = field(default_factory=list)
    flapping: list[Member] = field(default_factory=list)
    flaps: dict[AlertKey, Flap] = field(default_factory=dict)
    quiet: list[Member] = field(default_factory=list)
    """Changed without a word: another mail tells it."""


def due(episode: Episode, sight: Sight) -> Verdict:
    """What the episode tells now. The answer's episode knows that it was told."""
    parts = _sorted(episode, sight)
    episode = episode.with_members(parts.quiet)
    content = _content(episode, parts, sight)
    if content is None:
        return Verdict(_closed(episode, sight))
    told = [
        *(replace(one, told=True) for one in parts.fresh),
        *(replace(one, told=True, end_told=True) for one in (*parts.brief, *parts.muted)),
        *(replace(one, end_told=True) for one in parts.ended if one.incident_id in content.ids()),
        *(replace(one, no_data_told=True) for one in parts.lost),
        *(replace(one, told=True, end_told=not one.open) for one in parts.flapping),
    ]
    if content.reason is Reason.MUTED:
        told = [replace(one, told=True, end_told=True) for one in parts.muted]
        return Verdict(_closed(episode.with_members(told), sight), content)
    episode = replace(
        episode.with_members(told), last_mail_ms=sight.now_ms, mails=episode.mails + 1
    )
    flaps = tuple(replace(one, told_ms=sight.now_ms) for one in parts.flaps.values())
    return Verdict(_closed(_outlived(episode), sight), content, flaps)


def _sorted(episode: Episode, sight: Sight) -> _Parts:
    parts = _Parts()
    again = {one.alert for one in episode.members.values() if one.open}
    for member in episode.members.values():
        incident = sight.incidents.get(member.incident_id)
        if incident is None or sight.muted(incident) or member.settled:
            continue
        flap = sight.flapping(member)
        if flap is not None:
            if sight.now_ms >= flap.due_ms():
                parts.flapping.append(member)
                parts.flaps[member.alert] = flap
        elif not member.open:
            if member.ended_muted:
                parts.muted.append(member)
            elif not member.told:
                parts.brief.append(member)
            elif member.alert not in again:
                parts.ended.append(member)
        elif not member.told:
            parts.fresh.append(member)
        else:
            _open(member, parts, sight)
    return parts


def _open(member: Member, parts: _Parts, sight: Sight) -> None:
    """A member that people know of, and that lasts."""
    parts.lasting.append(member)
    if member.no_data_ms is None or member.no_data_told:
        return
    if member.node in sight.down or member.node in sight.told_silent:
        parts.quiet.append(replace(member, no_data_told=True))
    else:
        parts.lost.append(member)


def _content(episode: Episode, parts: _Parts, sight: Sight) -> Content | None:
    reason = _reason(episode, parts, sight)
    if reason is None:
        return None
    if reason is Reason.MUTED:
        return Content(reason, muted=_ids(parts.muted))
    lost = _ids(parts.lost)
    return Content(
        reason,
        fired=_ids(parts.fresh),
        lasting=tuple(one for one in _ids(parts.lasting) if one not in lost),
        no_data=lost,
        flapping=_ids(parts.flapping),
        resolved=_ids(one for one in parts.ended if _waited(one.ended_ms, RESOLVE_WAIT_MS, sight)),
        fired_and_resolved=_ids(parts.brief),
        muted=_ids(parts.muted),
        untold=_ids(one for one in parts.flapping if not one.told),
    )


def _reason(episode: Episode, parts: _Parts, sight: Sight) -> Reason | None:
    now, last = sight.now_ms, episode.last_mail_ms
    may_update = last is None or now - last >= UPDATE_MS
    if may_update:
        if parts.fresh and now - min(one.fired_ms for one in parts.fresh) >= sight.wait_ms:
            return Reason.FIRST if last is None else Reason.NEW
        if any(_waited(one.no_data_ms, NO_DATA_WAIT_MS, sight) for one in parts.lost):
            return Reason.NO_DATA
        if parts.flapping:
            return Reason.FLAPPING
        if any(_waited(one.ended_ms, RESOLVE_WAIT_MS, sight) for one in parts.brief):
            return Reason.FIRED_AND_RESOLVED
    over = not parts.fresh and not parts.lasting and not parts.flapping
    waited = [_waited(one.ended_ms, RESOLVE_WAIT_MS, sight) for one in parts.ended]
    if over and waited and all(waited):
        return Reason.RESOLVED
    if may_update and not over and any(waited):
        return Reason.PARTLY_RESOLVED
    if parts.muted:
        return Reason.MUTED
    if last is not None and now - last >= REPEAT_MS and _repeats(episode, parts, sight):
        return Reason.REPEAT
    return None


def _repeats(episode: Episode, parts: _Parts, sight: Sight) -> bool:
    """Somebody has still to act: it is no mere information, and nobody took note of it."""
    if episode.key.severity is Severity.INFO:
        return False
    incidents = [sight.incidents[one.incident_id] for one in parts.lasting]
    return any(one.repeat and one.acknowledged_ms is None for one in incidents)


def _outlived(episode: Episode) -> Episode:
    """Ends of alerts that fired anew are not told: the mail that goes now says they fire."""
    again = {one.alert for one in episode.members.values() if one.open and one.told}
    ended = [
        replace(one, end_told=True)
        for one in episode.members.values()
        if not one.open and one.told and not one.end_told and one.alert in again
    ]
    return episode.with_members(ended)


def _closed(episode: Episode, sight: Sight) -> Episode:
    """Without what is settled or unknown; over, when nothing is left and nothing of it flaps."""
    left = {
        key: one
        for key, one in episode.members.items()
        if key in sight.incidents and (not one.settled or sight.flapping(one) is not None)
    }
    if len(left) != len(episode.members):
        episode = replace(episode, members=left)
    return episode if left else replace(episode, closed_ms=sight.now_ms)


def _waited(since_ms: int | None, wait_ms: int, sight: Sight) -> bool:
    return since_ms is not None and sight.now_ms - since_ms >= wait_ms


def _ids(members: Iterable[Member]) -> tuple[str, ...]:
    return tuple(one.incident_id for one in members)
