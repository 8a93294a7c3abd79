"""What is remembered between mails: group episodes with their members, and flapping alerts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.state import Severity

FLAP_WINDOW_MS = 30 * 60_000
FLAP_TRANSITIONS = 4
FLAP_REPEAT_MS = 3_600_000
MAX_TIMES = 200

AlertKey = tuple[str, str]
"""(alertname, subject key): the same alert, however often it fires."""


@dataclass(frozen=True, slots=True)
class GroupKey:
    """Alerts that share mails: of one GPU model and severity, for the same people.

    Alerts of nodes have no model ("").
    """

    model: str
    severity: Severity
    recipients: tuple[str, ...]


def group_of(incident: Incident, recipients: tuple[str, ...]) -> GroupKey:
    """The group that an incident is mailed with."""
    return GroupKey(incident.gpu_name, incident.severity, recipients)


@dataclass(frozen=True, slots=True)
class Member:
    """One incident of an episode, and what people were told of it. Times by the hub's clock."""

    incident_id: str
    alertname: str
    subject_key: str
    node: str
    fired_ms: int
    told: bool = False
    """A mail tells that it fired."""
    ended_ms: int | None = None
    ended_muted: bool = False
    end_told: bool = False
    no_data_ms: int | None = None
    no_data_told: bool = False

    @property
    def alert(self) -> AlertKey:
        return (self.alertname, self.subject_key)

    @property
    def open(self) -> bool:
        return self.ended_ms is None

    @property
    def settled(self) -> bool:
        """There is nothing left to tell of it, ever."""
        return self.ended_ms is not None and self.end_told


@dataclass(frozen=True, slots=True)
class Episode:
    """A group from its first firing until everything that it told has ended: one thread of mail."""

    id: str
    key: GroupKey
    opened_ms: int
    members: Mapping[str, Member] = field(default_factory=dict)
    last_mail_ms: int | None = None
    """The last mail of the whole group; what everything else counts from."""
    mails: int = 0
    closed_ms: int | None = None

    def with_members(self, changed: Iterable[Member]) -> Episode:
        """The episode with these members instead of their former selves, or added."""
        new = {one.incident_id: one for one in changed}
        return replace(self, members={**self.members, **new}) if new else self

    def document(self) -> dict[str, Any]:
        """Everything but the key, for the database."""
        return {
            "members": [asdict(one) for one in self.members.values()],
            "last_mail_ms": self.last_mail_ms,
            "mails": self.mails,
        }


def episode_from(
    id_: str, key: GroupKey, opened_ms: int, closed_ms: int | None, document: Mapping[str, Any]
) -> Episode:
    """The episode that ``document`` was made of."""
    members = [Member(**one) for one in document["members"]]
    return Episode(
        id_,
        key,
        opened_ms,
        {one.incident_id: one for one in members},
        document["last_mail_ms"],
        document["mails"],
        closed_ms,
    )


def episode_id(key: GroupKey, first_incident: str) -> str:
    """The same for the same beginning: a restart makes no second thread."""
    text = "|".join((key.model, key.severity.value, *key.recipients, first_incident))
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


@dataclass(frozen=True, slots=True)
class Flap:
    """How often one alert came and went lately."""

    alert: AlertKey
    times_ms: tuple[int, ...] = ()
    told_ms: int | None = None

    def moved(self, at_ms: int) -> Flap:
        """It fired, ended, went silent or came back at this time."""
        kept = [one for one in self.times_ms if one > at_ms - FLAP_WINDOW_MS]
        return replace(self, times_ms=(*kept, at_ms)[-MAX_TIMES:])

    def count(self, now_ms: int) -> int:
        """Transitions of the last half hour."""
        return sum(now_ms - FLAP_WINDOW_MS < one <= now_ms for one in self.times_ms)

    def flapping(self, now_ms: int) -> bool:
        """Whether single transitions are not worth a mail any more."""
        return self.count(now_ms) >= FLAP_TRANSITIONS

    def due_ms(self) -> int:
        """When it may be told next, if it still flaps."""
        return 0 if self.told_ms is None else self.told_ms + FLAP_REPEAT_MS
