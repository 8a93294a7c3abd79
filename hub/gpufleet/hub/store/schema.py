"""Whether a database has this program's schema, and bringing it there."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, Engine, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from gpufleet.hub.store import tables
from gpufleet.hub.store.errors import SchemaNewer, SchemaOutdated, StoreUnusable, reason

REVISION = "0008"
"""The schema of tables.py: the newest file of gpufleet.migrations.versions."""


def check_schema(
    engine: Engine, migrate: Callable[[], AbstractContextManager[Connection]] | None = None
) -> None:
    """The schema is this program's afterwards, or a StoreError says what to do.

    ``migrate`` opens the transaction in which an older schema is brought up to date; ``None``:
    that is somebody else's business.
    """
    name = engine.url.render_as_string(hide_password=True)
    try:
        with engine.begin() as connection:
            found = _revision(connection, name)
    except DBAPIError as error:
        if type(error.orig) is sqlite3.DatabaseError:
            raise StoreUnusable(
                f"{engine.url.database} is not a sound SQLite database ({reason(error)}); "
                "move it away or name another file."
            ) from error
        raise StoreUnusable(f"The database {name} cannot be opened: {reason(error)}.") from error
    if found == REVISION:
        return
    if found is not None and found > REVISION:
        raise SchemaNewer(
            f"The database {name} was written by a newer gpufleet (schema {found}, this program "
            f"knows {REVISION}); run that version."
        )
    if migrate is None:
        raise SchemaOutdated(
            f"The database {name} has schema {found or 'none'}, this program needs {REVISION}; "
            "run: gpufleet hub migrate"
        )
    with migrate() as connection:
        _upgrade(connection)


def _revision(connection: Connection, name: str) -> str | None:
    """The schema's revision; ``None`` for an empty database; StoreUnusable for someone else's."""
    found = set(inspect(connection).get_table_names())
    if not found:
        return None
    if "alembic_version" not in found or not found & set(tables.metadata.tables):
        raise StoreUnusable(
            f"The database {name} holds tables that are not gpufleet's; name another database."
        )
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    from alembic import command  # 80 ms and some MiB that an up-to-date hub does without
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "gpufleet:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    known = connection.execute(
        select(tables.meta.c.value).where(tables.meta.c.name == "instance")
    ).scalar()
    if known is None:
        connection.execute(
            insert(tables.meta).values(name="instance", value=str(uuid.uuid4())),
        )
