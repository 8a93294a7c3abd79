"""Fills the rules' windows from stored samples when a hub begins its turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpufleet.alerting.engine.engine import Engine
from gpufleet.alerting.engine.power_watch import METRICS
from gpufleet.alerting.rules.tree import Bit, Share, Value, Was, Window, parts
from gpufleet.hub.fleet import Fleet
from gpufleet.hub.store.chunk import Chunk
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.samples import read_samples
from gpufleet.proto.catalog import BY_ID, BY_NAME

_USED, _TOTAL, _RATIO = (
    BY_NAME[name].id for name in ("memory_used_bytes", "memory_total_bytes", "memory_used_ratio")
)


def refill(engine: Engine, fleet: Fleet, database: Database, now_ms: int) -> int:
    """Feed the engine what the last window holds of every subject; returns how many samples."""
    window_ms = engine.longest_window_ms()
    metric_ids = _wanted(engine)
    if not window_ms or not metric_ids:
        return 0
    by_tick: dict[int, list[tuple[int, Chunk, int]]] = {}
    with database.reading() as connection:
        for slot, subject in engine.subjects.items():
            view = fleet.subjects[slot]
            if view is None or subject.kind.value == "node":
                continue
            chunk = read_samples(connection, view.subject_id, now_ms - window_ms, now_ms)
            for place, tick in enumerate(chunk.ticks.tolist()):
                by_tick.setdefault(tick, []).append((slot, chunk, place))
    values = np.full(fleet.values.shape, np.nan)
    for tick in sorted(by_tick):
        samples = by_tick[tick]
        slots = np.array([slot for slot, _, _ in samples], np.int64)
        for metric_id in metric_ids:
            _lay(values, fleet.rows[metric_id], metric_id, samples)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = values[fleet.rows[_USED], slots] / values[fleet.rows[_TOTAL], slots]
        values[fleet.rows[_RATIO], slots] = np.where(np.isfinite(ratio), ratio, np.nan)
        engine.refill(slots, np.full(len(slots), tick, np.int64), values)
    return sum(map(len, by_tick.values()))


def _wanted(engine: Engine) -> list[int]:
    """Catalogue ids of what the windows and latches of the rules are made of."""
    names: set[str] = set()
    for rule in engine.rules.rules:
        for part in parts(rule.condition):
            if isinstance(part, Window):
                names.add(part.metric)
            elif isinstance(part, Share | Was):
                for inner in parts(part):
                    if isinstance(inner, Value):
                        names.add(inner.name)
                    elif isinstance(inner, Bit):
                        names.add(inner.metric)
    if engine.power.wanted:
        names.update(METRICS)
    ids = {BY_NAME[name].id for name in names}
    if _RATIO in ids:
        ids |= {_USED, _TOTAL}
    return sorted(ids - {_RATIO})


def _lay(
    values: NDArray[np.float64],
    row: int,
    metric_id: int,
    samples: list[tuple[int, Chunk, int]],
) -> None:
    for slot, chunk, place in samples:
        column = chunk.columns.get(metric_id)
        if column is None or (column.present is not None and not column.present[place]):
            values[row, slot] = np.nan
        else:
            values[row, slot] = BY_ID[metric_id].value(int(column.values[place]))
