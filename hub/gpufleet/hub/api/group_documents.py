"""Groups of GPUs over time: what is asked for, and how the answer is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpufleet.hub.api.problem import Problem
from gpufleet.hub.api.table import Table
from gpufleet.hub.api.times import format_ms
from gpufleet.hub.api.values import numbers, short
from gpufleet.hub.store.groups import By, Groups, GroupSeries
from gpufleet.hub.views import SubjectView
from gpufleet.proto.catalog import Metric

_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


def grouping(text: str) -> tuple[By, str]:
    """What to group by, and the label's name where it is one; a Problem for anything else."""
    name, dot, label = text.partition(".")
    if name == "label" and _LABEL.fullmatch(label):
        return By.LABEL, label
    if dot or name not in ("fleet", "node", "model", "gpu"):
        detail = (
            f"group_by is fleet, node, model, gpu or label.NAME (such as label.rack),"
            f" not {text[:60]!r}."
        )
        raise Problem(400, detail, parameter="group_by")
    return By(name), ""


def most_groups(table: Table, by: By, label: str, subjects: Sequence[SubjectView] | None) -> int:
    """How many groups the answer will have, as the fleet is now; at least 1."""
    of = table.gpus.subjects if subjects is None else subjects
    if by is By.FLEET:
        return 1
    if by is By.LABEL:
        nodes = table.snapshot.nodes
        found = {nodes[s.node].labels.get(label) for s in of if s.node in nodes}
        return max(1, len(found))
    names = {By.GPU: "key", By.NODE: "node", By.MODEL: "name"}
    return max(1, len({getattr(subject, names[by]) for subject in of}))


def group_history_document(
    group_by: str, start_ms: int, end_ms: int, grouped: Sequence[Groups]
) -> dict[str, Any]:
    """Metrics of the same groups in one document, group by group."""
    names: dict[str | None, dict[str, Any]] = {}
    for groups in grouped:
        for series in groups.series:
            of = names.setdefault(series.group, {"group": series.group, "series": {}})
            of["series"][groups.metric.name] = _series_document(groups, series)
    ordered = sorted(names, key=lambda name: (name is None, name or ""))
    return {
        "start": format_ms(start_ms),
        "end": format_ms(end_ms),
        "step_seconds": grouped[0].step_ms / 1000,
        "source": grouped[0].source.name.lower(),
        "group_by": group_by,
        "groups": [names[name] for name in ordered],
    }


def _series_document(groups: Groups, series: GroupSeries) -> dict[str, Any]:
    filled = np.flatnonzero(series.n)
    document: dict[str, Any] = {
        "unit": groups.metric.unit,
        "kind": groups.metric.kind.value,
        "time": [format_ms(moment) for moment in groups.times_ms[filled].tolist()],
        "n": series.n[filled].tolist(),
        "gpus": series.subjects[filled].tolist(),
    }
    for name, column in series.columns.items():
        document[name] = group_values(groups.metric, name, column[filled])
    return document


def group_values(metric: Metric, column: str, values: Any) -> list[Any]:
    """Values of one column of a group; means keep a little more than the metric's resolution."""
    if column in ("avg", "sum", "active_seconds"):
        return [short(metric, value) for value in values.tolist()]
    return numbers(metric, values)
