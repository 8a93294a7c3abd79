"""Ids of nodes and subjects: given once, kept for ever."""

from __future__ import annotations

from gpufleet.hub.store.database import Database
from gpufleet.hub.store.registry import (
    NodeFacts,
    SubjectFacts,
    load_nodes,
    load_subjects,
    register_nodes,
    register_subjects,
)
from support.stored import HOUR, flush


def test_nodes_get_ids_in_the_order_asked_for(database: Database) -> None:
    names = ["b", "a", "c", "b"]
    with database.writing() as connection:
        records = register_nodes(connection, [NodeFacts(name) for name in names], HOUR)
    assert [record.node.name for record in records] == names
    assert records[0] == records[3]
    with database.reading() as connection:
        assert {record.id for record in load_nodes(connection)} == {r.id for r in records}


def test_a_node_that_comes_back_keeps_id_watermark_and_first_time(database: Database) -> None:
    with database.writing() as connection:
        (first,) = register_nodes(connection, [NodeFacts("n1", {"rack": "4"}, "m", "b1")], HOUR)
    flush(database, node_id=first.id, epoch=HOUR, seq=17)
    facts = NodeFacts(
        "n1", {"rack": "5"}, "m", "b2", "1.0", "nvml", 5000, {"driver_version": "570.1"}
    )
    with database.writing() as connection:
        (again,) = register_nodes(connection, [facts], HOUR + 5)
    assert again.id == first.id
    assert (again.epoch, again.seq) == (HOUR, 17)
    assert (again.first_seen_ms, again.last_seen_ms) == (HOUR, HOUR + 5)
    assert again.node == facts
    with database.reading() as connection:
        assert load_nodes(connection) == [again]


def test_subjects_get_ids_and_children_their_parents(database: Database) -> None:
    facts = [
        SubjectFacts("mig", "MIG-1", 1, 0, "1g.10gb", parent="GPU-1"),
        SubjectFacts("node", "GPU-1", 1),
        SubjectFacts("gpu", "GPU-1", 1, 3, "H100", facts={"memory_total_bytes": 5}),
        SubjectFacts("mig", "MIG-2", 1, 0, "1g.10gb", parent="GPU-9"),
    ]
    with database.writing() as connection:
        mig, node, gpu, orphan = register_subjects(connection, facts, HOUR)
    assert mig.parent_id == gpu.id
    assert orphan.parent_id is None
    assert node.id != gpu.id
    assert (gpu.index, gpu.name, gpu.facts) == (3, "H100", {"memory_total_bytes": 5})
    with database.writing() as connection:
        (later,) = register_subjects(
            connection, [SubjectFacts("mig", "MIG-3", 1, parent="GPU-1")], HOUR
        )
    assert later.parent_id == gpu.id


def test_a_gpu_that_moves_keeps_its_id(database: Database) -> None:
    with database.writing() as connection:
        (first,) = register_subjects(connection, [SubjectFacts("gpu", "GPU-1", 1)], HOUR)
        (moved,) = register_subjects(connection, [SubjectFacts("gpu", "GPU-1", 2)], HOUR + 1)
    assert (moved.id, moved.node_id) == (first.id, 2)
    assert (moved.first_seen_ms, moved.last_seen_ms) == (HOUR, HOUR + 1)
    with database.reading() as connection:
        assert load_subjects(connection) == [moved]


def test_thousands_register_in_one_call(database: Database) -> None:
    facts = [SubjectFacts("gpu", f"GPU-{n}", n // 8) for n in range(2000)]
    with database.writing() as connection:
        records = register_subjects(connection, facts, HOUR)
    assert [record.key for record in records] == [fact.key for fact in facts]
    assert len({record.id for record in records}) == 2000


def test_nothing_to_register_is_no_statement(database: Database) -> None:
    with database.writing() as connection:
        assert register_nodes(connection, [], HOUR) == []
        assert register_subjects(connection, [], HOUR) == []
