"""What is current and needs no acknowledgement: the newest facts, status, processes, details."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gpufleet.agent.bell import Bell
from gpufleet.agent.model import Json
from gpufleet.proto import telemetry_pb2 as pb


@dataclass(frozen=True, slots=True)
class Current:
    """One moment of the board; a message that is another object than before is a newer one."""

    epoch: int = 0
    interval_ms: int = 1000
    facts: Mapping[str, Json] | None = None
    inventory: pb.Inventory | None = None
    status: pb.CollectorStatus | None = None
    processes: pb.Processes | None = None
    details: pb.Details | None = None


class Board:
    """Written by the runtime, read by each stream; ``current`` is replaced whole."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self.current = Current()

    def begin(self, epoch: int, interval_ms: int) -> None:
        """A new epoch or interval: streams say hello again."""
        self._show(replace(self.current, epoch=epoch, interval_ms=interval_ms))

    def show_inventory(self, facts: Mapping[str, Json], inventory: pb.Inventory) -> None:
        """The node's facts and its whole inventory."""
        self._show(replace(self.current, facts=facts, inventory=inventory))

    def show_status(self, status: pb.CollectorStatus) -> None:
        """Which subjects cannot be read."""
        self._show(replace(self.current, status=status))

    def show_processes(self, processes: pb.Processes) -> None:
        """The node's process list."""
        self._show(replace(self.current, processes=processes))

    def show_details(self, details: pb.Details) -> None:
        """What is known of every subject beside metrics."""
        self._show(replace(self.current, details=details))

    def _show(self, current: Current) -> None:
        self.current = current
        self._bell.ring()
