"""What a database needs done between flushes, a little at a time."""

from __future__ import annotations

import time

from gpufleet.hub.store.database import Database
from gpufleet.hub.store.merge import merge_some
from gpufleet.hub.store.retention import Retention, Sweeper

MERGE_STEP = 4
"""Subjects whose hour is merged at once, some 20 ms each."""
MERGE_STEPS = 4
"""So often in one turn at most: of 8,000 GPUs an hour is merged within ten minutes."""
MERGE_SECONDS = 0.1
"""A turn begins no merging later than this: commits wait meanwhile."""
SWEEP_SECONDS = 0.05
"""A turn begins no step of the sweeper later than this."""


class Upkeep:
    """Merges past hours and forgets what is old. For the writer's thread."""

    def __init__(self, database: Database, retention: Retention) -> None:
        self._database = database
        self._sweeper = Sweeper(database, retention)

    def turn(self, now_ms: int) -> None:
        """One bounded piece of each; StoreError when the database fails."""
        end = time.monotonic() + MERGE_SECONDS
        for _ in range(MERGE_STEPS):
            if not merge_some(self._database, now_ms, MERGE_STEP) or time.monotonic() > end:
                break
        end = time.monotonic() + SWEEP_SECONDS
        while self._sweeper.step(now_ms) and time.monotonic() < end:
            pass
