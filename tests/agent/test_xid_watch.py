"""Xids from NVML's events, merged with the kernel's log into one event each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.agent.faults.incidents import Incidents
from gpufleet.agent.faults.kernel_log import KernelLog
from gpufleet.agent.faults.kmsg import Kmsg
from gpufleet.agent.faults.sighting import FaultKind, Sighting, Source
from gpufleet.agent.faults.watch import PATIENCE_SECONDS, FaultWatch
from gpufleet.agent.model import Subject
from gpufleet.agent.nvml.calls import Nvml
from gpufleet.agent.nvml.xid_watch import HEARTBEAT_MS, Watched, XidWatch
from gpufleet.agent.records import Event
from gpufleet.agent.sim.collector import SimCollector
from support import fake_driver, fake_gpus
from support.agent_clock import FakeClock, until
from support.nvml_session import Session, session

needs_driver = pytest.mark.skipif(
    fake_driver.missing() is not None, reason=str(fake_driver.missing())
)

GPU = Subject("gpu", "GPU-a", 3, "H100", (), facts={"pci_bus_id": "00000000:1A:00.0"})
OTHER = Subject("gpu", "GPU-b", 4, "H100", (), facts={"pci_bus_id": "00000000:1B:00.0"})


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Session]:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 3)) as made:
        made.start()
        yield made


class Heard:
    """Collects what a collector hears, and waits for it."""

    def __init__(self, made: Session) -> None:
        self.made = made
        self.found: list[Sighting] = []

    def look(self) -> int:
        self.found += self.made.collector.sightings()
        return len(self.found)

    def listening(self, times: int = 1) -> None:
        """Wait until the driver has been asked to wait for events, so often."""
        self.look()
        until(lambda: len(self.waits()) >= times, "the watch to wait for events")

    def waits(self) -> list[Any]:
        return self.made.driver.calls("nvmlEventSetWait_v2")

    def codes(self, count: int) -> list[tuple[str, int]]:
        until(lambda: self.look() >= count, f"{count} Xids")
        return [(s.gpu, s.code) for s in self.found]


@needs_driver
def test_each_xid_of_the_driver_is_heard_once_with_its_gpu(watched: Session) -> None:
    heard = Heard(watched)
    heard.listening()
    watched.driver.xid(1, 79)
    watched.driver.xid(0, 31)
    watched.driver.xid(0, 31)
    first, second = fake_gpus.uuid(0), fake_gpus.uuid(1)
    assert heard.codes(3) == [(second, 79), (first, 31), (first, 31)]
    assert {s.source for s in heard.found} == {Source.NVML}
    assert heard.found[0].pci == watched.subjects[1].facts["pci_bus_id"]
    assert heard.found[0].gpu_instance is None
    assert heard.found[0].time_ms == watched.wall_ns // 1_000_000


@needs_driver
def test_nothing_is_registered_where_nobody_asks(watched: Session) -> None:
    watched.read()
    assert watched.driver.calls("nvmlEventSetCreate") == []


@needs_driver
def test_after_a_driver_reload_it_listens_again_and_tells_nothing_twice(watched: Session) -> None:
    heard = Heard(watched)
    heard.listening()
    watched.driver.xid(0, 31)
    heard.codes(1)
    watched.driver.reload()
    assert watched.collector.stale()
    watched.enumerate()
    before = len(heard.waits())
    heard.listening(before + 1)
    watched.driver.xid(2, 48)
    assert heard.codes(2) == [(fake_gpus.uuid(0), 31), (fake_gpus.uuid(2), 48)]


@needs_driver
def test_a_lost_gpu_leaves_the_events_of_the_others(watched: Session) -> None:
    heard = Heard(watched)
    heard.listening()
    watched.driver.fail("call.nvmlEventSetWait_v2", 15)
    watched.driver.fail("gpu.1.*", 15)
    registered = len(watched.driver.calls("nvmlDeviceRegisterEvents"))
    until(
        lambda: len(watched.driver.calls("nvmlDeviceRegisterEvents")) > registered,
        "it to register again",
    )
    watched.driver.unset("call.nvmlEventSetWait_v2")
    heard.listening(len(heard.waits()) + 1)
    watched.driver.xid(2, 79)
    assert heard.codes(1) == [(fake_gpus.uuid(2), 79)]


@needs_driver
def test_a_gpu_without_events_is_left_out(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2)) as made:
        made.driver.fail("gpu.0.call.nvmlDeviceGetSupportedEventTypes", 3)
        made.start()
        Heard(made).listening()
        assert {c.slot for c in made.driver.calls("nvmlDeviceRegisterEvents")} == {1}


@needs_driver
def test_a_driver_without_events_ends_the_watch_and_harms_nothing(tmp_path: Path) -> None:
    with session(tmp_path, fake_gpus.fleet(fake_gpus.h100, 1)) as made:
        made.driver.fail("call.nvmlEventSetCreate", 3)
        made.start()
        made.collector.sightings()
        until(lambda: made.driver.calls("nvmlEventSetCreate") != [], "the try")
        until(lambda: not _watching(), "the thread's end")
        assert made.read().fault is None


@needs_driver
def test_a_watch_that_hangs_in_the_driver_is_left_behind_when_the_session_ends(
    tmp_path: Path,
) -> None:
    driver = fake_driver.FakeDriver(tmp_path, fake_gpus.fleet(fake_gpus.h100, 1))
    with driver.installed():
        nvml = Nvml()
        nvml.open()
        watch = XidWatch(nvml, lambda: 5)
        handle = nvml.call("nvmlDeviceGetHandleByIndex", 0)
        watch.follow([Watched("GPU-a", "", handle)])
        driver.hang()
        watch.sightings()
        until(_watching, "the thread")
        watch.stop(0.01)
        assert list(watch.sightings()) == []
        assert _watching()
        driver.unhang()
        until(lambda: not _watching(), "the thread's end")
        assert driver.calls("nvmlEventSetFree") == []
        nvml.close()


def _watching() -> bool:
    return any(thread.name == "xid-watch" for thread in threading.enumerate())


def test_a_wait_is_short_enough_for_an_agent_to_stop_quickly() -> None:
    assert HEARTBEAT_MS <= 1000


# One event of what several sources tell


def kernel(line: str, time_ms: int = 1000) -> Sighting:
    seen = KernelLog().feed(line, time_ms)
    assert seen is not None
    return seen


def from_nvml(code: int, time_ms: int = 1000, gpu: str = "GPU-a") -> Sighting:
    return Sighting(FaultKind.XID, code, Source.NVML, time_ms, gpu=gpu)


LINE = "NVRM: Xid (PCI:0000:1a:00): 48, pid=77, name=python3, DBE"


class Told:
    """Incidents with a clock in seconds."""

    def __init__(self) -> None:
        self.incidents = Incidents()
        self.now = 0.0

    def take(self, *seen: Sighting, subjects: Sequence[Subject] = (GPU, OTHER)) -> None:
        self.incidents.take(seen, subjects, self.now)

    def after(self, seconds: float) -> list[Event]:
        self.now += seconds
        return self.incidents.due(self.now)

    def one(self, seconds: float = 1.0) -> tuple[Event, dict[str, Any]]:
        (event,) = self.after(seconds)
        return event, json.loads(event.data_json)


@pytest.mark.parametrize("kernel_first", [True, False])
def test_both_sources_make_one_event_whichever_comes_first(kernel_first: bool) -> None:
    told = Told()
    seen = [kernel(LINE, 1000), from_nvml(48, 1003)]
    for sighting in seen if kernel_first else reversed(seen):
        told.take(sighting)
        told.now += 0.3
    event, data = told.one()
    assert (event.kind, event.code, event.time_ms) == ("xid", 48, 1000)
    assert (event.subject_kind, event.subject_key) == ("gpu", "GPU-a")
    assert event.message == "Xid 48 on GPU 3 (00000000:1A:00.0) in process python3 (77)."
    assert data == {
        "count": 1,
        "pci": "00000000:1A:00.0",
        "pid": 77,
        "process": "python3",
        "line": LINE,
        "sources": "kernel_log,nvml",
    }
    assert told.after(3600) == []


def test_a_source_that_comes_later_tells_nothing_new() -> None:
    told = Told()
    told.take(kernel(LINE))
    told.one()
    told.now += 2
    told.take(from_nvml(48))
    assert told.after(3600) == []


def test_one_source_is_enough() -> None:
    told = Told()
    told.take(from_nvml(48))
    event, data = told.one()
    assert event.message == "Xid 48 on GPU 3 (00000000:1A:00.0)."
    assert data == {"count": 1, "pci": "00000000:1A:00.0", "sources": "nvml"}


def test_other_codes_and_other_gpus_are_other_events() -> None:
    told = Told()
    told.take(from_nvml(48), from_nvml(63), from_nvml(48, gpu="GPU-b"))
    assert [(e.subject_key, e.code) for e in told.after(1)] == [
        ("GPU-a", 48),
        ("GPU-a", 63),
        ("GPU-b", 48),
    ]


def test_a_flood_is_counted_and_told_ever_more_rarely() -> None:
    told = Told()
    events = []
    flood = from_nvml(13), kernel(LINE.replace("48", "13"))
    for _ in range(28_800):
        told.take(*flood)
        events += told.after(0.125)
    events += told.after(1200)
    assert sum(json.loads(e.data_json)["count"] for e in events) == 28_800
    assert len(events) < 15
    assert events[0].message.startswith("Xid 13 came 8 times on GPU 3")
    assert "more times" in events[1].message
    assert json.loads(events[1].data_json)["repeated"] is True


def test_the_same_xid_an_hour_later_is_a_new_event() -> None:
    told = Told()
    told.take(from_nvml(48))
    told.one()
    assert told.after(3600) == []
    told.take(from_nvml(48, 3_601_000))
    event, data = told.one()
    assert (event.time_ms, data["count"], "repeated" in data) == (3_601_000, 1, False)


def test_a_gpu_that_is_not_in_the_inventory_is_named_by_its_address() -> None:
    told = Told()
    told.take(kernel(LINE), subjects=())
    event, data = told.one()
    assert (event.subject_kind, event.subject_key) == ("", "")
    assert event.message.startswith("Xid 48 on GPU 00000000:1A:00.0")
    assert data["pci"] == "00000000:1A:00.0"


OFF_BUS = "NVRM: GPU 0000:1a:00.0: GPU has fallen off the bus."


def test_a_gpu_off_the_bus_without_an_xid_is_an_event() -> None:
    told = Told()
    told.take(kernel(OFF_BUS))
    event, data = told.one()
    assert (event.kind, event.severity, event.subject_key) == ("gpu_off_bus", "critical", "GPU-a")
    assert event.message.startswith("GPU 3 (00000000:1A:00.0) has fallen off the bus")
    assert data["line"] == OFF_BUS


@pytest.mark.parametrize("xid_first", [True, False])
def test_a_gpu_off_the_bus_with_its_xid_is_only_the_xid(xid_first: bool) -> None:
    told = Told()
    seen = [from_nvml(79), kernel(OFF_BUS)]
    told.take(*(seen if xid_first else reversed(seen)))
    event, _ = told.one()
    assert (event.kind, event.code) == ("xid", 79)
    assert told.after(3600) == []


def test_an_sxid_is_an_event_of_the_node_and_its_further_lines_do_not_count() -> None:
    told = Told()
    log = KernelLog()
    start = "nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, "
    for rest in ("Non-fatal, Link 32 egress", "Severity 0 Engine instance 32", "Data {0x1, 0x2}"):
        seen = log.feed(start + rest, 1000)
        assert seen is not None
        told.take(seen)
    event, data = told.one()
    assert (event.kind, event.code, event.severity, event.subject_key) == (
        "sxid",
        12028,
        "warning",
        "",
    )
    assert event.message == "Non-fatal SXid 12028 on nvidia-nvswitch3 (00000000:05:00.0)."
    assert data["count"] == 1
    assert data["fatal"] is False


def test_a_fatal_sxid_is_critical() -> None:
    told = Told()
    told.take(kernel("nvidia-nvswitch0: SXid (PCI:0000:00:00.0): 20034, Fatal, Link 30 LTSSM"))
    event, _ = told.one()
    assert event.severity == "critical"
    assert event.message == "Fatal SXid 20034 on nvidia-nvswitch0 (00000000:00:00.0)."


def test_what_was_not_yet_told_is_told_when_the_agent_stops() -> None:
    told = Told()
    told.take(from_nvml(48))
    assert told.incidents.untold
    assert [event.code for event in told.incidents.flush()] == [48]
    assert not told.incidents.untold


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Source.NVML, Source.KERNEL_LOG]), st.floats(0, 400), st.booleans()
        ),
        max_size=60,
    )
)
def test_no_sighting_is_lost_or_counted_twice(
    steps: list[tuple[Source, float, bool]],
) -> None:
    """However they come: at least what the source that told most told, at most all of it."""
    told = Told()
    events = []
    counts = {Source.NVML: 0, Source.KERNEL_LOG: 0}
    for source, seconds, both in steps:
        for seen_by in Source.NVML, Source.KERNEL_LOG:
            if both or seen_by is source:
                counts[seen_by] += 1
                told.take(Sighting(FaultKind.XID, 31, seen_by, 0, gpu="GPU-a"))
        events += told.after(seconds)
    events += told.incidents.flush()
    total = sum(json.loads(event.data_json)["count"] for event in events)
    assert max(counts.values()) <= total <= sum(counts.values())


# The simulated driver


@pytest.mark.parametrize(("scenario", "code"), [("xid79:0@30", 79), ("xid48:0@30", 48)])
def test_a_simulated_xid_comes_once_when_its_time_has_come(scenario: str, code: int) -> None:
    clock = FakeClock()
    collector = SimCollector("n1", gpus=2, scenario=scenario, clock=clock.wall_ms)
    collector.open()
    assert list(collector.sightings()) == []
    clock.advance(31)
    (seen,) = collector.sightings()
    first = collector.subjects()[0]
    assert (seen.gpu, seen.code, seen.source) == (first.key, code, Source.SIM)
    assert seen.time_ms == clock.wall_ms() - 1000
    assert seen.pci == first.facts["pci_bus_id"]
    assert list(collector.sightings()) == []


# In the agent


@dataclass
class Running:
    """An agent's watch with a kernel log that a test writes."""

    log: int
    clock: FakeClock
    collector: SimCollector
    watch: FaultWatch
    events: list[Event]
    places: list[str]

    def look(self, seconds: float) -> list[Event]:
        self.events.clear()
        self.clock.advance(seconds)
        self.watch.look(self.collector.subjects(), self.events.append)
        return self.events

    def write(self, sequence: int, text: str) -> None:
        os.write(self.log, f"3,{sequence},1000000000,-;{text}\n".encode())


