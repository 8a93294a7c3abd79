"""Metrics over time as documents: samples and buckets told column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpufleet.hub.api.times import format_ms
from gpufleet.hub.api.values import bit_names, numbers, short
from gpufleet.hub.store.history import History, Series
from gpufleet.hub.views import SubjectView


def head(history: History) -> dict[str, Any]:
    """The range, what answered, and how wide its buckets are."""
    return {
        "start": format_ms(history.start_ms),
        "end": format_ms(history.end_ms),
        "step_seconds": history.step_ms / 1000,
        "raw": history.raw,
        "source": history.source.name.lower(),
    }


def histories_document(
    subjects: Sequence[SubjectView], history: History, metrics: int
) -> dict[str, Any]:
    """Several GPUs in one document; the series come GPU by GPU, as they were asked for."""
    return {
        **head(history),
        "gpus": [
            {
                "uuid": subject.key,
                "node": subject.node,
                "index": subject.index,
                "name": subject.name,
                "series": series_documents(history.series[at * metrics : (at + 1) * metrics]),
            }
            for at, subject in enumerate(subjects)
        ],
    }


def series_documents(series: Sequence[Series]) -> dict[str, Any]:
    """Each series by the name of its metric."""
    return {one.metric.name: _series_document(one) for one in series}


def _series_document(series: Series) -> dict[str, Any]:
    """One series column by column, without buckets that hold no sample."""
    points, metric = series.points, series.metric
    filled = np.flatnonzero(points.n)
    document: dict[str, Any] = {
        "unit": metric.unit,
        "kind": metric.kind.value,
        "time": [format_ms(moment) for moment in points.times_ms[filled].tolist()],
        "n": points.n[filled].tolist(),
    }
    for name, column in points.columns.items():
        values = column[filled]
        if name == "bits":
            document[name] = [bit_names(bits) for bits in values.tolist()]
        elif name in ("avg", "active_seconds"):
            document[name] = [short(metric, v) for v in values.tolist()]
        else:
            document[name] = numbers(metric, values)
    return document
