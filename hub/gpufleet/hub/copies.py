"""``gpufleet hub backup`` and ``restore``: a copy of the configured database, and back."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url

from gpufleet.hub.config import HubConfig
from gpufleet.hub.store.backup import backup, restore
from gpufleet.hub.store.database import open_database
from gpufleet.hub.store.errors import StoreUnusable
from gpufleet.hub.store.sqlite_file import sqlite_path


def back_up(config: HubConfig, file: Path) -> str:
    """Copy the database, which a hub may be using; a sentence that says what was done."""
    database = open_database(config.database_url, exclusive=False)
    try:
        size = backup(database, file)
    finally:
        database.close()
    return f"{file} is a whole copy of the database, checked ({size / 1e6:.1f} MB)."


def put_back(config: HubConfig, file: Path) -> str:
    """Put a copy in the database's place; a sentence that says what was done."""
    url = make_url(config.database_url)
    if url.get_backend_name() != "sqlite":
        raise StoreUnusable(
            "A PostgreSQL database is not restored by gpufleet: use pg_restore, then"
            " gpufleet hub migrate."
        )
    if not config.database:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = sqlite_path(url)
    former = restore(file, path)
    kept = f" What was there is {former} now." if former is not None else ""
    return f"{path} is the database of {file} now.{kept} Start the hub: gpufleet hub serve."
