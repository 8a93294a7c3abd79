"""Keeps a hub's lease of its database: taken when free, renewed each second, given back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gpufleet.hub.store import lease as leases
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.errors import StoreFailed
from gpufleet.proto.logline import said

log = logging.getLogger(__name__)


class Tenure:
    """Call ``step`` each second (``lease.RENEW_SECONDS``), always from one thread at a time.

    It must not be the thread of the writer: the lease has a connection of its own and passes by
    writes that are under way. A database that cannot be reached ends no tenure, since nobody else
    can take the lease there either; what is written is safe in any case (``Database.writing``).
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._watch = leases.Watch()
        database.stand_by()

    @property
    def active(self) -> bool:
        """This hub is the one that writes, as far as it knows."""
        return self._database.lease is not None

    @property
    def other(self) -> str:
        """Who was seen to hold the lease last ("": nobody)."""
        return self._watch.seen.holder if self._watch.seen else ""

    def step(self) -> bool:
        """Take or renew the lease; whether this hub holds it now. StoreFailed: not known."""
        try:
            return self._step()
        except StoreFailed:
            self._watch.missed()
            raise

    def _step(self) -> bool:
        held = self._database.lease
        if held is not None:
            with self._database.leasing() as connection:
                renewed = leases.renew(connection, held)
            if not renewed:
                log.warning("lease lost, another hub has the database %s", said(epoch=held.epoch))
                self._database.stand_by()
            return renewed
        with self._database.leasing() as connection:
            row = leases.read(connection)
            taken: leases.Lease | None = None
            if row.holder == self._database.holder:  # taken before, but the answer was lost
                taken = leases.Lease(row.epoch, row.holder)
            elif self._watch.free(row, self._clock(), alone=self._database.alone):
                taken = leases.take(connection, row, self._database.holder)
        if taken is None:
            return False
        taker = said(epoch=taken.epoch, holder=taken.holder, before=row.holder)
        log.info("lease taken %s", taker)
        self._database.write_under(taken)
        return True

    def release(self) -> None:
        """Give the lease back, after the last write; StoreFailed if that cannot be said."""
        held = self._database.lease
        if held is None:
            return
        self._database.stand_by()
        with self._database.leasing() as connection:
            leases.release(connection, held)
