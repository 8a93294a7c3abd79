"""Forgets a node that is gone for good: nothing of it is shown any more, its history stays.

The database knows it by the node's own subject, which is in no inventory any more. An agent of that
name that comes back is taken in with the same ids and goes on in the same sequence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gpufleet.hub.api.state import CannotForget
from gpufleet.hub.core import Core
from gpufleet.hub.fleet import Node
from gpufleet.hub.recorder import NodeLog
from gpufleet.hub.store.errors import StoreFailed

MAX_ROUNDS = 20
"""Flushes that the rest of one node may take."""


async def forget(core: Core, commit: Callable[[], Awaitable[bool]], name: str) -> int | None:
    """How many GPUs the node had; ``None``: there is no such node.

    CannotForget while it is up; StoreError when the database does not take it.
    """
    node = core.fleet.nodes.get(name)
    if node is None:
        return None
    _refuse_up(node)
    await _write_rest(core.logs[node.node_id], commit)
    _refuse_up(node)
    places = (*node.slots, *(() if node.own_slot is None else (node.own_slot,)))
    subjects = [s for slot in places if (s := core.fleet.subjects[slot]) is not None]
    await core.registrar.forget(node.node_id, name, [s.subject_id for s in subjects])
    if core.fleet.nodes.get(name) is not node:  # somebody else forgot it meanwhile
        return None
    stream = core.streams.get(name)
    if stream is not None:  # its agent came back meanwhile: it says everything anew
        stream.end("UNAVAILABLE", "The hub forgot this node just now and takes it in anew.")
    own = core.registrar.subject_id("node", name)
    assert own is not None
    core.event(node.node_id, own, "node_forgotten", "info", f"Node {name} was forgotten.")
    core.subjects.forget(node)
    return len([s for s in subjects if s.kind == "gpu"])


def _refuse_up(node: Node) -> None:
    if node.up or node.connected:
        raise CannotForget(
            f"Node {node.name} is up: stop its agent, wait until the node is down, and ask again."
        )


async def _write_rest(log: NodeLog, commit: Callable[[], Awaitable[bool]]) -> None:
    """Commit what was received of the node: nobody may ever send it again."""
    for _ in range(MAX_ROUNDS):
        if not log.pending:
            return
        log.urgent = True
        if not await commit():
            break
    if log.pending:
        raise StoreFailed("What this node sent last could not be written yet: ask again later.")
