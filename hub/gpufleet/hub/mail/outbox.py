"""Sends what is in the outbox: claimed one at a time, marked sent after the server took it.

At least once: a mail goes twice only if the server took it and its answer, or the mark, was lost;
then both have the same Message-ID.
"""

from __future__ import annotations

import logging
import os
import random
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gpufleet.alerting import smtp
from gpufleet.alerting.smtp import Blame, SendFailed, SmtpSettings
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.email import (
    Mail,
    MailState,
    claim_one,
    forget_mails,
    release_claims,
    settle,
)
from gpufleet.proto.logline import said

FIRST_WAIT_MS = 10_000
LONGEST_WAIT_MS = 30 * 60_000
GIVE_UP_MS = 72 * 3_600_000
"""A mail that the server puts off for so long is dead."""
KEEP_MS = 30 * 86_400_000
"""Rows of mails that were sent or given up are kept so long."""
FORGET_EVERY_MS = 3_600_000

_log = logging.getLogger(__name__)


class Transport(Protocol):
    """A way for mails to leave."""

    def send(self, mail: Mail) -> None:
        """Returns once the mail is in other hands; SendFailed otherwise."""


@dataclass(frozen=True, slots=True)
class SmtpTransport:
    """To a mail server."""

    settings: SmtpSettings

    def send(self, mail: Mail) -> None:
        assert mail.message is not None
        smtp.send(self.settings, mail.recipient, mail.message)


@dataclass(frozen=True, slots=True)
class FileTransport:
    """To a folder, a file each: for demos, and for hubs whose mails something else picks up."""

    folder: Path

    def send(self, mail: Mail) -> None:
        """The file is on the disk, whole, when this returns; the same mail has the same name."""
        assert mail.message is not None
        name = re.sub(r"[^\w.@+-]", "_", f"{mail.created_ms}-{mail.id}-{mail.recipient}")[:200]
        path, part = self.folder / f"{name}.eml", self.folder / f".{name}.part"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(mail.message)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise SendFailed(
                Blame.SERVER, f"The mail cannot be written to {path}: {error.strerror}."
            ) from None


def wait_ms(attempt: int, chance: float) -> int:
    """How long to wait after the ``attempt``-th failure in a row (from 1 on).

    10 s, doubled each time up to 30 min, and then between 0.8 and 1.2 of it by ``chance`` (0–1).
    """
    grown = FIRST_WAIT_MS << min(max(attempt, 1) - 1, 20)
    return round(min(grown, LONGEST_WAIT_MS) * (0.8 + 0.4 * chance))


class Sender:
    """For one thread. ``now`` gives Unix ms; ``chance`` a number from 0 to 1."""

    def __init__(
        self,
        database: Database,
        transport: Transport,
        now: Callable[[], int],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._transport = transport
        self._now = now
        self._chance = chance
        self._claim = secrets.token_hex(8)
        self._began = False
        self._sent: Mail | None = None
        """The server took it; the database does not know that yet."""
        self._failures = 0
        self._not_before_ms = 0
        self._forget_ms = 0
        self.trouble = ""
        """Why nothing can be sent at all ("": it can), for people."""

    def process_one(self) -> bool:
        """Send one mail that is due; whether there may be more now. StoreError: try again later."""
        now_ms = self._now()
        if self._sent is not None:
            self._settle(self._sent, MailState.SENT)
            self._sent = None
        if not self._began:
            with self._database.writing() as connection:
                release_claims(connection, self._claim)
            self._began = True
        self._forget(now_ms)
        if now_ms < self._not_before_ms:
            return False
        with self._database.writing() as connection:
            mail = claim_one(connection, self._claim, now_ms)
        if mail is None:
            return False
        try:
            self._transport.send(mail)
        except SendFailed as error:
            self._failed(mail, error)
        else:
            self._sent = mail
            self._settle(mail, MailState.SENT)
            self._sent = None
            self._well()
            _log.info("mail sent %s", said(id=mail.id, reason=mail.content.reason.value))
        return True

    def _failed(self, mail: Mail, error: SendFailed) -> None:
        now_ms, sentence = self._now(), str(error)
        if error.blame is Blame.SERVER:
            self._failures += 1
            self._not_before_ms = now_ms + wait_ms(self._failures, self._chance())
            if sentence != self.trouble:
                _log.error("mail cannot be sent and is tried again %s", said(reason=sentence))
            self.trouble = sentence
            self._settle(mail, MailState.QUEUED, error=sentence)
            return
        self._well()
        since_ms = now_ms if mail.deferred_ms is None else mail.deferred_ms
        if error.blame is Blame.PERMANENT or now_ms - since_ms >= GIVE_UP_MS:
            _log.error("mail given up %s", said(id=mail.id, reason=sentence))
            self._settle(mail, MailState.DEAD, error=sentence)
            return
        next_ms = now_ms + wait_ms(mail.attempts, self._chance())
        put_off = said(id=mail.id, attempts=mail.attempts, reason=sentence)
        _log.warning("mail put off %s", put_off)
        self._settle(mail, MailState.QUEUED, next_ms=next_ms, deferred_ms=since_ms, error=sentence)

    def _well(self) -> None:
        """The server answers."""
        if self.trouble:
            _log.info("mail can be sent again")
        self._failures, self._not_before_ms, self.trouble = 0, 0, ""

    def _settle(
        self,
        mail: Mail,
        state: MailState,
        *,
        next_ms: int | None = None,
        deferred_ms: int | None = None,
        error: str = "",
    ) -> None:
        with self._database.writing() as connection:
            settle(
                connection,
                mail,
                state,
                self._now(),
                next_ms=next_ms,
                deferred_ms=deferred_ms,
                error=error,
            )

    def _forget(self, now_ms: int) -> None:
        if now_ms >= self._forget_ms:
            with self._database.writing() as connection:
                forget_mails(connection, now_ms - KEEP_MS)
            self._forget_ms = now_ms + FORGET_EVERY_MS
