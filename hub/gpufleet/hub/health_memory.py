"""Which health histories are to be stored, and giving them back after a restart of the hub.

A history changes with every sample of a GPU that is not well, so it is stored once a minute; at
once when the GPU's level changes. A killed hub forgets at most a minute of windows, never a latch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from gpufleet.alerting import health_document
from gpufleet.alerting.health import HealthHistory
from gpufleet.hub.fleet import Fleet
from gpufleet.hub.health import FleetHealth
from gpufleet.proto.logline import said

PERIOD_MS = 60_000

_log = logging.getLogger(__name__)


class HealthMemory:
    """Beside the FleetHealth whose histories it stores; by subject id, since slots do not last."""

    def __init__(self, health: FleetHealth, stored: Mapping[int, Mapping[str, Any]]) -> None:
        self._health = health
        self._to_restore = dict(stored)
        self._saved: dict[int, HealthHistory | None] = dict.fromkeys(stored)
        self._saved_ms: dict[int, int] = {}
        self._hurried: set[int] = set()

    def restore(self, slot: int, subject_id: int) -> None:
        """A GPU is in ``slot``: go on with what was stored of it, once."""
        document = self._to_restore.pop(subject_id, None)
        if document is None:
            return
        try:
            history = health_document.history(document)
        except (LookupError, TypeError, ValueError) as error:  # not of this program's making
            _log.error(
                "stored health history unreadable %s",
                said(subject_id=subject_id, reason=repr(error)),
            )
        else:
            self._health.restore(slot, history)

    def hurry(self, slot: int) -> None:
        """The level of the GPU in ``slot`` changed: store its history with the next flush."""
        self._hurried.add(slot)

    def changed(self, fleet: Fleet, now_ms: int) -> dict[int, Mapping[str, Any] | None]:
        """Documents to store now, by subject id; ``None``: nothing is remembered any more."""
        result: dict[int, Mapping[str, Any] | None] = {}
        open_ids = set(self._to_restore)
        for slot, history in self._health.open_histories().items():
            subject = fleet.subjects[slot]
            if subject is None:
                continue
            subject_id = subject.subject_id
            open_ids.add(subject_id)
            waited = now_ms - self._saved_ms.get(subject_id, 0) >= PERIOD_MS
            if (waited or slot in self._hurried) and self._saved.get(subject_id) is not history:
                result[subject_id] = health_document.document(history)
                self._saved[subject_id] = history
                self._saved_ms[subject_id] = now_ms
        for subject_id in self._saved.keys() - open_ids:
            result[subject_id] = None
            del self._saved[subject_id]
            self._saved_ms.pop(subject_id, None)
        self._hurried.clear()
        return result

    def not_saved(self, subject_ids: Iterable[int]) -> None:
        """The write of those failed: they are due again."""
        for subject_id in subject_ids:
            self._saved[subject_id] = None
            self._saved_ms.pop(subject_id, None)
