"""The ingest bench sends valid messages and finds what a hub lost, doubled or changed."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from benches.load import Sent
from benches.payloads import METRICS, Run, Writer, encoded, layout_id, values_of
from benches.stored import Verdict, verify
from gpufleet.hub.store.chunk import Chunk, Column
from gpufleet.hub.store.codec import encode_chunk
from gpufleet.proto import telemetry_pb2 as pb

ROOT = Path(__file__).parents[2]
NOW = 1_763_900_000_000
RUN = Run(nodes=2, gpus=2, interval_ms=1000, first_tick_ms=NOW, ticks=90, profiles=2)
FIRST = 3
COUNT = 80


def test_a_message_is_the_agents_message_of_its_tick() -> None:
    writer = Writer(RUN, 1, epoch=NOW - 5)
    message = pb.AgentMessage.FromString(writer.message(300, NOW + 7000, encoded(RUN, 1)[7]))
    assert (message.epoch, message.seq, message.count) == (NOW - 5, 300, 0)
    samples = message.samples
    assert samples.layout == layout_id(RUN, 1)
    assert list(samples.ticks) == [NOW + 7000]
    assert list(samples.values) == [v for gpu in values_of(RUN, 1)[7] for v in gpu]
    assert len(samples.values) == RUN.gpus * len(METRICS)


def _store(path: Path, edit: str = "") -> Verdict:
    """A hub's file with everything that was sent but for one deliberate defect."""
    start = NOW + FIRST * 1000
    sent = [Sent(number, first_tick=start, count=COUNT) for number in range(RUN.nodes)]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE subjects (id INTEGER, kind TEXT, key TEXT)")
        connection.execute("CREATE TABLE samples (subject_id, start, count, data)")
        for node in range(RUN.nodes):
            matrix = np.array(values_of(RUN, RUN.profile_of(node)), np.int64)
            for index, uuid in enumerate(RUN.uuids(node)):
                subject = node * 10 + index
                connection.execute("INSERT INTO subjects VALUES (?, 'gpu', ?)", (subject, uuid))
                steps = list(range(FIRST, FIRST + COUNT))
                spoiled = edit if (node, index) == (1, 1) else ""
                if spoiled == "lose":
                    steps.remove(20)
                if spoiled == "invent":
                    steps.append(FIRST + COUNT)
                chunks = [steps[:40], steps[40:]]
                if spoiled == "double":
                    chunks[1].insert(0, steps[39])
                for chunk in chunks:
                    values = matrix[chunk, index, :]
                    if spoiled == "change":
                        values[5, 7] += 1
                    connection.execute(
                        "INSERT INTO samples VALUES (?, ?, ?, ?)",
                        (subject, chunk[0], len(chunk), _blob(chunk, values)),
                    )
        connection.commit()
    return verify(path, RUN, sent)


def _blob(steps: Sequence[int], values: np.ndarray) -> bytes:
    ticks = NOW + np.array(steps, np.int64) * 1000
    columns = {metric: Column(values[:, place]) for place, metric in enumerate(METRICS)}
    return encode_chunk(Chunk(ticks, columns)).data


def test_what_was_stored_as_sent_is_good(tmp_path: Path) -> None:
    verdict = _store(tmp_path / "hub.db")
    assert verdict.good
    assert verdict.expected == verdict.stored == RUN.nodes * RUN.gpus * COUNT
    assert verdict.values_compared == RUN.nodes * RUN.gpus * COUNT * len(METRICS)


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        ("lose", (1, 0, 0, 0)),
        ("double", (0, 1, 0, 0)),
        ("invent", (0, 0, 1, 0)),
        ("change", (0, 0, 0, 2)),
    ],
)
def test_a_hub_that_loses_doubles_invents_or_changes_is_found_out(
    tmp_path: Path, edit: str, found: tuple[int, int, int, int]
) -> None:
    verdict = _store(tmp_path / "hub.db", edit)
    assert not verdict.good
    assert (verdict.lost, verdict.doubled, verdict.foreign, verdict.values_wrong) == found


def test_load_reaches_a_hub_whole_and_everything_ends() -> None:
    command = [str(ROOT / "scripts" / "bench"), "ingest", "--stub", "--nodes", "5", "--gpus", "1"]
    done = subprocess.run([*command, "--seconds", "3"], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 not received" in done.stdout


def test_an_unknown_bench_is_refused_with_the_usage() -> None:
    done = subprocess.run(
        [str(ROOT / "scripts" / "bench"), "nothing"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: scripts/bench NAME")