@pytest.fixture
def running() -> Iterator[Running]:
    reading, writing = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
    clock = FakeClock()
    collector = SimCollector("n1", gpus=1, scenario="xid79:0@30", clock=clock.wall_ms)
    collector.open()
    kmsg = Kmsg(Path(f"/proc/self/fd/{reading}"), clock, "boot-a", "boot-a 3")
    places: list[str] = []
    watch = FaultWatch(collector, kmsg, clock, places.append)
    yield Running(writing, clock, collector, watch, [], places)
    os.close(reading)
    os.close(writing)


XID_79 = "NVRM: Xid (PCI:0000:1a:00): 79, pid=5, name=train, GPU has fallen off the bus."


def test_collector_and_kernel_log_make_one_event_and_the_place_is_kept_after_it(
    running: Running,
) -> None:
    assert running.look(31) == []
    running.write(9, XID_79)
    assert running.look(0.5) == []
    assert running.places == []
    (event,) = running.look(2)
    assert json.loads(event.data_json)["sources"] == "kernel_log,sim"
    assert running.places == ["boot-a 9"]
    assert running.look(3600) == []


def test_until_the_gpus_are_known_it_waits_but_not_for_ever(running: Running) -> None:
    running.write(9, XID_79.replace("79", "31"))
    running.watch.look((), running.events.append)
    running.clock.advance(PATIENCE_SECONDS + 1)
    running.watch.look((), running.events.append)
    running.clock.advance(2)
    running.watch.look((), running.events.append)
    (event,) = running.events
    assert event.subject_kind == ""


