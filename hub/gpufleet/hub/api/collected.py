"""Answers from a document that an agent collected on demand, in the forms of the streamed ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpufleet.hub.api.exposition_text import escape, head, samples
from gpufleet.proto.catalog import THROTTLE_REASONS, Kind, SubjectKind, metrics


def collected_gpu(document: Mapping[str, Any], uuid: str) -> dict[str, Any] | None:
    """One GPU or MIG device of a snapshot document, ``None`` if it is not in there."""
    for gpu in document["gpus"]:
        for entry in (gpu, *gpu.get("mig", ())):
            if entry.get("uuid") == uuid:
                return {
                    **entry,
                    "node": document.get("node"),
                    "method": document.get("method"),
                    "stale": False,
                    "sample_time": document.get("time"),
                }
    return None


def collected_list(document: Mapping[str, Any]) -> dict[str, Any]:
    """The GPUs of a snapshot document as ``/gpu/list`` has them."""
    names = ("uuid", "index", "name")
    gpus = [{name: gpu.get(name) for name in names} for gpu in document["gpus"]]
    for gpu in gpus:
        gpu["node"] = document.get("node")
    return {"time": document.get("time"), "gpus": gpus}


def collected_metrics(document: Mapping[str, Any]) -> bytes:
    """The metrics of a snapshot document in the Prometheus text format."""
    node = str(document.get("node", ""))
    gpus = [gpu for gpu in document["gpus"] if isinstance(gpu.get("dynamic"), dict)]
    labels = [
        f'node="{escape(node)}",gpu="{gpu.get("index")}",'
        f'gpu_uuid="{escape(str(gpu.get("uuid")))}",gpu_name="{escape(str(gpu.get("name")))}"'
        for gpu in gpus
    ]
    parts: list[bytes] = []
    for metric in metrics(SubjectKind.GPU):
        values = [gpu["dynamic"].get(metric.name) for gpu in gpus]
        if metric.kind is Kind.BITS:
            parts += _throttle(labels, values)
            continue
        pairs = [
            (label, repr(value))
            for label, value in zip(labels, values, strict=True)
            if isinstance(value, int | float)
        ]
        if pairs:
            name = metric.prometheus(SubjectKind.GPU)
            kind = "counter" if metric.kind is Kind.COUNTER else "gauge"
            parts.append(head(name, kind, metric.help))
            parts.append(samples(name, [p[0] for p in pairs], [p[1] for p in pairs]))
            parts.append(b"\n")
    return b"".join(parts)


def _throttle(labels: list[str], values: list[Any]) -> list[bytes]:
    known = [
        (of, set(value)) for of, value in zip(labels, values, strict=True) if value is not None
    ]
    if not known:
        return []
    name = "gpufleet_gpu_throttle_active"
    parts = [head(name, "gauge", "1 while this holds the clocks back (nvmlClocksEventReason*).")]
    for reason in THROTTLE_REASONS.values():
        active = ["1" if reason in reasons else "0" for _, reasons in known]
        parts.append(samples(name, [of for of, _ in known], active, f',reason="{reason}"'))
    return [*parts, b"\n"]
