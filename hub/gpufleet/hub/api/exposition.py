"""The Prometheus exposition of a whole fleet: quarter of a million lines in a blink.

Labels of a subject are made once and kept; a family is then one join of a list. A series' labels
never carry what changes while the subject lives (health, fault), so that a change of these never
begins a new series of anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gpufleet.hub.api.exposition_alerts import alert_series
from gpufleet.hub.api.exposition_state import InfoLabels, gpu_state, node_state, user_state
from gpufleet.hub.api.exposition_text import Numerals, escape, head, samples
from gpufleet.hub.api.table import Group, Table
from gpufleet.hub.api.values import numbers
from gpufleet.hub.views import NodeView, SubjectView
from gpufleet.proto.catalog import (
    THROTTLE_REASONS,
    Kind,
    SubjectKind,
    metrics,
    throttle_reason_names,
)


class Exposition:
    """Renders tables; keeps the texts of labels from one to the next."""

    def __init__(self) -> None:
        self._labels: dict[tuple[Any, ...], str] = {}
        self._info = InfoLabels()
        self._numerals = Numerals()

    def render(self, table: Table, node: str | None = None, *, gpus_only: bool = False) -> bytes:
        """``parts`` in one."""
        return b"".join(self.parts(table, node, gpus_only=gpus_only))

    def parts(
        self, table: Table, node: str | None = None, *, gpus_only: bool = False
    ) -> Iterator[bytes]:
        """The exposition of the fleet or of one node; with ``gpus_only`` its GPUs' part.

        In parts, since the whole of a large fleet is tens of megabytes.
        """
        groups = {kind: table.group(kind) for kind in SubjectKind}
        nodes: Sequence[NodeView] = list(table.snapshot.nodes.values())
        if node is not None:
            groups = {kind: group.of_node(node) for kind, group in groups.items()}
            nodes = [view for view in nodes if view.name == node]
        most = 4 * len(table.snapshot.subjects) + 1000
        if len(self._labels) > most:
            self._labels = {}
        self._info.forget_beyond(most)
        gpus = groups[SubjectKind.GPU]
        labels = [self._gpu_labels(subject) for subject in gpus.subjects]
        yield from self._catalogue(table, SubjectKind.GPU, gpus, labels)
        yield from gpu_state(table, gpus, labels, self._info)
        if gpus_only:
            return
        mig = groups[SubjectKind.MIG]
        mig_labels = [self._mig_labels(table, subject) for subject in mig.subjects]
        yield from self._catalogue(table, SubjectKind.MIG, mig, mig_labels)
        own = groups[SubjectKind.NODE]
        own_labels = [f'node="{escape(subject.key)}"' for subject in own.subjects]
        yield from self._catalogue(table, SubjectKind.NODE, own, own_labels)
        yield from node_state(table, nodes)
        yield from user_state(table, nodes)
        yield from alert_series(table, node)

    def _gpu_labels(self, gpu: SubjectView) -> str:
        key = (gpu.node, gpu.index, gpu.key, gpu.name)
        labels = self._labels.get(key)
        if labels is None:
            labels = (
                f'node="{escape(gpu.node)}",gpu="{gpu.index}",'
                f'gpu_uuid="{escape(gpu.key)}",gpu_name="{escape(gpu.name)}"'
            )
            self._labels[key] = labels
        return labels

    def _mig_labels(self, table: Table, device: SubjectView) -> str:
        slot = table.snapshot.slots.get(device.parent)
        parent = None if slot is None else table.snapshot.subjects[slot]
        own = (
            f'mig="{device.index}",mig_uuid="{escape(device.key)}",mig_name="{escape(device.name)}"'
        )
        if parent is None:
            return f'node="{escape(device.node)}",gpu_uuid="{escape(device.parent)}",{own}'
        return f"{self._gpu_labels(parent)},{own}"

    def _catalogue(
        self, table: Table, kind: SubjectKind, group: Group, labels: Sequence[str]
    ) -> Iterator[bytes]:
        """Every metric of the catalogue that some subject has, but for health, which stays."""
        for metric in metrics(kind):
            if metric.name == "health":
                continue
            column = group.column(table.snapshot, metric)
            present = np.isfinite(column)
            if not present.any():
                continue
            having = labels
            if not present.all():
                where = np.flatnonzero(present)
                column = column[where]
                having = [labels[i] for i in where.tolist()]
            if metric.kind is Kind.BITS:
                yield from _throttle(kind, column.tolist(), having)
                continue
            name = metric.prometheus(kind)
            yield head(name, "counter" if metric.kind is Kind.COUNTER else "gauge", metric.help)
            text = self._numerals.__getitem__ if metric.unit == "ratio" else repr
            yield samples(name, having, map(text, numbers(metric, column)))
            yield b"\n"


def _throttle(kind: SubjectKind, column: Sequence[float], labels: Sequence[str]) -> Iterator[bytes]:
    """A series for every reason known, 0 or 1; one for any other while it is set."""
    name = f"gpufleet_{kind.value}_throttle_active"
    yield head(name, "gauge", "1 while this holds the clocks back (nvmlClocksEventReason*).")
    masks = [int(bits) % (1 << 64) for bits in column]
    for bit, reason in THROTTLE_REASONS.items():
        active = ["1" if mask & bit else "0" for mask in masks]
        yield samples(name, labels, active, f',reason="{reason}"')
    known = sum(THROTTLE_REASONS)
    for of, mask in zip(labels, masks, strict=True):
        for reason in throttle_reason_names(mask & ~known):
            yield samples(name, [of], ["1"], f',reason="{reason}"')
    yield b"\n"