def test_at_the_end_everything_is_told_and_the_place_is_kept(running: Running) -> None:
    running.write(9, XID_79.replace("79", "31"))
    running.write(10, "NVRM: nothing of note")
    running.watch.close(running.collector.subjects(), running.events.append)
    assert [event.code for event in running.events] == [31]
    assert running.places == ["boot-a 10"]


@needs_driver
def test_an_agent_records_an_xid_of_the_driver_and_of_the_log_once(tmp_path: Path) -> None:
    driver = fake_driver.FakeDriver(tmp_path, fake_gpus.fleet(fake_gpus.h100, 2))
    pci = str(fake_gpus.h100(1)["pci"]).lower().removeprefix("0000").removesuffix(".0")
    reading, writing = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
    journal = tmp_path / "journal"
    environment = {**driver.env(), "GPUFLEET_KERNEL_LOG": f"/proc/self/fd/{reading}"}
    arguments = ["--method", "nvml", "--node", "n1", "--hub", "127.0.0.1:1"]
    arguments += ["--state-dir", str(tmp_path / "state"), "--journal", str(journal)]
    agent = subprocess.Popen(
        [sys.executable, "-m", "gpufleet.cli", "agent", "run", *arguments],
        env=environment,
        pass_fds=[reading],
        stderr=subprocess.DEVNULL,
    )

    def xids() -> list[str]:
        text = journal.read_text() if journal.exists() else ""
        return [line for line in text.splitlines() if '"xid"' in line]

    try:
        until(lambda: driver.calls("nvmlEventSetWait_v2") != [], "the agent to listen")
        driver.xid(1, 48)
        head = f"3,5,{round(time.monotonic() * 1e6)},-;"
        line = f"NVRM: Xid (PCI:{pci}): 48, pid=7, name=train"
        os.write(writing, f"{head}{line}\n".encode())
        until(lambda: xids() != [], "the event")
    finally:
        agent.terminate()
        agent.wait(30)
        os.close(reading)
        os.close(writing)
    (recorded,) = xids()
    assert fake_gpus.uuid(1) in recorded
    assert "kernel_log,nvml" in recorded
    assert line in recorded
