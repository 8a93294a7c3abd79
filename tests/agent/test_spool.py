"""The disk spool: order, bounds, damage, a full disk."""

import subprocess
import sys
from pathlib import Path

import pytest

from gpufleet.agent.keeping.backlog import blocks_of
from gpufleet.agent.keeping.spool import Spool, SpoolError, open_spool
from gpufleet.agent.records import (
    Event,
    EventRecord,
    LayoutSubject,
    Position,
    Record,
    TickRecord,
    layout_of,
)
from gpufleet.agent.wire.samples import decode, unpack
from support.processes import environment

LAYOUT = layout_of((LayoutSubject("gpu", "a", (1, 20)),))
BIG = 1 << 30
AGE = 7 * 86_400_000


def ticks(epoch: int, first: int, count: int) -> list[Record]:
    return [
        TickRecord(Position(epoch, seq), seq * 1000, LAYOUT, ((seq % 7, 60),))
        for seq in range(first, first + count)
    ]


def test_what_was_added_is_there_after_a_restart_in_order_of_position(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", BIG, AGE)
    spool.add(blocks_of(ticks(2, 1, 10)), 0)
    spool.add(blocks_of(ticks(1, 1, 100)), 0)
    spool.close()
    again = Spool(tmp_path / "s", BIG, AGE)
    assert (again.oldest(), again.newest()) == (Position(1, 1), Position(2, 10))
    block = again.after(Position(1, 60))
    assert block is not None
    assert (block.first, block.last, block.ticks) == (Position(1, 61), Position(1, 100), 40)
    assert block.layout == LAYOUT
    assert decode(LAYOUT, unpack(block.data))[0] == (61_000, ((61 % 7, 60),))
    assert again.ticks == 110


def test_forgetting_deletes_whole_blocks_and_gives_the_space_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", BIG, AGE)
    spool.add(blocks_of(ticks(1, 1, 120)), 0)
    spool.forget(Position(1, 60))
    assert spool.oldest() == Position(1, 61)
    spool.forget(Position(1, 120))
    assert (spool.oldest(), spool.bytes, spool.ticks) == (None, 0, 0)


def test_past_its_bytes_the_oldest_blocks_are_dropped_and_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", 2000, AGE)
    dropped = sum(spool.add(blocks_of(ticks(1, 1 + 60 * n, 60)), 0) for n in range(50))
    assert spool.bytes <= 2000
    assert dropped > 0
    assert dropped + spool.ticks == 3000
    newest = spool.newest()
    assert newest == Position(1, 3000)


def test_past_its_age_a_block_is_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", BIG, 3_600_000)
    spool.add(blocks_of(ticks(1, 1, 60)), 60_000)
    assert spool.add(blocks_of(ticks(1, 61, 60)), 3_700_000) == 60


def test_events_are_kept_too_but_are_no_ticks(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", BIG, AGE)
    spool.add(blocks_of([EventRecord(Position(1, 1), Event(1, "x", "info", "m"))]), 0)
    block = spool.after(Position(0, 0))
    assert block is not None
    assert (block.layout, block.count, spool.ticks) == (None, 1, 0)


def test_a_damaged_file_is_moved_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"this is no database, however long one looks at it" * 100)
    said: list[str] = []
    spool = open_spool(path, BIG, AGE, said.append)
    assert spool.add(blocks_of(ticks(1, 1, 1)), 0) == 0
    assert len(said) == 1
    assert "damaged" in said[0] or "not a database" in said[0]
    assert (tmp_path / "s.damaged").exists()


def test_a_file_damaged_in_the_middle_is_noticed_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "s"
    spool = Spool(path, BIG, AGE)
    for n in range(40):
        spool.add(blocks_of(ticks(1, 1 + 60 * n, 60)), 0)
    spool.close()
    data = bytearray(path.read_bytes())
    data[4096:12288] = b"\xff" * 8192
    path.write_bytes(data)
    said: list[str] = []
    open_spool(path, BIG, AGE, said.append)
    assert len(said) == 1


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot be used"):
        open_spool(tmp_path / "file" / "s", BIG, AGE, print)


FULL = """
import resource, sys
from pathlib import Path
from gpufleet.agent.keeping.backlog import blocks_of
from gpufleet.agent.keeping.spool import Spool, SpoolError
sys.path.insert(0, sys.argv[2])
from test_spool import ticks, BIG, AGE
from gpufleet.agent.records import Position
spool = Spool(Path(sys.argv[1]), BIG, AGE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
stored = 0
try:
    for n in range(5000):
        spool.add(blocks_of(ticks(1, 1 + 60 * n, 60)), 0)
        stored += 60
except SpoolError as error:
    print(stored, spool.ticks, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.add(blocks_of(ticks(1, stored + 1, 60)), 0)
print(spool.ticks, spool.newest())
"""


def test_a_full_disk_is_a_sentence_and_what_was_stored_stays(tmp_path: Path) -> None:
    """The disk is full by a limit on the file's size, which needs no root."""
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "s"), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=True,
    )
    first, second = run.stdout.splitlines()
    stored, counted, sentence = first.split(" ", 2)
    assert stored == counted
    assert "cannot be used" in sentence
    assert second == f"{int(stored) + 60} Position(epoch=1, seq={int(stored) + 60})"
