"""An NvmlCollector on the fake driver, with readings by metric name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gpufleet.agent.model import Fault, Reading, Subject
from gpufleet.agent.nvml.collector import NvmlCollector
from gpufleet.proto.catalog import BY_ID

from .fake_driver import FakeDriver
from .fake_gpus import Gpu


class Session:
    """A driver, a collector on it, and the collector's clocks (seconds, and ns since 1970)."""

    def __init__(self, driver: FakeDriver, folder: Path) -> None:
        self.driver = driver
        self.now = 1000.0
        self.wall_ns = 1_700_000_000_000_000_000
        self.proc = folder / "proc"
        self.proc.mkdir(exist_ok=True)
        self.sysfs = folder / "sys"
        self.collector = NvmlCollector(
            node="testnode",
            proc=self.proc,
            sysfs=self.sysfs,
            slow_seconds=60,
            clock=lambda: self.now,
            wall_clock_ns=lambda: self.wall_ns,
        )
        self.subjects: Sequence[Subject] = ()

    def start(self) -> Sequence[Subject]:
        """Open the collector and take its subjects."""
        self.collector.open()
        return self.enumerate()

    def enumerate(self) -> Sequence[Subject]:
        """Ask for the subjects again."""
        self.subjects = self.collector.subjects()
        return self.subjects

    def read(self, at: int = 0, *, slow: bool = True) -> Reading:
        """A reading of the subject at this place of the list."""
        return self.collector.read(self.subjects[at], slow=slow)

    def values(self, at: int = 0, *, slow: bool = True) -> dict[str, float | int]:
        """The values of a reading, by metric name in base units."""
        reading = self.read(at, slow=slow)
        assert reading.fault is None, reading.fault
        assert reading.values is not None
        assert set(reading.values) <= set(self.subjects[at].columns)
        return {BY_ID[id].name: BY_ID[id].value(raw) for id, raw in reading.values.items()}

    def fault(self, at: int = 0) -> Fault:
        """The fault of a reading."""
        reading = self.read(at)
        assert reading.values is None
        assert reading.fault is not None
        return reading.fault

    def columns(self, at: int = 0) -> set[str]:
        """Names of the metrics that a subject says it answers."""
        return {BY_ID[id].name for id in self.subjects[at].columns}


@contextmanager
def session(folder: Path, gpus: Sequence[Gpu]) -> Iterator[Session]:
    """A session that is not yet started, on a driver with these GPUs in this very process."""
    driver = FakeDriver(folder, gpus)
    with driver.installed():
        made = Session(driver, folder)
        yield made
        made.collector.close()
