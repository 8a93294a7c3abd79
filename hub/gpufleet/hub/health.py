"""Health of the whole fleet at every publish, cheap while the fleet is calm.

Only GPUs that are off nominal in any way, and those of which something is remembered (latches,
windows, Xids, faults), are judged by the pure function of gpufleet.alerting.health. Every other
GPU is healthy, and nothing is kept for it but its last counters, so that its history can begin
when it must as if it had always been kept.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting import health_limits as limits
from gpufleet.alerting.health import (
    HEALTHY,
    INPUTS,
    NO_EXTRAS,
    UNKNOWN,
    Extras,
    Health,
    HealthHistory,
    Values,
    acknowledge_xids,
    assess,
    expired,
    note_fault,
    note_reset,
    note_xid,
    observe,
    resumed,
)
from gpufleet.alerting.health_rows import links_down
from gpufleet.hub.health_prefilter import Flags, Floats, Prefilter
from gpufleet.proto.catalog import BY_NAME, Source, metrics
from gpufleet.proto.logline import said

_log = logging.getLogger(__name__)

Change = tuple[int, Health, Health]
"""(slot, health before, health now)."""

_DUE_MS = 1000
"""How often a GPU that sends nothing new is judged again while something of it is remembered."""
_NO_TICK = 0
_INPUT_IDS = tuple((name, BY_NAME[name].id) for name in INPUTS)
_FROM_HUB = frozenset(metric.id for metric in metrics() if metric.source is Source.HUB)


@dataclass(frozen=True, slots=True)
class _Gpu:
    key: str
    facts: Mapping[str, Any]
    interval_ms: int


class FleetHealth:
    """Health of every GPU, by slot. One caller at a time; nothing here blocks.

    What must outlive the process is in ``open_histories``; ``restore`` takes it back.
    """

    def __init__(self) -> None:
        self._gpus: dict[int, _Gpu] = {}
        self._extras: dict[int, Extras] = {}
        self._histories: dict[int, HealthHistory] = {}
        self._sick: dict[int, Health] = {}
        self._samples: dict[int, Values] = {}
        self._faults: dict[int, str] = {}
        self._touched: set[int] = set()
        self._unjudged: set[int] = set()
        """Whose judging failed, so that it is said once."""
        self._judged_ms: dict[int, int] = {}
        self._links_down: dict[int, bool] = {}
        """Of GPUs whose NVLinks are known: whether one that was up is down."""
        self._prefilter = Prefilter()
        self._levels = np.empty(0)
        self._known = np.empty(0, np.bool_)
        self._read = np.empty(0, np.bool_)
        self._tick_ms = np.empty(0, np.int64)
        self._reset_ms = np.empty(0, np.int64)

    def set_subject(
        self, slot: int, key: str, facts: Mapping[str, Any], *, interval_ms: int = 1000
    ) -> None:
        """A GPU is in ``slot``, or its facts changed. Another key there begins from nothing."""
        before = self._gpus.get(slot)
        if before is not None and before.key != key:
            self.remove(slot)
        self._grow(slot + 1)
        self._gpus[slot] = _Gpu(key, facts, interval_ms)
        self._prefilter.set_facts(slot, facts)
        self._known[slot] = True
        if before is not None and before.key == key and before.facts != facts:
            self._touched.add(slot)

    def set_extras(self, slot: int, extras: Extras) -> None:
        """What is known of the GPU in ``slot`` beside metrics; ``NO_EXTRAS`` takes it back."""
        self._check(slot)
        if extras is NO_EXTRAS:
            self._extras.pop(slot, None)
        else:
            self._extras[slot] = extras
        self._touched.add(slot)

    def links_down(self, capacity: int) -> NDArray[np.float64]:
        """(capacity,): 1 where an NVLink that was up is down, 0 where none is, NaN: not known."""
        found = np.full(capacity, np.nan)
        found[list(self._links_down)] = list(self._links_down.values())
        return found

    def remove(self, slot: int) -> None:
        """The GPU in ``slot`` is no longer known."""
        for kept in (self._gpus, self._extras, self._histories, self._sick, self._samples):
            kept.pop(slot, None)
        self._judged_ms.pop(slot, None)
        self._links_down.pop(slot, None)
        self._faults.pop(slot, None)
        self._unjudged.discard(slot)
        self._touched.discard(slot)
        if slot < len(self._known):
            self._known[slot] = self._read[slot] = False
            self._levels[slot] = np.nan
            self._tick_ms[slot] = self._reset_ms[slot] = _NO_TICK
            self._prefilter.forget(slot)

    def note_xid(self, slot: int, code: int, time_ms: int) -> None:
        """An Xid of the GPU in ``slot``; it counts from the next update on."""
        self._keep(slot, note_xid(self._history(slot), code, time_ms))

    def note_reset(self, slot: int, time_ms: int) -> None:
        """The GPU was reset, or its driver loaded, or its node booted."""
        self._keep(slot, note_reset(self._history(slot), time_ms))

    def acknowledge(self, slot: int, until_ms: int) -> None:
        """An operator took note of every Xid up to ``until_ms``."""
        self._keep(slot, acknowledge_xids(self._history(slot), until_ms))

    def health(self, slot: int) -> Health:
        """Health of the GPU in ``slot`` as of the last update."""
        sick = self._sick.get(slot)
        if sick is not None:
            return sick
        known = slot < len(self._levels) and self._levels[slot] == 0
        return HEALTHY if known else UNKNOWN

    @property
    def levels(self) -> Floats:
        """Level by slot, NaN where there is none: the row of the metric ``health``."""
        return self._levels

    def open_histories(self) -> Mapping[int, HealthHistory]:
        """Every history that would be missed, by slot."""
        return MappingProxyType(self._histories)

    def restore(self, slot: int, history: HealthHistory) -> None:
        """Go on with a history from before a restart."""
        self._keep(slot, history)

    def update(
        self,
        values: Floats,
        rows: Mapping[int, int],
        tick_ms: NDArray[np.int64],
        now_ms: int,
        *,
        faults: Mapping[int, str],
        changed: Flags | None = None,
    ) -> list[Change]:
        """Judge the fleet's newest values; every health that is now another one, reasons included.

        ``values`` is (rows, slots) in base units with NaN for absent, ``rows`` maps a catalogue id
        to its row, ``tick_ms`` is the time of each slot's sample, 0 where there is none. A slot
        with the tick of the update before has no new sample and is judged by its last one;
        ``changed`` may narrow down where to look for new ones. ``faults`` are those of now,
        ``now_ms`` is the hub's clock. Slots past the end of ``values`` wait for the next update.
        """
        slots = values.shape[1]
        self._grow(slots)
        fresh = self._known[:slots] & (tick_ms != self._tick_ms[:slots]) & (tick_ms != _NO_TICK)
        if changed is not None:
            fresh &= changed
        self._note_read(values, rows, fresh)
        judged = set(np.flatnonzero(fresh & self._prefilter.off_nominal(values, rows)).tolist())
        remembered = self._extras.keys() | self._histories.keys()
        for slot in remembered | faults.keys() | self._faults.keys() | self._touched:
            here = slot in self._gpus and slot < slots
            if here and (fresh[slot] or self._due(slot, faults, now_ms)):
                judged.add(slot)
        self._note_resets(fresh, self._prefilter.restarted(values, rows), tick_ms)
        changes = self._judge(sorted(judged), values, rows, tick_ms, now_ms, faults, fresh)

        calm = fresh & self._read[:slots] & (self._levels[:slots] != 0)
        for slot in np.flatnonzero(calm).tolist():
            if slot not in judged:
                self._samples.pop(slot, None)
                self._set(slot, HEALTHY, changes)
        self._prefilter.remember(values, rows, fresh)
        np.copyto(self._tick_ms[:slots], tick_ms, where=fresh)
        self._touched.difference_update(judged)
        self._faults = dict(faults)
        return changes

    def _judge(
        self,
        slots: list[int],
        values: Floats,
        rows: Mapping[int, int],
        tick_ms: NDArray[np.int64],
        now_ms: int,
        faults: Mapping[int, str],
        fresh: Flags,
    ) -> list[Change]:
        changes: list[Change] = []
        inputs = [(name, rows[id_]) for name, id_ in _INPUT_IDS if id_ in rows]
        names = [name for name, _ in inputs]
        where = np.array([row for _, row in inputs], np.intp), np.array(slots, np.intp)
        columns = values[np.ix_(*where)].T.tolist()
        for slot, column in zip(slots, columns, strict=True):
            newest = {name: v for name, v in zip(names, column, strict=True) if v == v}
            try:
                self._judge_one(
                    slot,
                    newest,
                    int(tick_ms[slot]),
                    now_ms,
                    fault=faults.get(slot),
                    fresh=bool(fresh[slot]),
                    changes=changes,
                )
            except Exception:  # one GPU's odd facts shall not end the judging of all others
                self._judged_ms[slot] = now_ms
                if slot not in self._unjudged:
                    self._unjudged.add(slot)
                    _log.exception("a GPU cannot be judged %s", said(gpu=self._gpus[slot].key))
        return changes

    def _judge_one(
        self,
        slot: int,
        newest: Values,
        tick_ms: int,
        now_ms: int,
        *,
        fault: str | None,
        fresh: bool,
        changes: list[Change],
    ) -> None:
        gpu = self._gpus[slot]
        extras = self._extras.get(slot, NO_EXTRAS)
        sample = self._samples.get(slot)
        if sample is None or fresh:
            sample = newest
        history = note_fault(self._history(slot), fault, now_ms)
        if fresh:
            history = observe(
                history,
                gpu.facts,
                sample,
                tick_ms,
                max_gap_ms=max(3 * gpu.interval_ms, limits.MAX_GAP_MS),
                extras=extras,
            )
        if extras.nvlinks_up is None:
            self._links_down.pop(slot, None)
        else:
            self._links_down[slot] = bool(links_down(history, extras))
        if self._read[slot] and not history.ever_read:
            history = replace(history, ever_read=True)
        history = expired(history, now_ms)
        health = assess(
            gpu.facts,
            sample,
            fault,
            history,
            now_ms,
            interval_ms=gpu.interval_ms,
            extras=extras,
        )
        if history.open:
            self._histories[slot] = history
            self._judged_ms[slot] = now_ms
        else:
            self._histories.pop(slot, None)
            self._judged_ms.pop(slot, None)
        self._reset_ms[slot] = history.reset_ms or _NO_TICK
        if history.open or health.level:
            self._samples[slot] = sample
        else:
            self._samples.pop(slot, None)
        self._set(slot, health, changes)

    def _set(self, slot: int, health: Health, changes: list[Change]) -> None:
        before = self.health(slot)
        if health == before:
            return
        self._levels[slot] = np.nan if health.level is None else health.level
        if health.level:
            self._sick[slot] = health
        else:
            self._sick.pop(slot, None)
        changes.append((slot, before, health))

    def _due(self, slot: int, faults: Mapping[int, str], now_ms: int) -> bool:
        if slot in self._touched or faults.get(slot) != self._faults.get(slot):
            return True
        judged_ms = self._judged_ms.get(slot)
        return judged_ms is not None and abs(now_ms - judged_ms) >= _DUE_MS

    def _note_read(self, values: Floats, rows: Mapping[int, int], fresh: Flags) -> None:
        unread = np.flatnonzero(fresh & ~self._read[: len(fresh)])
        if len(unread):
            theirs = np.array([row for id_, row in rows.items() if id_ not in _FROM_HUB], np.intp)
            self._read[unread] = ~np.isnan(values[np.ix_(theirs, unread)]).all(axis=0)

    def _note_resets(self, fresh: Flags, restarted: Flags, tick_ms: NDArray[np.int64]) -> None:
        """Keep when GPUs were reset, of which nothing else is remembered."""
        slots = len(fresh)
        set_back = fresh & (tick_ms < self._tick_ms[:slots])
        self._reset_ms[:slots][set_back] = _NO_TICK
        np.copyto(self._reset_ms[:slots], tick_ms, where=fresh & restarted)

    def _history(self, slot: int) -> HealthHistory:
        self._check(slot)
        history = self._histories.get(slot)
        if history is not None:
            return history
        return resumed(
            int(self._tick_ms[slot]) or None,
            bool(self._read[slot]),
            reset_ms=int(self._reset_ms[slot]) or None,
            **self._prefilter.counters(slot),
        )

    def _keep(self, slot: int, history: HealthHistory) -> None:
        self._check(slot)
        self._histories[slot] = history
        self._touched.add(slot)

    def _check(self, slot: int) -> None:
        if slot not in self._gpus:
            raise KeyError(f"no GPU in slot {slot}")

    def _grow(self, slots: int) -> None:
        more = slots - len(self._known)
        if more <= 0:
            return
        self._prefilter.grow(slots)
        self._levels = np.append(self._levels, np.full(more, np.nan))
        self._known = np.append(self._known, np.zeros(more, np.bool_))
        self._read = np.append(self._read, np.zeros(more, np.bool_))
        self._tick_ms = np.append(self._tick_ms, np.full(more, _NO_TICK, np.int64))
        self._reset_ms = np.append(self._reset_ms, np.full(more, _NO_TICK, np.int64))
