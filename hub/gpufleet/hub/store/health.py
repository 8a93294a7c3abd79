"""Keeps what health remembers of a GPU (latches, Xids, windows) over a restart of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, select

from gpufleet.hub.store.dialect import batches, upsert
from gpufleet.hub.store.tables import health_histories


def load_histories(connection: Connection) -> dict[int, Mapping[str, Any]]:
    """Documents by subject id (gpufleet.alerting.health_document)."""
    rows = connection.execute(select(health_histories.c.subject_id, health_histories.c.document))
    return {row.subject_id: row.document for row in rows}


def write_histories(
    connection: Connection, changed: Mapping[int, Mapping[str, Any] | None]
) -> None:
    """Keep these documents; ``None``: nothing is remembered of that subject any more."""
    gone = [subject_id for subject_id, document in changed.items() if document is None]
    for some in batches(gone):
        connection.execute(delete(health_histories).where(health_histories.c.subject_id.in_(some)))
    rows = [
        {"subject_id": subject_id, "document": dict(document)}
        for subject_id, document in changed.items()
        if document is not None
    ]
    if rows:
        connection.execute(
            upsert(connection, health_histories, ("subject_id",), ("document",)), rows
        )
