"""What DCGM adds to nvidia-smi: its verdict on each subsystem, and energy. Asked through dcgmi.

It only looks: watches are never set here, since setting them replaces those of everybody else who
uses the host engine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from gpufleet.agent.smi import dcgm_health, dcgm_tables
from gpufleet.agent.smi.dcgm_health import HealthReport
from gpufleet.agent.smi.run import CommandFailed, CommandMissing, Outcome, run
from gpufleet.alerting.health import DcgmFinding

LOOK_SECONDS = 30.0
HEALTH_SECONDS = 60.0
OLDEST_SECONDS = 180.0
TIMEOUT_SECONDS = 5.0

_ENERGY_FIELD = "156"  # DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION, mJ since the driver was loaded
AVAILABLE = "available"


@dataclass(frozen=True, slots=True)
class DcgmLook:
    """One look. ``state`` is AVAILABLE or the sentence that says what is not there and why.

    ``health`` is DCGM's overall verdict, ``None`` where it gave none; the rest is by UUID.
    """

    state: str
    health: str | None = None
    findings: Mapping[str, tuple[DcgmFinding, ...]] = field(default_factory=dict)
    energy_millijoules: Mapping[str, int] = field(default_factory=dict)


class _Unavailable(Exception):
    """The text is one sentence."""


class Dcgm:
    """Looks again and again in a thread of its own; nobody waits for it."""

    def __init__(
        self,
        environment: Mapping[str, str],
        program: str = "dcgmi",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environment = environment
        self._program = program
        self._clock = clock
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()
        self._look: DcgmLook | None = None
        self._looked_at = 0.0
        self._begun_at: float | None = None
        self._health_at: float | None = None

    def newest(self) -> DcgmLook | None:
        """The newest look, None where there is none that is young enough."""
        with self._lock:
            if self._look is None or self._clock() - self._looked_at > OLDEST_SECONDS:
                return None
            return self._look

    def refresh(self) -> None:
        """Begin a look if it is time for one."""
        with self._lock:
            now = self._clock()
            due = self._begun_at is None or now - self._begun_at >= LOOK_SECONDS
            if not due or not self._idle.is_set():
                return
            self._idle.clear()
            self._begun_at = now
        threading.Thread(target=self._refresh, name="dcgmi", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Wait for the look that is under way."""
        self._idle.wait(seconds)

    def _refresh(self) -> None:
        try:
            look = self._take(self._look)
            with self._lock:
                self._look, self._looked_at = look, self._clock()
        finally:
            self._idle.set()

    def _take(self, before: DcgmLook | None) -> DcgmLook:
        try:
            gpus = self._discover()
        except _Unavailable as why:
            return DcgmLook(f"dcgm unavailable: {why}")
        look = DcgmLook(AVAILABLE)
        due = self._health_at is None or self._clock() - self._health_at >= HEALTH_SECONDS
        if due or before is None or before.state.startswith("dcgm unavailable"):
            self._health_at = self._clock()
            try:
                report = self._health()
            except _Unavailable as why:
                look = replace(look, state=f"dcgm health unavailable: {why}")
            else:
                look = replace(look, health=report.overall, findings=_by_uuid(report, gpus))
        else:
            look = replace(before, energy_millijoules={})
        return replace(look, energy_millijoules=self._energy(gpus))

    def _run(self, *arguments: str) -> Outcome:
        try:
            return run(self._program, arguments, TIMEOUT_SECONDS, self._environment)
        except CommandMissing:
            raise _Unavailable(
                f"there is no {self._program} on the PATH (package datacenter-gpu-manager)."
            ) from None
        except CommandFailed as failed:
            raise _Unavailable(str(failed)) from None

    def _discover(self) -> Mapping[int, str]:
        """An exit status other than 0 says little: it may be about NvSwitches only."""
        outcome = self._run("discovery", "-l")
        text = outcome.output.decode(errors="replace")
        try:
            return dcgm_tables.discovered(text)
        except dcgm_tables.NotATable:
            raise _Unavailable(_reason(outcome)) from None

    def _health(self) -> HealthReport:
        outcome = self._run("health", "-c", "-j")
        text = outcome.output.decode(errors="replace")
        try:
            return dcgm_health.from_json(text)
        except dcgm_health.NotAReport:
            if "watches not enabled" in text.lower():
                raise _Unavailable(_reason(outcome)) from None
        outcome = self._run("health", "-c")  # for a dcgmi without -j
        try:
            return dcgm_health.from_table(outcome.output.decode(errors="replace"))
        except dcgm_health.NotAReport:
            raise _Unavailable(_reason(outcome)) from None

    def _energy(self, gpus: Mapping[int, str]) -> dict[str, int]:
        """Energy is an extra: where it does not come, it is absent."""
        try:
            outcome = self._run("dmon", "-e", _ENERGY_FIELD, "-c", "1")
        except _Unavailable:
            return {}
        rows = dcgm_tables.readings(outcome.output.decode(errors="replace"), 1)
        return {
            gpus[number]: energy
            for number, (energy,) in rows.items()
            if number in gpus and isinstance(energy, int) and energy > 0
        }


def _by_uuid(report: HealthReport, gpus: Mapping[int, str]) -> dict[str, tuple[DcgmFinding, ...]]:
    return {uuid: report.findings.get(number, ()) for number, uuid in gpus.items()}


def _reason(outcome: Outcome) -> str:
    """One sentence of what dcgmi wrote in place of an answer."""
    text = (outcome.output + b"\n" + outcome.errors).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("Error")), lines[0] if lines else "")
    plain = "".join(c for c in said if c.isprintable()).removeprefix("Error:").strip(" .")[:200]
    lower = plain.lower()
    if "establish a connection" in lower:
        return f"{plain}; start the service nvidia-dcgm."
    if "watches not enabled" in lower:
        return (
            "its health watches are not enabled; if nobody else uses this host engine, "
            "run dcgmi health -s a."
        )
    if not plain:
        return f"dcgmi ended with status {outcome.code} and said nothing."
    return f"dcgmi says {plain!r}."
