"""What can go wrong between the hub and its database, each with one sentence for people.

StoreError
├── StoreUnusable        the place cannot hold a database, or what is there is none of ours
├── StoreLocked          another hub has it
├── SchemaOutdated       it must be migrated first
├── SchemaNewer          a newer gpufleet wrote it
├── StoreLeaseLost       another hub writes to it now: stand by
└── StoreFailed          a call failed (full disk, lost connection): a retry can help
HistoryError             the question makes no sense (a ValueError)
"""

from __future__ import annotations


class StoreError(Exception):
    """The database is not usable now; the text says why and what to do."""


class StoreUnusable(StoreError):
    """The database's place is wrong: no such folder, no permission, not a database of ours."""


class StoreLocked(StoreError):
    """Another hub has the database open."""


class SchemaOutdated(StoreError):
    """The database must be migrated before it can be used."""


class SchemaNewer(StoreError):
    """The database was written by a newer gpufleet."""


class StoreLeaseLost(StoreError):
    """This hub does not hold the lease of the database: nothing was written."""


class StoreFailed(StoreError):
    """A call failed half-way and was rolled back; the same call may succeed later."""


class HistoryError(ValueError):
    """A range, number of points or cursor that has no answer; the text says which and why."""


NO_CURSOR = "The cursor is not one that this hub gave; ask without a cursor."


def reason(error: Exception) -> str:
    """What the driver said, in one line without a full stop."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
