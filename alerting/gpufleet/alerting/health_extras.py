"""Findings for the health level that no metric carries, out of a reading's detail document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpufleet.alerting.health import NO_EXTRAS, DcgmFinding, Extras


def dcgm_detail(health: str | None, findings: tuple[DcgmFinding, ...]) -> dict[str, Any]:
    """DCGM's verdict for the detail document."""
    return {
        "overall_health": health,
        "findings": [
            {
                "subsystem": finding.subsystem,
                "failed": finding.failed,
                "sentence": finding.sentence,
                "power_capping": finding.power_capping,
            }
            for finding in findings
        ],
    }


def extras_of(detail: Mapping[str, Any] | None) -> Extras:
    """The extras in a detail document; whatever is not as ``dcgm_detail`` writes it is left out."""
    dcgm = (detail or {}).get("dcgm")
    found = dcgm.get("findings") if isinstance(dcgm, Mapping) else None
    if not isinstance(found, list | tuple) or not found:
        return NO_EXTRAS
    findings = tuple(
        DcgmFinding(
            str(entry.get("subsystem")),
            entry.get("failed") is True,
            str(entry.get("sentence")),
            entry.get("power_capping") is True,
        )
        for entry in found
        if isinstance(entry, Mapping)
    )
    return Extras(dcgm=findings)
