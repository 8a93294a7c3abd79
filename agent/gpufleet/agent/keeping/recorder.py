"""Numbers what happened in the agent's epoch, journals it and hands it to the backlog."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from gpufleet.agent.keeping.backlog import Backlog
from gpufleet.agent.keeping.journal import Journal
from gpufleet.agent.model import Subject, Values
from gpufleet.agent.records import (
    Event,
    EventRecord,
    Layout,
    LayoutSubject,
    Position,
    Record,
    TickRecord,
    layout_of,
    row_of,
)


class Recorder:
    """Makes records of ticks and events; positions only ever grow, over restarts too."""

    def __init__(
        self, backlog: Backlog, journal: Journal | None, on_trouble: Callable[[str], None]
    ) -> None:
        """``on_trouble`` is told what is wrong with the journal, "" once it works."""
        self._backlog = backlog
        self._journal = journal
        self._on_trouble = on_trouble
        self._lock = threading.Lock()
        self._epoch = int(backlog.recall("epoch") or 0)
        self._seq = 0
        self._layout = layout_of(())
        self._extra: dict[str, frozenset[int]] = {}

    @property
    def position(self) -> Position:
        """The last record made."""
        return Position(self._epoch, self._seq)

    def begin_epoch(self, now_ms: int) -> int:
        """Start numbering anew; the epoch is now, or one past the last if the clock is behind."""
        with self._lock:
            self._enter(max(now_ms, self._epoch + 1))
            return self._epoch

    def outrun(self, known: Position, now_ms: int) -> bool:
        """Make the next positions come after one that the hub already knows; True if needed.

        It is where the state folder was lost and the clock is behind, or another agent uses this
        node's name. What is still in memory is numbered again, since the hub would drop it.
        """
        with self._lock:
            if known <= self.position:
                return False
            self._enter(max(now_ms, known.epoch + 1))
            self._seq = self._backlog.renumber(self._epoch)
            return True

    def event(self, event: Event) -> None:
        """Record an event."""
        with self._lock:
            self._take(EventRecord(self._next(), event))

    def tick(
        self, tick_ms: int, subjects: Sequence[Subject], values: Mapping[str, Values]
    ) -> TickRecord:
        """Record one tick; a subject whose key has no values was not read."""
        with self._lock:
            layout = self._layout_for(subjects, values)
            rows = tuple(
                None if (given := values.get(subject.key)) is None else row_of(subject, given)
                for subject in layout.subjects
            )
            record = TickRecord(self._next(), tick_ms, layout, rows)
            self._take(record)
            return record

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            try:
                self._journal.close()
            except OSError as error:
                self._on_trouble(f"The journal cannot be written: {error.strerror}.")

    def _enter(self, epoch: int) -> None:
        self._epoch = epoch
        self._seq = 0
        self._backlog.remember("epoch", str(epoch))

    def _next(self) -> Position:
        self._seq += 1
        return Position(self._epoch, self._seq)

    def _take(self, record: Record) -> None:
        if self._journal is not None:
            try:
                self._journal.write(record)
            except OSError as error:
                self._on_trouble(f"The journal cannot be written: {error.strerror}.")
            else:
                self._on_trouble("")
        self._backlog.append(record)

    def _layout_for(self, subjects: Sequence[Subject], values: Mapping[str, Values]) -> Layout:
        columns = []
        for subject in subjects:
            extra = self._extra.get(subject.key, frozenset())
            # A reader may answer more than the inventory promised; nothing read is left out.
            more = values.get(subject.key, {}).keys() - set(subject.columns) - extra
            if more:
                extra = self._extra[subject.key] = extra | more
            ids = tuple(sorted({*subject.columns, *extra})) if extra else subject.columns
            columns.append(LayoutSubject(subject.kind, subject.key, ids))
        if tuple(columns) != self._layout.subjects:
            self._layout = layout_of(tuple(columns))
        return self._layout
