"""Who may speak for a GPU: over a restart of the hub, and once its owner has fallen silent."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gpufleet.hub import intake
from gpufleet.hub.fleet import CLAIM_MS
from gpufleet.hub.recorder import Position
from gpufleet.hub.store.events import query_events
from support.processes import wait_for
from support.raw_agent import raw_agent
from support.small_hub import SmallHub, small_hub

TICK = time.time_ns() // 1_000_000_000 * 1000 - 60_000


def _received(hub: SmallHub, node: str) -> Position:
    known = hub.core.fleet.nodes.get(node)
    return hub.core.logs[known.node_id].received if known else Position(0, 0)


def _wait_received(hub: SmallHub, node: str, epoch: int, seq: int) -> None:
    wait_for(lambda: _received(hub, node) == (epoch, seq), what=f"{node} at {epoch}, {seq}")


def _values(hub: SmallHub, gpu: str) -> list[int]:
    hub.flush()
    return hub.stored("gpu", gpu).columns[20].values.tolist()


def _events(hub: SmallHub, kind: str) -> list[str]:
    hub.flush()
    with hub.database.reading() as connection:
        return [event.message for event in query_events(connection, kinds=[kind]).events]


def test_a_restarted_hub_knows_whose_a_gpu_is_before_its_owner_is_back(tmp_path: Path) -> None:
    with small_hub(tmp_path) as first, raw_agent(first.port, "owner") as owner:
        owner.begin("GPU-a")
        owner.tick(1, TICK, (50, 1))
        _wait_received(first, "owner", 1, 1)
        first.flush()
    with (
        small_hub(tmp_path) as second,
        raw_agent(second.port, "other") as other,
        raw_agent(second.port, "owner") as owner,
    ):
        other.begin("GPU-a")
        other.tick(1, TICK + 1000, (99, 1))
        _wait_received(second, "other", 1, 1)
        owner.begin("GPU-a")
        owner.tick(2, TICK + 2000, (51, 1))
        _wait_received(second, "owner", 1, 2)
        assert _values(second, "GPU-a") == [50, 51]


def test_what_a_node_gave_away_before_the_restart_is_not_kept_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "CLAIM_AGAIN_MS", 0)
    with small_hub(tmp_path) as first, raw_agent(first.port, "owner") as owner:
        owner.begin("GPU-a", "GPU-b")
        owner.tick(1, TICK, (50, 1), (50, 1))
        _wait_received(first, "owner", 1, 1)
        first.flush()
    with (
        small_hub(tmp_path) as second,
        raw_agent(second.port, "owner") as owner,
        raw_agent(second.port, "other") as other,
    ):
        owner.begin("GPU-b")
        owner.tick(2, TICK + 2000, (51, 1))
        _wait_received(second, "owner", 1, 2)
        other.begin("GPU-a")
        other.tick(1, TICK + 1000, (99, 1))
        _wait_received(second, "other", 1, 1)
        assert _values(second, "GPU-a") == [50, 99]


def test_a_refused_node_has_the_gpu_once_its_owner_was_silent_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a node got another name: its agent says its inventory only once."""
    monkeypatch.setattr(intake, "CLAIM_AGAIN_MS", 0)
    with small_hub(tmp_path) as hub, raw_agent(hub.port, "new") as new:
        with raw_agent(hub.port, "old") as old:
            old.begin("GPU-a")
            old.tick(1, TICK, (50, 1))
            _wait_received(hub, "old", 1, 1)
        new.begin("GPU-a")
        for seq in (1, 2, 3):
            new.tick(seq, TICK + seq * 1000, (51, 1))
        _wait_received(hub, "new", 1, 3)
        assert _values(hub, "GPU-a") == [50]
        assert len(_events(hub, "gpu_claim_refused")) == 1, "once is enough"
        node = hub.core.fleet.nodes["old"]

        def age() -> None:
            node.last_receipt_mono = hub.core.mono() - CLAIM_MS - 1

        hub.call(age)
        new.tick(4, TICK + 4000, (52, 1))
        _wait_received(hub, "new", 1, 4)
        assert _values(hub, "GPU-a") == [50, 52]
        assert "from node old to new" in _events(hub, "gpu_moved")[0]
        fleet = hub.core.fleet
        assert fleet.values[fleet.rows[20], fleet.slots["gpu", "GPU-a"]] == 52


def test_claims_without_end_make_no_events_without_end(tmp_path: Path) -> None:
    with (
        small_hub(tmp_path) as hub,
        raw_agent(hub.port, "owner") as owner,
        raw_agent(hub.port, "thief") as thief,
    ):
        owner.begin("GPU-a")
        owner.tick(1, TICK, (50, 1))
        _wait_received(hub, "owner", 1, 1)
        thief.begin("GPU-a")
        for _ in range(50):
            thief.inventory("GPU-a")
        thief.tick(1, TICK, (50, 1))
        _wait_received(hub, "thief", 1, 1)
        assert len(_events(hub, "gpu_claim_refused")) == 1
