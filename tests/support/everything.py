"""Every sample in a database, row by row: no reader's deduplication hides a double."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from gpufleet.hub.store import registry
from gpufleet.hub.store.codec import decode_chunk
from gpufleet.hub.store.database import open_database
from gpufleet.hub.store.tables import samples as samples_table

Samples = dict[tuple[str, int], dict[int, int]]
"""(subject, tick) → catalogue id → raw value."""


def everything_in(file: Path) -> Samples:
    """What is in an SQLite file; an AssertionError if a tick of a subject is there twice."""
    return everything_at(f"sqlite:///{file}")


def everything_at(url: str) -> Samples:
    """The same of a database by URL."""
    found: Samples = {}
    database = open_database(url)
    try:
        with database.reading() as connection:
            subjects = {s.id: f"{s.kind}/{s.key}" for s in registry.load_subjects(connection)}
            for row in connection.execute(select(samples_table)):
                chunk = decode_chunk(row.data)
                assert row.count == len(chunk.ticks)
                columns = {i: (c.values.tolist(), c.present) for i, c in chunk.columns.items()}
                for t, tick in enumerate(chunk.ticks.tolist()):
                    place = (subjects[row.subject_id], tick)
                    assert place not in found, f"{place} is stored twice"
                    found[place] = {
                        metric_id: values[t]
                        for metric_id, (values, present) in columns.items()
                        if present is None or present[t]
                    }
    finally:
        database.close()
    return found
