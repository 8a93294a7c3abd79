"""The fleet under dcgm-exporter's names, labels and units, so that dashboards made for it work.

Names and types are those of dcgm-exporter's default counters. What there is a rate (PCIe and NVLink
bytes a second) is left out: here these are counters, under other names in /metrics. MIG devices are
left out too: the exporter's labels for them name instances that not every collector tells.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gpufleet.hub.api.exposition_text import escape, head, samples
from gpufleet.hub.api.table import Group, Table
from gpufleet.hub.views import SubjectView
from gpufleet.proto.catalog import BY_NAME, Kind, Metric, SubjectKind, metrics

XID = "DCGM_FI_DEV_XID_ERRORS"
POWER = "DCGM_FI_DEV_POWER_USAGE"
MIB = 1 << 20
RATES = frozenset(
    {
        "DCGM_FI_PROF_PCIE_RX_BYTES",
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        "DCGM_FI_PROF_NVLINK_RX_BYTES",
        "DCGM_FI_PROF_NVLINK_TX_BYTES",
    }
)
COUNTED = frozenset(
    {"DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS"}
)
"""Counters there, gauges here."""


def in_dcgm_units(metric: Metric, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values in base units as dcgm-exporter has them: %, MiB, MHz, mJ, ns; whole where DCGM's are.

    Profiling ratios stay between 0 and 1.
    """
    if metric.dcgm.startswith("DCGM_FI_PROF_"):
        return values
    if metric.unit == "ratio":
        return np.rint(values * 100)
    if metric.unit == "bytes":
        return np.floor(values / MIB)
    if metric.unit == "hertz":
        return np.rint(values / 1_000_000)
    if metric.unit == "joules":
        return np.rint(values * 1000)
    if metric.unit == "seconds":
        return np.rint(values * 1_000_000_000)
    return values


class DcgmExposition:
    """Renders tables; keeps the texts of labels from one to the next."""

    def __init__(self) -> None:
        self._labels: dict[tuple[object, ...], str] = {}

    def parts(self, table: Table, node: str | None = None) -> Iterator[bytes]:
        """The exposition of every fresh GPU, or of one node's, in parts."""
        group = table.group(SubjectKind.GPU)
        if node is not None:
            group = group.of_node(node)
        if len(self._labels) > 4 * len(group.subjects) + 1000:
            self._labels = {}
        labels = [self._of(table, gpu) for gpu in group.subjects]
        for metric in metrics(SubjectKind.GPU):
            if not metric.dcgm or metric.dcgm in RATES:
                continue
            column = group.column(table.snapshot, metric)
            if metric.dcgm == POWER:  # older drivers tell only the one or the other
                own = group.column(table.snapshot, BY_NAME["power_watts"])
                column = np.where(np.isfinite(column), column, own)
            where = np.flatnonzero(np.isfinite(column))
            if not len(where):
                continue
            counter = metric.kind is Kind.COUNTER or metric.dcgm in COUNTED
            values = in_dcgm_units(metric, column[where])
            yield head(metric.dcgm, "counter" if counter else "gauge", metric.help)
            yield samples(
                metric.dcgm, [labels[i] for i in where.tolist()], map(_number, values.tolist())
            )
            yield b"\n"
        yield from _xids(table, group, labels)

    def _of(self, table: Table, gpu: SubjectView) -> str:
        node = table.snapshot.nodes.get(gpu.node)
        bus = str(gpu.facts.get("pci_bus_id") or "")
        driver = str(node.facts.get("driver_version") or "") if node is not None else ""
        key = (gpu.key, gpu.index, gpu.node, gpu.name, bus, driver)
        labels = self._labels.get(key)
        if labels is None:
            labels = (
                f'gpu="{gpu.index}",UUID="{escape(gpu.key)}",pci_bus_id="{escape(bus)}",'
                f'device="nvidia{gpu.index}",modelName="{escape(gpu.name)}",'
                f'Hostname="{escape(gpu.node)}",DCGM_FI_DRIVER_VERSION="{escape(driver)}"'
            )
            self._labels[key] = labels
        return labels


def _xids(table: Table, group: Group, labels: list[str]) -> Iterator[bytes]:
    """The code of the newest Xid, 0 for none: what the exporter says."""
    fresh = np.flatnonzero(group.fresh).tolist()
    if not fresh:
        return
    values = []
    for place in fresh:
        told = table.snapshot.xids.get(group.subjects[place].subject_id, {})
        newest = max(told.items(), key=lambda entry: entry[1].last_seen_ms, default=(0, None))
        values.append(str(newest[0]))
    yield head(XID, "gauge", "Code of the newest Xid that the driver told, 0 for none.")
    yield samples(XID, [labels[i] for i in fresh], values)
    yield b"\n"


def _number(value: float) -> str:
    """Whole ones without a point, as the exporter writes them."""
    return str(int(value)) if value == int(value) else repr(value)
