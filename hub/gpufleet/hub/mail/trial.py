"""Sends a sample mail through the configured way: ``gpufleet hub test-email``."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from gpufleet.alerting.mail.letter import illustrated, written
from gpufleet.alerting.mail.sample import lines_of, samples
from gpufleet.alerting.smtp import SendFailed
from gpufleet.hub.mail.config import MailConfig, is_address
from gpufleet.hub.mail.mailer import transport_of
from gpufleet.hub.store.email import Mail, MailState

NO_MAIL = (
    "hub.toml has no [smtp], so this hub sends no mail: add [smtp] with host and from, or with"
    " mail_dir and from (docs/email.md)."
)
NOBODY = "No route names a recipient: add [[route]] to hub.toml, or say who with --to ADDRESS."


class NotTried(Exception):
    """There is nothing to try. The text says what to set."""


def try_out(config: MailConfig, to: Sequence[str]) -> dict[str, str]:
    """Send the sample to ``to``, or to every recipient of every route.

    Returns recipient → "" where it was taken, else the sentence that says why not.
    """
    transport = transport_of(config)
    if transport is None:
        raise NotTried(NO_MAIL)
    recipients = list(to) or sorted({one for route in config.routes for one in route.recipients})
    if not recipients:
        raise NotTried(NOBODY)
    for one in recipients:
        if not is_address(one):
            raise NotTried(f"{one!r} is no mail address.")
    now_ms = time.time_ns() // 1_000_000
    letter = samples(now_ms, config.zone, config.places)["critical"].letter
    chart = illustrated(letter, lines_of)
    found = {}
    for recipient in recipients:
        name = f"test-{secrets.token_hex(8)}"
        made = written(letter, config.sender, recipient, name, (), chart, test=True)
        mail = Mail(
            id=name,
            episode_id="",
            recipient=recipient,
            severity=letter.severity,
            content=letter.content,
            subject=made.subject,
            message_id=made.message_id,
            message=made.message,
            state=MailState.SENDING,
            created_ms=now_ms,
            first_ms=now_ms,
            next_ms=now_ms,
        )
        try:
            transport.send(mail)
        except SendFailed as error:
            found[recipient] = str(error)
        else:
            found[recipient] = ""
    return found
