"""What was taken, line by line, for tests and for doubt: written before it may be sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from gpufleet.agent.records import EventRecord, Record


class Journal:
    """JSON lines in a file that only grows."""

    def __init__(self, path: Path, node: str) -> None:
        """OSError if the file cannot be opened for appending."""
        self._node = node
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, record: Record) -> None:
        """Append and flush one record; OSError if it could not be."""
        line = json.dumps(journal_line(self._node, record), separators=(",", ":"))
        self._file.write(line + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def journal_line(node: str, record: Record) -> dict[str, Any]:
    """One record as the object of its line."""
    line: dict[str, Any] = {
        "node": node,
        "epoch": record.position.epoch,
        "seq": record.position.seq,
    }
    if isinstance(record, EventRecord):
        event = record.event
        line["event"] = {name: getattr(event, name) for name in event.__slots__}
        return line
    line["tick"] = record.tick_ms
    line["samples"] = {
        f"{subject.kind}/{subject.key}": {
            str(metric): value
            for metric, value in zip(subject.metrics, row, strict=True)
            if value is not None
        }
        for subject, row in zip(record.layout.subjects, record.rows, strict=True)
        if row is not None
    }
    return line
