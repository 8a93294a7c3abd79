"""What is in the hub's SQLite file after a bench, compared with what was sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benches.load import Sent
from benches.payloads import METRICS, Run, values_of

COMPARED_NODES = 24


@dataclass(frozen=True, slots=True)
class Samples:
    """One subject's stored ticks as they lie in its chunks, and its columns."""

    ticks: NDArray[np.int64]
    columns: Mapping[int, NDArray[np.int64]]


@dataclass(slots=True)
class Verdict:
    """Ticks of GPUs that are not as they were sent, and what the file holds."""

    expected: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    foreign: int = 0
    values_compared: int = 0
    values_wrong: int = 0
    chunk_bytes: int = 0
    file_bytes: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.foreign or self.values_wrong)

    def note(self, text: str) -> None:
        """Keep the first few examples of what is wrong."""
        if len(self.examples) < 5:
            self.examples.append(text)


def decode(data: bytes) -> Samples:
    """The one place that knows the chunk codec."""
    from gpufleet.hub.store.codec import decode_chunk

    chunk = decode_chunk(data)
    columns = {
        metric: np.asarray(column.values, np.int64)
        for metric, column in chunk.columns.items()
        if column.present is None or bool(np.all(column.present))
    }
    return Samples(np.asarray(chunk.ticks, np.int64), columns)


def verify(database: Path, run: Run, results: list[Sent]) -> Verdict:
    """Compare every tick of every GPU, and all values of some nodes."""
    verdict = Verdict(file_bytes=database.stat().st_size)
    compared = {s.node for s in results[:: max(1, len(results) // COMPARED_NODES)]}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        ids = dict(connection.execute("SELECT key, id FROM subjects WHERE kind = 'gpu'"))
        for sent in results:
            for index, uuid in enumerate(run.uuids(sent.node)):
                where = f"{run.node(sent.node)} GPU {index}"
                chunks = _chunks(connection, ids.get(uuid), verdict)
                _compare_ticks(where, sent, run, chunks, verdict)
                if sent.node in compared:
                    _compare_values(where, sent, index, run, chunks, verdict)
    return verdict


def _chunks(connection: sqlite3.Connection, subject: int | None, verdict: Verdict) -> list[Samples]:
    rows = connection.execute(
        "SELECT data FROM samples WHERE subject_id = ? ORDER BY start", (subject,)
    ).fetchall()
    verdict.chunk_bytes += sum(len(data) for (data,) in rows)
    return [decode(data) for (data,) in rows]


def _ticks(chunks: list[Samples]) -> NDArray[np.int64]:
    return np.concatenate([c.ticks for c in chunks]) if chunks else np.empty(0, np.int64)


def _compare_ticks(
    where: str, sent: Sent, run: Run, chunks: list[Samples], verdict: Verdict
) -> None:
    expected = sent.first_tick + np.arange(sent.count, dtype=np.int64) * run.interval_ms
    ticks = _ticks(chunks)
    unique = np.unique(ticks)
    lost = np.setdiff1d(expected, unique)
    foreign = np.setdiff1d(unique, expected)
    verdict.expected += len(expected)
    verdict.stored += len(ticks)
    verdict.lost += len(lost)
    verdict.doubled += len(ticks) - len(unique)
    verdict.foreign += len(foreign)
    if len(lost):
        verdict.note(f"{where}: {len(lost)} ticks lost, the first is {lost[0]}")
    if len(foreign):
        verdict.note(f"{where}: {len(foreign)} ticks that were not sent, the first is {foreign[0]}")


_profiles: dict[int, NDArray[np.int64]] = {}


def _compare_values(
    where: str, sent: Sent, index: int, run: Run, chunks: list[Samples], verdict: Verdict
) -> None:
    profile = run.profile_of(sent.node)
    if profile not in _profiles:
        _profiles[profile] = np.array(values_of(run, profile), np.int64)
    matrix = _profiles[profile][:, index, :]
    for chunk in chunks:
        steps = (chunk.ticks - run.first_tick_ms) // run.interval_ms
        for place, metric in enumerate(METRICS):
            stored = chunk.columns.get(metric)
            verdict.values_compared += len(steps)
            wrong = len(steps)
            if stored is not None and len(stored) == len(steps):
                wrong = int(np.count_nonzero(stored != matrix[steps, place]))
            if wrong:
                verdict.values_wrong += wrong
                verdict.note(f"{where}: {wrong} values of metric {metric} are not as sent")
