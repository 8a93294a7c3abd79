"""What a node had is still shown after a restart of the hub, though its agent is silent."""

from __future__ import annotations

import time
from pathlib import Path

from support.processes import wait_for
from support.raw_agent import raw_agent
from support.small_hub import SmallHub, small_hub

TICK = time.time_ns() // 1_000_000_000 * 1000 - 60_000


def _shown(hub: SmallHub) -> list[str]:
    hub.call(hub.core.pulse)
    snapshot = hub.call(hub.core.snapshot)
    return [s.key for s in snapshot.subjects if s is not None and s.kind == "gpu"]


def _had(folder: Path, *inventories: tuple[str, ...]) -> None:
    """A hub to which a node told these one after another."""
    with small_hub(folder) as hub, raw_agent(hub.port, "n") as agent:
        for gpus in inventories:
            agent.begin(*gpus)
        agent.tick(1, TICK, *((50, 1) for _ in inventories[-1]))
        wait_for(lambda: "n" in hub.core.fleet.nodes and hub.core.stats.records, what="a record")
        hub.flush()


def test_gpus_of_a_silent_node_are_there_after_a_restart_stale_and_without_values(
    tmp_path: Path,
) -> None:
    _had(tmp_path, ("GPU-a", "GPU-b"))
    with small_hub(tmp_path) as hub:
        assert _shown(hub) == ["GPU-a", "GPU-b"]
        snapshot = hub.call(hub.core.snapshot)
        assert snapshot.stale.all()
        assert not snapshot.nodes["n"].up
        assert snapshot.nodes["n"].slot is not None, "its own history can be asked for"
        temperature = snapshot.values[snapshot.rows[20]]
        assert temperature[temperature == temperature].size == 0, "no value is made up"


def test_a_gpu_that_left_its_node_is_not_there_after_a_restart(tmp_path: Path) -> None:
    with small_hub(tmp_path) as hub, raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a", "GPU-b")
        wait_for(lambda: len(_shown(hub)) == 2, what="both")
        agent.inventory("GPU-b")
        wait_for(lambda: _shown(hub) == ["GPU-b"], what="one")
    with small_hub(tmp_path) as again:
        assert _shown(again) == ["GPU-b"]
        with raw_agent(again.port, "n") as agent:
            agent.begin("GPU-a", "GPU-b")
            wait_for(lambda: len(_shown(again)) == 2, what="it came back")
    with small_hub(tmp_path) as third:
        assert sorted(_shown(third)) == ["GPU-a", "GPU-b"]
