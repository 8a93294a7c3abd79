"""How much one person gets: a limit an hour; what is over it goes into one digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpufleet.alerting.notify.content import Content, Reason
from gpufleet.alerting.state import Severity

HOUR_MS = 3_600_000
MAX_AN_HOUR = 20


@dataclass(frozen=True, slots=True)
class Recent:
    """Mails that one recipient was given lately, sent or about to be. Times in Unix ms."""

    times_ms: tuple[int, ...] = ()
    last_digest_ms: int | None = None

    def given(self, now_ms: int) -> int:
        """Mails of the last hour."""
        return sum(now_ms - HOUR_MS < one for one in self.times_ms)

    def and_one(self, now_ms: int) -> Recent:
        """The same after one more mail."""
        return Recent((*self.times_ms, now_ms), self.last_digest_ms)


@dataclass(frozen=True, slots=True)
class Placed:
    """What becomes of a mail: it goes now, or is held for the recipient's digest."""

    content: Content
    held: bool


def placed(
    content: Content,
    severity: Severity,
    recent: Recent,
    unsent: Sequence[Content],
    was_held: bool,
    now_ms: int,
) -> Placed:
    """Where one recipient's mail of one episode goes.

    ``unsent``: the mails of this episode for the recipient that did not go yet, the oldest first;
    this one takes their place. ``was_held``: some of them waited for a digest.
    """
    for one in reversed(unsent):
        content = content.after(one)
    if content.reason is Reason.MUTED:
        return Placed(content, held=True)
    resolved = content.reason is Reason.RESOLVED and not was_held
    passes = severity is Severity.CRITICAL or resolved
    return Placed(content, held=not passes and recent.given(now_ms) >= MAX_AN_HOUR)


def digest_due(recent: Recent, now_ms: int) -> bool:
    """Whether what is held for a recipient may go out as one digest: once an hour, in the limit."""
    last = recent.last_digest_ms
    return recent.given(now_ms) < MAX_AN_HOUR and (last is None or now_ms - last >= HOUR_MS)


def digest_of(held: Sequence[Content]) -> Content:
    """One mail of all that was held."""
    parts: dict[str, list[str]] = {}
    for content in held:
        for name, ids in content.document().items():
            if name != "reason":
                kept = parts.setdefault(name, [])
                kept += [one for one in ids if one not in kept]
    return Content(Reason.DIGEST, **{name: tuple(ids) for name, ids in parts.items()})
