"""What the agent does for the hub: the closed set of commands, each answered."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gpufleet.proto import telemetry_pb2 as pb
from gpufleet.proto.version import INTERVALS_MS

Answer = Callable[[pb.CommandResult], None]


class OrderRefused(Exception):
    """A command that cannot be carried out here. The text is one sentence for people."""


class Orders:
    """Carries out commands; a collection runs in a thread of its own, one at a time."""

    def __init__(
        self, collect: Callable[[str, str], str], set_interval: Callable[[int], None]
    ) -> None:
        """``collect(method, subject_key)`` gives a JSON document or raises OrderRefused."""
        self._collect = collect
        self._set_interval = set_interval
        self._collecting = threading.Lock()

    def carry_out(self, command: pb.Command, answer: Answer) -> None:
        """Do it and answer, now or later."""
        what = command.WhichOneof("what")
        if what == "collect":
            threading.Thread(
                target=self._run_collect, args=(command, answer), name="command", daemon=True
            ).start()
            return
        error = "This agent does not know the command; it is of an older version than the hub."
        if what == "interval_ms":
            error = ""
            if command.interval_ms in INTERVALS_MS:
                self._set_interval(command.interval_ms)
            else:
                allowed = ", ".join(str(ms // 1000) for ms in INTERVALS_MS)
                error = f"The interval must be one of {allowed} s, not {command.interval_ms} ms."
        answer(pb.CommandResult(id=command.id, error=error))

    def _run_collect(self, command: pb.Command, answer: Answer) -> None:
        result = pb.CommandResult(id=command.id)
        if not self._collecting.acquire(blocking=False):
            result.error = "Another collection is still running on this node; try again later."
        else:
            try:
                collect = command.collect
                result.document_json = self._collect(collect.method, collect.subject_key)
            except OrderRefused as refusal:
                result.error = str(refusal)
            finally:
                self._collecting.release()
        answer(result)
