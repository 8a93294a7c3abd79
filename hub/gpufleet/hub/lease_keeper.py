"""Keeps the lease of a shared database from a thread of its own, and tells the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading

from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import StoreError
from gpufleet.hub.store.lease import RENEW_SECONDS
from gpufleet.hub.store.tenure import Tenure
from gpufleet.proto.logline import said

END_SECONDS = 10.0

_log = logging.getLogger(__name__)


class Keeper:
    """Whether this hub may write. A SQLite file is locked by this process: there it always may.

    Made and used on the event loop. A thread renews, so that neither a slow write nor a busy loop
    lets the lease run out. After a loss nothing is taken again until ``stand_again``: what the
    former turn left under way must have ended first.
    """

    def __init__(self, database: Database) -> None:
        self.held = asyncio.Event()
        self.lost = asyncio.Event()
        self.waiting = asyncio.Event()
        """Another hub has the lease, or the database cannot be reached: set at the first look."""
        self.trouble = ""
        """Why the lease could not be looked at last ("": it could)."""
        self._loop = asyncio.get_running_loop()
        self.heard = self._loop.time()
        """When the lease could be looked at last, by the loop's clock."""
        self._tenure = Tenure(database) if database.is_postgresql else None
        self._stopped = threading.Event()
        self._again = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin; once only."""
        if self._tenure is None:
            self.held.set()
        else:
            self._thread.start()

    @property
    def other(self) -> str:
        """The hub that was seen to hold the lease last ("": nobody)."""
        return self._tenure.other if self._tenure is not None else ""

    @property
    def shared(self) -> bool:
        """Other hubs may have the database: it is not this one's alone."""
        return self._tenure is not None

    def stand_again(self) -> None:
        """This hub's turn is over and nothing of it is under way: it may take the lease anew."""
        self.lost.clear()
        self._again.set()

    async def close(self) -> None:
        """Give the lease back, after the last write, so that the next hub need not wait."""
        self._stopped.set()
        self._again.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, END_SECONDS)

    def _run(self) -> None:
        assert self._tenure is not None
        while not self._stopped.is_set():
            was = self._tenure.active
            try:
                held = self._tenure.step()
                trouble = ""
            except StoreError as error:
                held, trouble = was, str(error)
            except Exception as error:  # this thread must not end unheard: nobody would step down
                held, trouble = was, f"Its lease cannot be kept: {type(error).__name__}: {error}."
            if trouble and trouble != self.trouble:
                _log.warning("lease cannot be looked at %s", said(reason=trouble))
            self._tell(was, held, trouble)
            if was and not held:
                self._again.wait()
                self._again.clear()
            self._stopped.wait(RENEW_SECONDS)
        self._release(self._tenure)

    def _tell(self, was: bool, held: bool, trouble: str) -> None:
        def tell() -> None:
            self.trouble = trouble
            if not trouble:
                self.heard = self._loop.time()
            if held and not was:
                self.waiting.clear()
                self.held.set()
            elif was and not held:
                self.held.clear()
                self.lost.set()
            if not held:
                self.waiting.set()

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell)

    @staticmethod
    def _release(tenure: Tenure) -> None:
        try:
            tenure.release()
        except StoreError as error:
            _log.warning("lease cannot be given back and runs out by itself %s", said(reason=error))
