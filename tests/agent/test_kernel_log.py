"""Which lines of the kernel's log tell of a fault, held against recorded logs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpufleet.agent.faults.kernel_log import LONGEST_LINE, KernelLog, pci_address
from gpufleet.agent.faults.kmsg import LOOK_BACK_SECONDS, Kmsg
from gpufleet.agent.faults.sighting import FaultKind, Sighting
from support.agent_clock import FakeClock

CAPTURES = Path(__file__).resolve().parents[3] / "shared/captures/kernel-log"
UUID_9B = "GPU-509665ad-b600-ac93-3616-d754b23d636d"


def lines_of(name: str) -> list[str]:
    path = CAPTURES / name
    if not path.exists():
        pytest.skip(f"{path} is not here: the recorded logs do not come with the source")
    return path.read_text().splitlines()


def feed(*lines: str) -> list[Sighting]:
    log = KernelLog()
    return [seen for line in lines if (seen := log.feed(line, 5)) is not None]


def told(seen: Sighting) -> str:
    return f"{seen.pci.removeprefix('0000').removesuffix('.0')} {seen.code}"


# Read by eye in the recorded file, line after line: PCI address, code and how often in a row.
XIDS = """
0000:03:00 14
0000:01:00 102
0000:01:00 31 31 31
0000:01:00 63
0000:01:00 79
0000:02:00 31
0000:02:00 63
0000:02:00 64
0000:03:00 31
0000:03:00 64
0000:03:00 79
0000:04:00 144 144 144 144
0000:04:00 145 145 145 145 145 145 145 145 145 145 145 145
0000:04:00 146 146 146 146 146 146 146 146 146 146
0000:04:00 147
0000:04:00 148
0000:04:00 149 149 149 149 149 149 149 149
0000:04:00 150
0000:04:00 63 63
0000:04:00 64 64
0000:04:00 69
0000:04:00 74
0000:04:00 79
0000:05:00 63
0000:05:00 79
0000:05:00 94
0000:05:00 99999
0008:01:00 145 145 145
0008:01:00 149 149 149
0018:01:00 145 145
0018:01:00 149 149 149 149 149
0019:01:00 145 145
0019:01:00 149
0000:03:00 14
0000:05:00 79 79
0009:01:00 149
0009:01:00 154
0008:01:00 149
0019:01:00 154
0009:01:00 149 149
0008:01:00 149
0018:01:00 154
0008:01:00 154
"""


def expected_xids() -> Iterator[str]:
    for line in XIDS.split("\n"):
        address, *codes = line.split() or [""]
        yield from (f"{address} {code}" for code in codes)


def test_every_xid_of_the_recorded_lines_is_found_and_nothing_else() -> None:
    found = feed(*lines_of("xid_kernel_log_lines.txt"))
    assert [told(s) for s in found if s.kind is FaultKind.XID] == list(expected_xids())
    assert [told(s) for s in found if s.kind is FaultKind.OFF_BUS] == [
        "0000:18:00 0",
        "0000:29:00 0",
        "0000:18:00 0",
    ]
    assert not [s for s in found if s.kind is FaultKind.SXID]


def test_every_sxid_of_the_recorded_lines_is_found_and_nothing_else() -> None:
    found = feed(*lines_of("sxid_kernel_log_lines.txt"))
    assert all(s.kind is FaultKind.SXID for s in found)
    assert [(s.device.removeprefix("nvidia-"), told(s), s.fatal, s.continued) for s in found] == [
        ("nvswitch3", "0000:05:00 12028", False, False),
        ("nvswitch3", "0000:05:00 12028", False, False),
        ("nvswitch0", "0000:00:00 20034", True, False),
        ("nvswitch0", "0000:A9:00 11111", None, True),
        ("nvswitch0", "0000:A9:00 20034", None, True),
        ("nvswitch0", "0000:00:00 20034", True, False),
        ("nvswitch1", "0000:0A:00 22013", False, False),
        ("nvswitch3", "0000:05:00 12028", False, False),
        ("nvswitch3", "0000:05:00 12028", False, False),
        ("nvswitch3", "0000:05:00 12028", False, False),
        ("nvswitch3", "0000:05:00 20123", None, False),
    ]


def test_a_recorded_log_names_gpu_pid_and_process_of_each_xid() -> None:
    found = feed(*lines_of("dmesg-with-xid-119.log"))
    assert [(told(s), s.gpu, s.pid, s.process) for s in found] == [
        ("0000:9B:00 119", UUID_9B, 2024380, "nvidia-smi"),
        ("0000:9B:00 119", UUID_9B, 2024380, "nvidia-smi"),
        ("0000:9B:00 119", UUID_9B, 2024380, "nvidia-smi"),
        ("0000:9B:00 119", UUID_9B, 1263500, "cache_mgr_main"),
        ("0000:9B:00 119", UUID_9B, 1240590, "gpud"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "NVRM: Xid",
        "NVRM: Xid (...)",
        "NVRM: Xid (PCI:0000:04:00): %d, unknown",
        "NVRM: Xid (invalid): some error",
        "NVRM: Xid (PCI:0000:01:00): 0, nothing",
        "NVRM: Xid (PCI:0000:01:00): 79x, GPU has fallen off the bus",
        "NVRM: Xid (PCI:0000:01:00): -79, GPU has fallen off the bus",
        "NVRM: Xid (PCI:0000:01:00:00:00): 79, GPU has fallen off the bus",
        "NVRM: Xid (PCI:0000:01:00): 4294967296, too large for a code",
        "gpud[12]: NVRM: Xid (PCI:0000:01:00): 79, quoted by somebody else",
        "nvidia-nvswitch0: SXid (PCI:0000:00:00.0): xyz, Fatal error",
        "NVRM: GPU at PCI:0000:9b:00: GPU-509665ad-b600-ac93-3616-d754b23d636d",
        "NVRM: fallen off the bus and is not responding to commands.",
    ],
)
def test_a_line_that_does_not_name_a_fault_invents_none(line: str) -> None:
    assert feed(line) == []


def test_a_gpu_that_the_driver_finds_off_the_bus_at_its_start_is_named_lines_before() -> None:
    begins = "NVRM: The NVIDIA GPU 0000:18:00.0"
    between = "NVRM: (PCI ID: 10de:2901) installed in this system has"
    ends = "NVRM: fallen off the bus and is not responding to commands."
    (seen,) = feed(begins, between, ends)
    assert (seen.kind, seen.pci) == (FaultKind.OFF_BUS, "00000000:18:00.0")
    assert feed(begins, between, "NVRM: something else", ends) == []


def test_a_mig_instance_is_told() -> None:
    (seen,) = feed("NVRM: Xid (PCI:0000:CA:00 GPU-I:05): 94, pid=7194, name=python, Contained")
    assert (told(seen), seen.gpu_instance, seen.pid) == ("0000:CA:00 94", 5, 7194)


def test_an_unknown_process_is_not_known() -> None:
    (seen,) = feed("NVRM: Xid (PCI:0000:05:00): 79, pid='<unknown>', name=<unknown>, GPU has")
    assert (seen.pid, seen.process) == (None, None)


def test_the_line_is_told_without_control_characters_and_not_too_long() -> None:
    (seen,) = feed("NVRM: Xid (PCI:0000:05:00): 31, \x1b[31mred\a" + "x" * 2000)
    assert seen.line.isprintable()
    assert len(seen.line) <= LONGEST_LINE


@pytest.mark.parametrize("text", ["1a:00", "0000:1a:00", "0000:1A:00.0", "00000000:1A:00.0"])
def test_an_address_has_one_form(text: str) -> None:
    assert pci_address(text) == "00000000:1A:00.0"


@given(st.lists(st.text(), max_size=4))
@example(["NVRM: Xid (PCI:0000:01:00): ٣, digits of another alphabet"])
def test_garbage_is_never_a_fault_and_never_an_error(lines: list[str]) -> None:
    log = KernelLog()
    for line in lines:
        for garbage in (line, f"NVRM: Xid {line}", f"nvidia-nvswitch0: SXid {line}"):
            seen = log.feed(garbage, 0)
            if seen is not None:
                assert re.search(rf"\): {seen.code}\b", garbage) or seen.kind is FaultKind.OFF_BUS


_PIECE = st.sampled_from(
    ["NVRM: ", "Xid ", "(PCI:", "0000:1a:00", ".0", "): ", "79", ", pid=", "name=", "\x00", "é",
     "GPU ", "has fallen off the bus", "The NVIDIA GPU ", "[1.2] ", " GPU-I:", ",", "\n"]
)  # fmt: skip


@given(st.lists(_PIECE, max_size=14).map("".join))
def test_broken_lines_give_only_what_they_name(line: str) -> None:
    for seen in feed(line):
        assert "1a:00" in line
        assert seen.pci == "00000000:1A:00.0"
        assert seen.code == 0 or str(seen.code) in line
        assert seen.line.isprintable()


# /dev/kmsg: a pipe in packet mode gives one record a read, as the device does.


@dataclass
class KmsgPipe:
    """What a reader of /dev/kmsg sees, at 1000 s after the start of the machine."""

    reading: int
    writing: int
    clock: FakeClock

    def log(self, sequence: int, seconds: float, text: str, priority: int = 3) -> None:
        escaped = text.replace("\n", "\\x0a")
        record = f"{priority},{sequence},{int(seconds * 1e6)},-;{escaped}\n SUBSYSTEM=pci\n"
        os.write(self.writing, record.encode())

    def reader(self, position: str | None = None) -> Kmsg:
        return Kmsg(Path(f"/proc/self/fd/{self.reading}"), self.clock, "boot-a", position)


@pytest.fixture
def pipe() -> Iterator[KmsgPipe]:
    reading, writing = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
    yield KmsgPipe(reading, writing, FakeClock())
    os.close(reading)
    os.close(writing)


XID = "NVRM: Xid (PCI:0000:1a:00): 79, GPU has fallen off the bus."


def test_only_what_is_new_is_read_at_each_poll(pipe: KmsgPipe) -> None:
    reader = pipe.reader()
    assert reader.poll() == []
    pipe.log(7, 1000.0, XID)
    pipe.log(8, 1000.0, "usb 1-1: new device")
    assert [line.text for line in reader.poll()] == [XID]
    assert reader.poll() == []
    reader.close()


def test_the_minutes_before_the_first_start_are_read_with_their_times(pipe: KmsgPipe) -> None:
    pipe.log(1, 1000 - LOOK_BACK_SECONDS - 1, XID.replace("79", "31"))
    pipe.log(2, 940.0, XID)
    (line,) = pipe.reader().poll()
    assert line.text == XID
    assert line.time_ms == pipe.clock.wall_ms() - 60_000


def test_after_a_restart_it_goes_on_where_it_was_however_long_ago(pipe: KmsgPipe) -> None:
    pipe.log(4, 1.0, XID.replace("79", "31"))
    pipe.log(5, 2.0, XID)
    reader = pipe.reader("boot-a 4")
    assert [line.text for line in reader.poll()] == [XID]
    assert reader.position == "boot-a 5"


@pytest.mark.parametrize("position", ["boot-b 4", "boot-a", "boot-a x", "", None])
def test_a_place_of_another_boot_or_a_broken_one_does_not_count(
    pipe: KmsgPipe, position: str | None
) -> None:
    pipe.log(2, 990.0, XID)
    assert len(pipe.reader(position).poll()) == 1


def test_a_record_of_several_lines_is_several_lines(pipe: KmsgPipe) -> None:
    pipe.log(1, 1000.0, "NVRM: The NVIDIA GPU 0000:18:00.0\nNVRM: fallen off the bus\n")
    assert [line.text for line in pipe.reader().poll()] == [
        "NVRM: The NVIDIA GPU 0000:18:00.0",
        "NVRM: fallen off the bus",
    ]


def test_what_a_program_wrote_into_the_log_does_not_count(pipe: KmsgPipe) -> None:
    pipe.log(1, 1000.0, XID, priority=(1 << 3) + 3)
    assert pipe.reader().poll() == []


def test_a_fresh_record_is_from_now_although_the_kernels_clock_drifted(pipe: KmsgPipe) -> None:
    reader = pipe.reader()
    reader.poll()
    pipe.log(1, 970.0, XID)
    assert [line.time_ms for line in reader.poll()] == [pipe.clock.wall_ms()]


def test_garbage_in_place_of_records_is_left_out(pipe: KmsgPipe) -> None:
    for garbage in (b"\n", b"NVRM", b"3,x,1,-;NVRM: Xid", b"\xff\xfe;;;", b"3,1,1000000000,-"):
        os.write(pipe.writing, garbage)
    assert pipe.reader().poll() == []


def test_a_missing_log_is_told_in_a_sentence_and_not_tried_again(tmp_path: Path) -> None:
    reader = Kmsg(tmp_path / "kmsg", FakeClock(), "boot-a")
    assert reader.poll() == []
    assert reader.sentence.startswith(f"There is no {tmp_path}/kmsg: Xids are told by NVML only;")
    (tmp_path / "kmsg").touch()
    assert reader.poll() == []
    assert reader.position is None


def test_a_log_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path) -> None:
    reader = Kmsg(tmp_path, FakeClock(), "boot-a")
    assert reader.poll() == []
    assert reader.sentence == f"{tmp_path} cannot be read any more: Is a directory."


def test_the_log_of_this_machine_is_read_to_its_end_without_waiting() -> None:
    if not os.access("/dev/kmsg", os.R_OK):
        pytest.skip("/dev/kmsg cannot be read here")
    from gpufleet.agent.clock import SystemClock

    reader = Kmsg(Path("/dev/kmsg"), SystemClock(), "boot-a", "boot-a 0")
    reader.poll()
    assert reader.sentence == ""
    assert re.fullmatch(r"boot-a \d+", reader.position or "")
    reader.close()
