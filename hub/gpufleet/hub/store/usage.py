"""Writes and sums up who held which GPUs: ``process_usage``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, select

from gpufleet.hub.store.bulk import upsert_rows
from gpufleet.hub.store.errors import HistoryError
from gpufleet.hub.store.grid import hour_of
from gpufleet.hub.store.history import check_range
from gpufleet.hub.store.tables import nodes, process_usage, subjects
from gpufleet.hub.usage import UsageRow

MAX_ROWS = 10_000


class UsageBy(Enum):
    """What usage is summed up by."""

    USER = "user"
    JOB = "job"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Usage:
    """One user's, job's or node's part; ``None``: not known of any of it.

    ``name`` is ``None`` for processes whose user or job is not known. Times are GPU-seconds: held,
    of these with a known utilisation, used (weighted by utilisation), and held of MIG devices.
    """

    name: str | None
    users: int
    gpus: int
    held_seconds: float
    measured_seconds: float
    used_seconds: float | None
    mig_held_seconds: float
    energy_joules: float | None
    memory_peak_bytes: int | None


def write_usage(connection: Connection, rows: Sequence[UsageRow]) -> None:
    """Write rows whole, in place of those that this run of the hub wrote before."""
    upsert_rows(connection, process_usage, [astuple(row) for row in rows])


def query_usage(
    connection: Connection,
    by: UsageBy,
    start_ms: int,
    end_ms: int,
    *,
    node_ids: Collection[int] | None = None,
    limit: int = 1000,
) -> list[Usage]:
    """Usage in the whole hours that [start, end) touches, who held most first.

    HistoryError says why there is no answer.
    """
    check_range(start_ms, end_ms, 1)
    if not 1 <= limit <= MAX_ROWS:
        raise HistoryError(f"limit must be between 1 and {MAX_ROWS}, not {limit}.")
    of = process_usage.c
    gpu = subjects.c.kind == "gpu"
    columns: dict[UsageBy, ColumnElement[Any]] = {
        UsageBy.USER: of.user_name,
        UsageBy.JOB: of.job,
        UsageBy.NODE: nodes.c.name,
    }
    name = columns[by]
    held = func.sum(case((gpu, of.held_seconds), else_=0.0))
    mig = func.sum(case((gpu, 0.0), else_=of.held_seconds))
    query = (
        select(
            name.label("name"),
            func.count(func.distinct(of.user_name)).label("users"),
            func.count(func.distinct(of.subject_id)).label("gpus"),
            held.label("held_seconds"),
            func.sum(case((gpu, of.measured_seconds), else_=0.0)).label("measured_seconds"),
            func.sum(case((gpu, of.used_seconds))).label("used_seconds"),
            mig.label("mig_held_seconds"),
            func.sum(of.energy_joules).label("energy_joules"),
            func.max(of.memory_bytes).label("memory_peak_bytes"),
        )
        .select_from(
            subjects.join(process_usage, of.subject_id == subjects.c.id).join(
                nodes, nodes.c.id == of.node_id
            )
        )
        .where(and_(of.start >= hour_of(start_ms), of.start < end_ms))
        .group_by(name)
        .order_by((held + mig).desc(), name)
        .limit(limit)
    )
    if node_ids is not None:
        query = query.where(of.node_id.in_(sorted(node_ids)))
    return [
        Usage(
            name=row.name or None,
            users=row.users,
            gpus=row.gpus,
            held_seconds=row.held_seconds,
            measured_seconds=row.measured_seconds,
            used_seconds=row.used_seconds,
            mig_held_seconds=row.mig_held_seconds,
            energy_joules=row.energy_joules,
            memory_peak_bytes=row.memory_peak_bytes,
        )
        for row in connection.execute(query)
    ]
