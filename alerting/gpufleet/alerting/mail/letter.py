"""From what a mail is made of to the mail itself: view, chart, parts, headers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.mail.message import Envelope, compose, message_id
from gpufleet.alerting.mail.picture import (
    DEADLINE_SECONDS,
    MAX_LINES,
    Line,
    picture,
    span_of,
    spec_of,
)
from gpufleet.alerting.mail.render import html_of, text_of
from gpufleet.alerting.mail.view import Letter, charted, view_of

History = Callable[[Sequence[Incident], int, int], Sequence[Line]]
"""Values of the incidents' metric from one time to another (Unix ms), a line for each GPU."""

TEST = "This is a test: nothing is wrong. It was sent by gpufleet hub test-email."


@dataclass(frozen=True, slots=True)
class Written:
    """A mail, ready to go."""

    subject: str
    message_id: str
    message: bytes


def illustrated(
    letter: Letter, history: History, seconds: float = DEADLINE_SECONDS
) -> bytes | None:
    """The mail's chart, where it has one and there are samples to draw."""
    incidents = charted(letter)[:MAX_LINES]
    if not incidents:
        return None
    span = span_of(incidents, letter.now_ms)
    lines = [
        line
        for line in history(incidents, *span)
        if sum(value is not None for _, value in line.points) > 1
    ]
    if not lines:
        return None
    tone = view_of(letter).tone
    return picture(spec_of(incidents[0], lines, span, letter.zone, tone), seconds)


def written(
    letter: Letter,
    sender: str,
    recipient: str,
    name: str,
    references: tuple[str, ...] = (),
    chart: bytes | None = None,
    *,
    test: bool = False,
) -> Written:
    """The mail called ``name`` (message.py) for one recipient; ``test``: it says that it is one."""
    view = view_of(letter)
    if test:
        view = replace(view, subject=f"[TEST] {view.subject}", why=TEST)
    own_id = message_id(name, sender)
    envelope = Envelope(
        sender=sender,
        recipient=recipient,
        subject=view.subject,
        message_id=own_id,
        references=references,
        date_ms=letter.now_ms,
        zone=letter.zone,
        reason=letter.content.reason.value,
        severity=letter.severity.value,
    )
    html = html_of(view, chart=chart is not None)
    return Written(view.subject, own_id, compose(envelope, text_of(view), html, chart))
