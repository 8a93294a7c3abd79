"""What rules would have fired on stored history: the engine over samples, some nodes at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select

from gpufleet.alerting.engine.engine import Engine
from gpufleet.alerting.engine.machine import MAX_GAP_MS
from gpufleet.alerting.engine.power_watch import METRICS
from gpufleet.alerting.engine.running import Subject, Transition
from gpufleet.alerting.frozen import METRICS as FROZEN_METRICS
from gpufleet.alerting.rules.rule import Rule, RuleSet
from gpufleet.alerting.rules.schema import Schema
from gpufleet.alerting.rules.tree import SAMPLED_FLAGS, Bit, Fact, Flag, Value, Window, Xid, parts
from gpufleet.alerting.state import OPEN, Kind, Scope, State
from gpufleet.hub.alert_names import JOB_COUNT, PROCESS_COUNT, alert_schema
from gpufleet.hub.store.chunk import Chunk
from gpufleet.hub.store.database import Database
from gpufleet.hub.store.registry import SubjectRecord, load_nodes, load_subjects
from gpufleet.hub.store.samples import read_samples
from gpufleet.hub.store.tables import HOUR_MS, samples
from gpufleet.proto.catalog import BY_ID, BY_NAME

NODES_AT_ONCE = 16
"""So many nodes' hour is in memory: of 8 GPUs and 15 metrics at 1 s some 60 MiB."""
ENDS = (Kind.RESOLVED, Kind.CLOSED)

_USED, _TOTAL, _RATIO = (
    BY_NAME[name].id for name in ("memory_used_bytes", "memory_total_bytes", "memory_used_ratio")
)


@dataclass(frozen=True, slots=True)
class Episode:
    """One firing that would have been. ``end_ms`` None: it had not ended at the end of the range.

    ``no_data``: nobody knows whether it had, since samples had stopped.
    """

    rule: Rule
    node: str
    gpu_index: int
    key: str
    since_ms: int
    fired_ms: int
    end_ms: int | None
    no_data: bool
    peak: float | None
    threshold: float | None


def tested_and_not(rules: RuleSet) -> tuple[list[Rule], list[Rule]]:
    """Rules that history can answer, and those on what only a running hub knows."""
    schema = alert_schema()
    enabled = [rule for rule in rules.rules if rule.enabled]
    tested = [rule for rule in enabled if rule.by_samples(schema) and _in_history(rule, schema)]
    return tested, [rule for rule in enabled if rule not in tested]


def _in_history(rule: Rule, schema: Schema) -> bool:
    found = parts(rule.condition) + (parts(rule.clear) if rule.clear is not None else [])
    for part in found:
        match part:
            case Xid():
                return False
            case Flag(name) if name not in SAMPLED_FLAGS:
                return False
            case Value(name) | Window(_, name, _) if schema.metrics[name].hub:
                return False
            case Fact(name) if name in (PROCESS_COUNT, JOB_COUNT):
                return False
            case _:
                pass
    return True


def oldest_ms(database: Database) -> int | None:
    """Since when there is history; ``None``: there is none."""
    with database.reading() as connection:
        found: int | None = connection.execute(select(func.min(samples.c.start))).scalar()
    return found


def backtest(database: Database, rules: RuleSet, start_ms: int, end_ms: int) -> Iterator[Episode]:
    """Episodes of all nodes in [start, end), node by node; StoreError as the store has them."""
    tested, _ = tested_and_not(rules)
    with database.reading() as connection:
        nodes = {record.id: record.node for record in load_nodes(connection)}
        subjects = [s for s in load_subjects(connection) if s.node_id in nodes]
    by_node: dict[int, list[SubjectRecord]] = {}
    for subject in subjects:
        by_node.setdefault(subject.node_id, []).append(subject)
    ordered = sorted(by_node, key=lambda node_id: nodes[node_id].name)
    for first in range(0, len(ordered), NODES_AT_ONCE):
        some = [s for node_id in ordered[first : first + NODES_AT_ONCE] for s in by_node[node_id]]
        engine = Engine(RuleSet(tuple(tested)), alert_schema(), max(1, len(some)))
        for slot, record in enumerate(some):
            node = nodes[record.node_id]
            engine.set_subject(
                slot,
                Subject(
                    Scope(record.kind),
                    record.key,
                    node.name,
                    record.name,
                    node.labels,
                    record.facts,
                    node.interval_ms,
                ),
            )
        yield from _run(database, engine, some, start_ms, end_ms)


