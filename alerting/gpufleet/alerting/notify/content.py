"""What one mail tells: incidents by what is told of each. Mails that were not sent are merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Reason(Enum):
    """Why a mail goes out; it is told in logs, metrics and the mail's header."""

    FIRST = "first"
    """A group's first alerts fired, and were gathered for half a minute."""
    NEW = "new"
    """More of a group fired since its last mail."""
    RESOLVED = "resolved"
    """Everything that was told of a group has ended, a minute ago at least."""
    PARTLY_RESOLVED = "partly_resolved"
    """Some of it has."""
    FIRED_AND_RESOLVED = "fired_and_resolved"
    """It fired and ended before anybody could be told."""
    NO_DATA = "no_data"
    """Samples of firing alerts stopped."""
    REPEAT = "repeat"
    """It still lasts."""
    FLAPPING = "flapping"
    """It comes and goes too often to tell each time."""
    MUTED = "muted"
    """It ended while a silence or a maintenance window muted it."""
    DIGEST = "digest"
    """Mails over the recipient's limit, or of muted times, in one."""


URGENCY = (
    *(Reason.FIRST, Reason.NEW, Reason.NO_DATA, Reason.FLAPPING, Reason.FIRED_AND_RESOLVED),
    *(Reason.RESOLVED, Reason.PARTLY_RESOLVED, Reason.MUTED, Reason.REPEAT, Reason.DIGEST),
)
"""The one of several reasons that names the mail comes first."""

_PARTS = ("fired", "lasting", "no_data", "flapping", "resolved", "fired_and_resolved", "muted")
_STORED = (*_PARTS, "untold")


@dataclass(frozen=True, slots=True)
class Content:
    """Ids of incidents, each in one part, by what the mail tells of it."""

    reason: Reason
    fired: tuple[str, ...] = ()
    """Told as fired for the first time."""
    lasting: tuple[str, ...] = ()
    """Told before, and still open."""
    no_data: tuple[str, ...] = ()
    """Open, and their samples stopped."""
    flapping: tuple[str, ...] = ()
    """Of alerts that come and go."""
    resolved: tuple[str, ...] = ()
    """Told before, and ended."""
    fired_and_resolved: tuple[str, ...] = ()
    """Never told before, and ended."""
    muted: tuple[str, ...] = ()
    """Ended while it was muted."""
    untold: tuple[str, ...] = ()
    """Of ``flapping`` those that were not told before."""

    def ids(self) -> frozenset[str]:
        """Every incident that it names."""
        return frozenset(one for part in _PARTS for one in getattr(self, part))

    def opens(self) -> frozenset[str]:
        """Incidents of which the recipient hears here for the first time."""
        return frozenset((*self.fired, *self.fired_and_resolved, *self.untold))

    def after(self, unsent: Content) -> Content:
        """This mail where ``unsent``, the one before it, will not be sent: it tells both.

        What fired in ``unsent`` and ended here is told as fired and resolved.
        """
        part = {one: name for name in _PARTS for one in getattr(unsent, name)}
        untold = unsent.opens()
        for name in _PARTS:
            for one in getattr(self, name):
                part[one] = name
        for one in untold:
            if part[one] in ("lasting", "no_data"):
                part[one] = "fired"
            elif part[one] == "resolved":
                part[one] = "fired_and_resolved"
        parts = {
            name: tuple(one for one, where in part.items() if where == name) for name in _PARTS
        }
        new = dict.fromkeys((*untold, *self.untold))
        kept = tuple(one for one in new if part[one] == "flapping")
        return Content(self._reason(parts, unsent), **parts, untold=kept)

    def _reason(self, parts: Mapping[str, tuple[str, ...]], unsent: Content) -> Reason:
        if self.reason is Reason.DIGEST:
            return self.reason
        ended = parts["fired_and_resolved"] or parts["resolved"]
        still = parts["fired"] or parts["lasting"] or parts["no_data"] or parts["flapping"]
        if ended and not still:
            return Reason.RESOLVED if parts["resolved"] else Reason.FIRED_AND_RESOLVED
        if self.reason in (Reason.RESOLVED, Reason.FIRED_AND_RESOLVED) and still:
            return min(unsent.reason, Reason.PARTLY_RESOLVED, key=URGENCY.index)
        return min(self.reason, unsent.reason, key=URGENCY.index)

    def document(self) -> dict[str, Any]:
        """For the database; ``content_from`` reads it."""
        parts = {name: list(value) for name, value in asdict(self).items() if name in _STORED}
        return {"reason": self.reason.value, **{k: v for k, v in parts.items() if v}}


def content_from(document: Mapping[str, Any]) -> Content:
    """The content that ``document`` was made of."""
    parts = {name: tuple(document.get(name, ())) for name in _STORED}
    return Content(Reason(document["reason"]), **parts)
