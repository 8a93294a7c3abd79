"""Meters who holds which GPU and what it does for them, in hours of absolute values. Pure.

A node lists its processes every few seconds. Who is on a list is taken to have held the GPU since
the list before (or since the process began); what no list tells is not counted. A holder is a user
with a job. A GPU that several hold is shared out equally, so that all together never hold more of
it than there is. What the GPU did is known of a sole holder by the GPU's own utilisation, of
several only where the driver tells each process's; energy is known of a sole holder only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gpufleet.hub.views import ProcessView

HOUR_MS = 3_600_000
SAVE_MS = 60_000
MAX_HOLDERS = 256
"""Holders of one GPU in one hour; further ones are counted together, with no name."""
MAX_ENTRIES = 200_000
"""The same of the whole fleet and all hours that are not over: some 120 MiB."""
MAX_ROWS = 2000
"""Rows that are due at once: the others come a round later, so that none is long."""
MAX_OFF_MS = 10 * 60_000
"""Lists whose time is further from the hub's clock are not counted."""

Key = tuple[int, int, int, str, str]
"""Subject id, start of the hour, node id, user, job ("" where not known)."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one holder had of one GPU in one hour, as one run of the hub saw it."""

    subject_id: int
    start: int
    node_id: int
    run: int
    user_name: str
    job: str
    held_seconds: float
    measured_seconds: float
    """The part of ``held_seconds`` for which ``used_seconds`` is known."""
    used_seconds: float | None
    energy_joules: float | None
    memory_bytes: int | None

    @property
    def key(self) -> Key:
        return self.subject_id, self.start, self.node_id, self.user_name, self.job


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of a GPU when its processes are listed."""

    subject_id: int
    utilization: float | None
    watts: float | None


@dataclass(slots=True)
class _Sum:
    held: float = 0.0
    measured: float = 0.0
    used: float | None = None
    joules: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class _Holder:
    user: str
    job: str
    since_ms: int
    utilization: float | None
    """Of all its processes; None where one does not tell."""
    memory: int | None


class UsageMeter:
    """Sums of the running hours. ``run`` names this hub's run: another begins rows of its own."""

    def __init__(self, run: int) -> None:
        self.run = run
        self._sums: dict[Key, _Sum] = {}
        self._holders: dict[tuple[int, int], int] = {}
        """Subject id, hour → how many holders are told apart."""
        self._dirty: dict[Key, None] = {}
        """Changed since they were last due, in this order."""
        self._due: dict[Key, None] = {}
        """What is to be written in this minute."""
        self._saved_ms = 0
        self._forgotten_to = 0

    def note(
        self,
        node_id: int,
        before_ms: int,
        time_ms: int,
        gpus: Iterable[tuple[Reading, Sequence[ProcessView]]],
        now_ms: int,
    ) -> None:
        """Count a node's list of ``time_ms`` after that of ``before_ms``."""
        if time_ms <= before_ms or abs(time_ms - now_ms) > MAX_OFF_MS:
            return
        for reading, processes in gpus:
            holders = list(_holders(processes, before_ms))
            for holder in holders:
                for start_ms, seconds in _hours(holder.since_ms, time_ms):
                    key = self._key(reading.subject_id, start_ms, node_id, holder)
                    self._add(key, holder, reading, seconds, len(holders))

    def _key(self, subject_id: int, start_ms: int, node_id: int, holder: _Holder) -> Key:
        key = subject_id, start_ms, node_id, holder.user, holder.job
        if key in self._sums:
            return key
        known = self._holders.get((subject_id, start_ms), 0)
        if known >= MAX_HOLDERS or len(self._sums) >= MAX_ENTRIES:
            return subject_id, start_ms, node_id, "", ""
        self._holders[subject_id, start_ms] = known + 1
        return key

    def _add(
        self, key: Key, holder: _Holder, reading: Reading, seconds: float, holders: int
    ) -> None:
        sums = self._sums.setdefault(key, _Sum())
        share = seconds / holders
        sums.held += share
        utilization = reading.utilization if holders == 1 else holder.utilization
        if utilization is not None:
            sums.measured += share
            sums.used = (sums.used or 0.0) + min(max(utilization, 0.0), 1.0) * seconds
        if holders == 1 and reading.watts is not None:
            sums.joules = (sums.joules or 0.0) + reading.watts * seconds
        if holder.memory is not None:
            sums.memory = max(sums.memory or 0, holder.memory)
        self._dirty[key] = None

    def changed(self, now_ms: int, *, everything: bool = False) -> list[UsageRow]:
        """Rows to write: all that changed once a minute, MAX_ROWS at a time, or at once.

        They count as written until ``not_saved``.
        """
        if everything or (not self._due and now_ms - self._saved_ms >= SAVE_MS):
            self._saved_ms = now_ms
            self._due |= self._dirty
            self._dirty = {}
        keys = list(self._due if everything else itertools.islice(self._due, MAX_ROWS))
        for key in keys:
            del self._due[key]
            self._dirty.pop(key, None)
        return [self._row(key) for key in sorted(keys)]

    def not_saved(self, rows: Iterable[UsageRow]) -> None:
        """The write failed: they are due again."""
        self._due |= {row.key: None for row in rows}

    @property
    def entries(self) -> int:
        """Holders of hours that lists can still add to."""
        return len(self._sums)

    def saved(self, now_ms: int) -> None:
        """Forget hours that are written and to which no list can add any more."""
        over = -(-(now_ms - HOUR_MS - 2 * MAX_OFF_MS) // HOUR_MS) * HOUR_MS
        if over == self._forgotten_to:
            return
        waiting = self._dirty.keys() | self._due.keys()
        for key in [key for key in self._sums if key[1] < over and key not in waiting]:
            del self._sums[key]
            self._holders.pop(key[:2], None)
        if not any(key[1] < over for key in waiting):
            self._forgotten_to = over

    def _row(self, key: Key) -> UsageRow:
        subject_id, start_ms, node_id, user, job = key
        sums = self._sums[key]
        return UsageRow(
            subject_id=subject_id,
            start=start_ms,
            node_id=node_id,
            run=self.run,
            user_name=user,
            job=job,
            held_seconds=round(sums.held, 3),
            measured_seconds=round(sums.measured, 3),
            used_seconds=None if sums.used is None else round(sums.used, 3),
            energy_joules=None if sums.joules is None else round(sums.joules, 3),
            memory_bytes=sums.memory,
        )


def _holders(processes: Sequence[ProcessView], before_ms: int) -> Iterator[_Holder]:
    """Users with jobs among the processes of one GPU."""
    together: dict[tuple[str, str], list[ProcessView]] = {}
    for process in processes:
        together.setdefault((_name(process.user), _name(process.job)), []).append(process)
    for (user, job), own in together.items():
        told = [p.utilization_ratio for p in own if p.utilization_ratio is not None]
        memory = [p.memory_bytes for p in own if p.memory_bytes is not None]
        yield _Holder(
            user,
            job,
            min(max(before_ms, p.start_ms or before_ms) for p in own),
            sum(told) if len(told) == len(own) else None,
            sum(memory) if memory else None,
        )


def _name(text: str | None) -> str:
    return text or ""


def _hours(start_ms: int, end_ms: int) -> Iterator[tuple[int, float]]:
    """Each hour that [start, end) touches, with the seconds in it."""
    while start_ms < end_ms:
        hour = start_ms // HOUR_MS * HOUR_MS
        until = min(end_ms, hour + HOUR_MS)
        yield hour, (until - start_ms) / 1000
        start_ms = until
