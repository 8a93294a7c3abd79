"""Asks nvidia-smi: one log, and the names of MIG devices when they changed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

from gpufleet.agent.model import CollectorUnavailable
from gpufleet.agent.smi.faults import complaints
from gpufleet.agent.smi.log import NotALog, SmiLog, parse
from gpufleet.agent.smi.mig import MigName, mig_names
from gpufleet.agent.smi.run import NVIDIA_SMI, CommandFailed, CommandMissing, Outcome
from gpufleet.proto.logline import said

_NAMES_RETRY_SECONDS = 60.0

log = logging.getLogger(__name__)


class SmiQuery:
    """Runs nvidia-smi in ``environment``; not for two threads at once."""

    def __init__(
        self, environment: Mapping[str, str], timeout_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._environment = environment
        self._timeout = timeout_seconds
        self._clock = clock
        self._names: Mapping[tuple[str, int], MigName] = {}
        self._named_for: object = ()
        self._retry_at = math.inf

    def take(self) -> SmiLog:
        """One log; CollectorUnavailable says why there is none."""
        outcome = self._run("-q", "-x")
        try:
            taken = parse(outcome.output, outcome.errors)
        except NotALog:
            return _without_xml(outcome)
        if not taken.gpus and not taken.whole:
            raise CollectorUnavailable("nvidia-smi wrote XML that cannot be read.")
        return taken

    def mig_names(self, taken: SmiLog) -> Mapping[tuple[str, int], MigName]:
        """UUIDs of MIG devices: the log has none, so they are listed when its devices change."""
        layout = [
            (gpu.uuid, device.index, device.gpu_instance, device.compute_instance)
            for gpu in taken.gpus
            for device in gpu.mig
        ]
        if layout == self._named_for and self._clock() < self._retry_at:
            return self._names
        self._names, self._named_for, self._retry_at = {}, layout, math.inf
        if layout:
            try:
                outcome = self._run("-L")
            except CollectorUnavailable as why:
                log.warning("MIG devices have no UUID %s", said(reason=why))
            else:
                self._names = mig_names(outcome.output.decode(errors="replace"))
            if any((uuid, index) not in self._names for uuid, index, _, _ in layout):
                self._retry_at = self._clock() + _NAMES_RETRY_SECONDS
        return self._names

    def _run(self, *arguments: str) -> Outcome:
        try:
            return NVIDIA_SMI.run("nvidia-smi", arguments, self._timeout, self._environment)
        except CommandMissing:
            raise CollectorUnavailable(
                "There is no nvidia-smi on the PATH: install NVIDIA's driver with its utilities."
            ) from None
        except CommandFailed as failed:
            raise CollectorUnavailable(str(failed)) from None


_MENDS = (
    (
        "couldn't communicate with the nvidia driver",
        "The driver is not loaded: run modprobe nvidia and look into dmesg.",
    ),
    (
        "driver/library version mismatch",
        "The driver was upgraded under its running kernel module: reload it or restart the node.",
    ),
    ("insufficient permissions", "Allow this user access to /dev/nvidiactl."),
    (
        "failed to initialize nvml: unknown error",
        "In a container this means that its devices were taken away: start it again.",
    ),
    ("driver not loaded", "Run modprobe nvidia and look into dmesg."),
)


def _without_xml(outcome: Outcome) -> SmiLog:
    """Without XML: no GPUs, if it says so, or CollectorUnavailable with what it says."""
    text = (outcome.output + b"\n" + outcome.errors).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lower = text.lower()
    if "no devices were found" in lower:
        return SmiLog({}, 0, (), complaints(text), whole=True)
    mend = next((mend for words, mend in _MENDS if words in lower), "")
    said = "".join(c for c in (lines[0] if lines else "") if c.isprintable())[:200].rstrip(".")
    if not said:
        said = f"it ended with status {outcome.code} and wrote nothing"
    raise CollectorUnavailable(f"nvidia-smi: {said}. {mend}".rstrip())
