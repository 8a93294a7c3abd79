"""Runs mail beside the hub's loop, in threads of its own: notifier, sender, heartbeat."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from gpufleet.alerting.incident import Incident
from gpufleet.hub.mail.config import MailConfig
from gpufleet.hub.mail.heartbeat import EVERY_SECONDS, Heartbeat
from gpufleet.hub.mail.history import stored_history
from gpufleet.hub.mail.notifier import Notifier
from gpufleet.hub.mail.outbox import FileTransport, Sender, SmtpTransport, Transport
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.email import OutboxView, outbox_view
from gpufleet.hub.store.errors import StoreError, StoreLeaseLost
from gpufleet.proto.logline import said

PAUSE_SECONDS = 1.0
STORE_PAUSE_SECONDS = 5.0
STOP_SECONDS = 5.0
WATCH_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Worker(Protocol):
    """Does one thing at a time."""

    def process_one(self) -> bool:
        """Whether there may be more to do at once."""


class Mailer:
    """Mail for one turn of the hub: ``start`` when it may write, ``stop`` before it may not.

    Nothing here touches the event loop; every write is fenced by the hub's lease.
    """

    def __init__(
        self,
        database: Database,
        config: MailConfig,
        now: Callable[[], int],
        live: Callable[[], Mapping[str, Incident]] = dict,
        see: Callable[[OutboxView], None] = lambda view: None,
    ) -> None:
        """``live``, ``see`` and ``now`` are called from mail's threads."""
        self._database = database
        self._config = config
        self._see = see
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self.sender: Sender | None = None
        """``None``: no way to send is configured."""
        self._notifier: Notifier | None = None
        transport = transport_of(config)
        if transport is not None:
            self.sender = Sender(database, transport, now)
            self._notifier = Notifier(database, config, now, stored_history(database), live)

    @property
    def trouble(self) -> str:
        """Why nothing can be sent at all just now ("": it can, or none is configured)."""
        return self.sender.trouble if self.sender is not None else ""

    def start(self) -> None:
        """Begin; once only."""
        if self.sender is not None and self._notifier is not None:
            self._begin("mail notifier", partial(self._work, self._notifier))
            self._begin("mail sender", partial(self._work, self.sender))
            self._begin("mail watch", self._watch)
        if self._config.heartbeat_url:
            self._begin("heartbeat", self._beat)

    def stop(self) -> None:
        """End; waits for what is under way, but not for a mail server that hangs.

        A mail that is cut off so is tried again by the next turn, with the same Message-ID.
        """
        self._stopped.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def _begin(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, worker: Worker) -> None:
        trouble = ""
        while not self._stopped.is_set():
            pause = PAUSE_SECONDS
            try:
                if worker.process_one():
                    continue
                trouble = ""
            except StoreLeaseLost:
                return
            except StoreError as error:
                if str(error) != trouble:
                    _log.warning("mail waits for the database %s", said(reason=error))
                trouble, pause = str(error), STORE_PAUSE_SECONDS
            except Exception as error:  # it must not end unheard: nobody would be mailed any more
                if repr(error) != trouble:
                    _log.exception("mail failed unexpectedly, it is tried again")
                trouble, pause = repr(error), STORE_PAUSE_SECONDS
            self._stopped.wait(pause)

    def _watch(self) -> None:
        """Tell how the outbox is, every few seconds."""
        while not self._stopped.is_set():
            with contextlib.suppress(StoreError):  # the workers say so
                with self._database.reading() as connection:
                    view = outbox_view(connection)
                self._see(view)
            self._stopped.wait(WATCH_SECONDS)

    def _beat(self) -> None:
        heartbeat = Heartbeat(self._config.heartbeat_url)
        while not self._stopped.is_set():
            heartbeat.beat()
            self._stopped.wait(EVERY_SECONDS)


def transport_of(config: MailConfig) -> Transport | None:
    """The configured way to send."""
    if config.smtp is not None:
        return SmtpTransport(config.smtp)
    if config.mail_dir is not None:
        return FileTransport(config.mail_dir)
    return None
