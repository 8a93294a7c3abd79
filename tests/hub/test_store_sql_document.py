"""The queries of docs/sql.md run, and say something, on both databases."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from gpufleet.hub.store.database import Database
from gpufleet.hub.store.grid import minute_chunks
from gpufleet.hub.store.merge import merge_some
from gpufleet.hub.store.registry import NodeFacts, SubjectFacts, register_nodes, register_subjects
from gpufleet.hub.store.tables import HOUR_MS, metadata
from gpufleet.hub.store.usage import write_usage
from gpufleet.hub.usage import UsageRow
from gpufleet.proto.catalog import BY_NAME
from support.stored import HOUR, flush

DOCUMENT = (Path(__file__).parents[2] / "docs" / "sql.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)
VALUES = {
    "energy_joules_total": 7_200_000 * np.arange(60),
    "utilization_ratio": np.zeros(60, np.int64),
    "memory_used_bytes": np.full(60, 40),
    "memory_total_bytes": np.full(60, 80),
    "temperature_celsius": np.full(60, 91),
    "throttle_reasons": np.full(60, 0x20),
}


@pytest.fixture
def idle_and_hot(database: Database) -> Database:
    with database.writing() as connection:
        (node,) = register_nodes(connection, [NodeFacts("n1")], HOUR)
        (gpu,) = register_subjects(connection, [SubjectFacts("gpu", "GPU-1", node.id)], HOUR)
    ids = [[BY_NAME[name].id for name in VALUES]]
    values = np.stack(list(VALUES.values()), axis=1)
    flush(database, minute_chunks([gpu.id], HOUR + 60_000 * np.arange(60), values, None, None, ids))
    with database.writing() as connection:
        used = UsageRow(gpu.id, HOUR, node.id, 1, "ann", "", 3600.0, 3600.0, 900.0, None, None)
        write_usage(connection, [used])
    while merge_some(database, HOUR + 2 * HOUR_MS):
        pass
    return database


def test_every_query_of_the_document_finds_what_it_is_for(idle_and_hot: Database) -> None:
    with idle_and_hot.reading() as connection:
        found = [connection.execute(text(query)).all() for query in QUERIES]
    (energy,), (idle,), hot, (held,) = found
    assert (energy.name, energy.kwh) == ("n1", pytest.approx(59 * 7200 / 3_600_000))
    assert (idle.key, idle.utilization, idle.memory_used) == ("GPU-1", 0.0, 0.5)
    assert len(hot) == 60
    assert hot[0].start > hot[-1].start
    assert hot[0].throttle_reasons_bits == 0x20
    assert (held.user_name, held.gpus, held.held, held.idle) == ("ann", 1, 1.0, 0.75)


def test_every_table_is_described() -> None:
    for name in metadata.tables:
        assert f"`{name}`" in DOCUMENT
