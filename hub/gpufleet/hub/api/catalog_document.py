"""The metric catalogue as a document: a client knows every metric without having been told."""

from __future__ import annotations

from typing import Any

from gpufleet.hub.api.gpu_list import VALUE_WORDS
from gpufleet.hub.api.values import whole
from gpufleet.proto.catalog import Metric, SubjectKind, metrics


def catalog_document() -> dict[str, Any]:
    """Every metric."""
    return {"metrics": [metric_document(metric) for metric in metrics()]}


def metric_document(metric: Metric) -> dict[str, Any]:
    """One metric as the catalogue tells it."""
    words = VALUE_WORDS.get(metric.name)
    return {
        "id": metric.id,
        "name": metric.name,
        "kind": metric.kind.value,
        "unit": metric.unit,
        "resolution": whole(metric.multiplier / metric.divisor),
        "subjects": sorted(kind.value for kind in metric.subjects),
        "source": metric.source.value,
        "rollup": metric.rollup,
        "help": metric.help,
        "prometheus": {
            kind.value: metric.prometheus(kind)
            for kind in SubjectKind
            if kind in metric.subjects and metric.kind.value != "bits"
        },
        "dcgm": metric.dcgm or None,
        "words": None if words is None else dict(words),
    }