def _run(
    database: Database,
    engine: Engine,
    subjects: Sequence[SubjectRecord],
    start_ms: int,
    end_ms: int,
) -> Iterator[Episode]:
    metric_ids = _metric_ids(engine)
    values = np.full((len(alert_schema().metrics), engine.world.capacity), np.nan)
    open_now: dict[tuple[str, int], Transition] = {}
    hour = start_ms // HOUR_MS * HOUR_MS
    while hour < end_ms:
        low, high = max(hour, start_ms), min(hour + HOUR_MS, end_ms)
        with database.reading() as connection:
            chunks = [
                read_samples(connection, subject.id, low, high, metric_ids) for subject in subjects
            ]
        for transition in _hour(engine, chunks, metric_ids, values):
            key = (transition.rule.name, transition.slot)
            if transition.kind is Kind.FIRED:
                open_now[key] = transition
            elif transition.kind in ENDS and key in open_now:
                del open_now[key]
                yield _episode(engine, subjects, transition, transition.time_ms)
        hour += HOUR_MS
    for transition in open_now.values():
        last = next(
            s
            for rule, slot, s in engine.standings()
            if rule.name == transition.rule.name and slot == transition.slot
        )
        assert last.alert.state in OPEN
        ended = Transition(transition.rule, transition.slot, Kind.FIRED, 0, last)
        silent = last.alert.state is State.NO_DATA or end_ms - last.alert.last_ms > MAX_GAP_MS
        yield _episode(engine, subjects, ended, None, no_data=silent)


def _hour(
    engine: Engine,
    chunks: Sequence[Chunk],
    metric_ids: Sequence[int],
    values: NDArray[np.float64],
) -> Iterator[Transition]:
    """An hour's ticks in order, every subject that has one together."""
    ticks = np.unique(np.concatenate([chunk.ticks for chunk in chunks]))
    if not len(ticks):
        return
    present = np.zeros((len(ticks), len(chunks)), np.bool_)
    rows = [list(BY_NAME).index(BY_ID[metric_id].name) for metric_id in metric_ids]
    laid = np.full((len(metric_ids), len(ticks), len(chunks)), np.nan)
    for slot, chunk in enumerate(chunks):
        places = np.searchsorted(ticks, chunk.ticks)
        present[places, slot] = True
        for number, metric_id in enumerate(metric_ids):
            column = chunk.columns.get(metric_id)
            if column is not None:
                metric = BY_ID[metric_id]
                scaled = column.values * (metric.multiplier / metric.divisor)
                if column.present is not None:
                    scaled = np.where(column.present, scaled, np.nan)
                laid[number, places, slot] = scaled
    width = len(chunks)
    names = list(BY_NAME)
    used, total, ratio = (names.index(BY_ID[i].name) for i in (_USED, _TOTAL, _RATIO))
    for place, tick in enumerate(ticks.tolist()):
        slots = np.flatnonzero(present[place])
        values[np.array(rows), :width] = laid[:, place, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            values[ratio, :width] = values[used, :width] / values[total, :width]
        count = len(slots)
        yield from engine.step_samples(
            slots, np.ones(count, np.int64), np.full(count, tick, np.int64), values
        )


def _metric_ids(engine: Engine) -> list[int]:
    names = set(METRICS) if engine.power.wanted else set()
    names |= set(FROZEN_METRICS) if engine.frozen.wanted else set()
    for rule in engine.rules.rules:
        for condition in (rule.condition, *([rule.clear] if rule.clear else [])):
            for part in parts(condition):
                match part:
                    case Value(name) | Bit(name, _) | Window(_, name, _):
                        names.add(name)
                    case _:
                        pass
    ids = {BY_NAME[name].id for name in names}
    if _RATIO in ids:
        ids = (ids - {_RATIO}) | {_USED, _TOTAL}
    return sorted(ids)


def _episode(
    engine: Engine,
    subjects: Sequence[SubjectRecord],
    transition: Transition,
    end_ms: int | None,
    *,
    no_data: bool = False,
) -> Episode:
    standing, record = transition.standing, subjects[transition.slot]
    return Episode(
        transition.rule,
        engine.subjects[transition.slot].node,
        record.index,
        record.key,
        standing.alert.since_ms,
        standing.alert.fired_ms,
        end_ms,
        no_data,
        standing.peak,
        standing.threshold,
    )
