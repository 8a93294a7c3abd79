"""The one statement whose spelling SQLAlchemy leaves to the database: INSERT … ON CONFLICT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite

BATCH = 500
"""Ids in one IN list: well below every database's limit on parameters."""

T = TypeVar("T")


def insert_or_ignore(connection: Connection, table: Table) -> Insert:
    """An INSERT that leaves rows alone whose primary key is there."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def upsert(
    connection: Connection, table: Table, keys: Sequence[str], changed: Iterable[str]
) -> Insert:
    """An INSERT that sets ``changed`` from the new row where ``keys`` is there already."""
    if connection.dialect.name == "sqlite":
        lite = sqlite.insert(table)
        return lite.on_conflict_do_update(
            index_elements=keys, set_={name: lite.excluded[name] for name in changed}
        )
    postgres = postgresql.insert(table)
    return postgres.on_conflict_do_update(
        index_elements=keys, set_={name: postgres.excluded[name] for name in changed}
    )


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """``items`` in lists of at most ``size``."""
    whole = list(items)
    return (whole[at : at + size] for at in range(0, len(whole), size))
