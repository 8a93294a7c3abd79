"""What the exposition says of alerts: a series for each one that is not well."""

from __future__ import annotations

from collections.abc import Iterator

from gpufleet.alerting.incident import Incident
from gpufleet.hub.api.exposition_text import escape, gauge
from gpufleet.hub.api.table import Table


def alert_series(table: Table, node: str | None) -> Iterator[bytes]:
    """``gpufleet_alert``: 1 for each alert, its state in a label, as Prometheus has its ALERTS."""
    alerts = [one for one in table.snapshot.alerts if node is None or one.node == node]
    yield from gauge(
        "gpufleet_alert",
        "1 for each alert of the hub that is pending, firing, recovering or without data.",
        [_labels(one) for one in alerts],
        ["1"] * len(alerts),
    )


def _labels(incident: Incident) -> str:
    pairs = [
        ("alertname", incident.alertname),
        ("severity", incident.severity.value),
        ("state", incident.state.value),
        ("node", incident.node),
    ]
    if incident.gpu_index is not None:
        pairs += [
            ("gpu", str(incident.gpu_index)),
            ("gpu_uuid", incident.subject_key),
            ("gpu_name", incident.gpu_name),
        ]
    return ",".join(f'{name}="{escape(value)}"' for name, value in pairs)
