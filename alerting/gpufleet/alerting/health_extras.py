"""Findings for the health level that no metric carries, out of a reading's detail document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """The extras in a detail document; whatever is not as the collectors write it is left out."""
    links = _entries(detail or {}, "nvlinks")
    extras = Extras(
        nvlinks_up={
            link["link"]: link["up"]
            for link in links
            if isinstance(link.get("link"), int) and isinstance(link.get("up"), bool)
        }
        or None,
        nvlink_crc_total=_sum(links, "crc_errors"),
        nvlink_recovery_total=_sum(links, "replay_errors", "recovery_errors", "recovery_events"),
        dcgm=_dcgm_findings(detail or {}),
    )
    return NO_EXTRAS if extras == NO_EXTRAS else extras


def _entries(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = document.get(name)
    if not isinstance(found, list | tuple):
        return []
    return [entry for entry in found if isinstance(entry, Mapping)]


def _sum(links: Sequence[Mapping[str, Any]], *names: str) -> int | None:
    """Over all links; None where no link counts any of these."""
    counted = [
        count
        for link in links
        for name in names
        if isinstance(count := link.get(name), int) and not isinstance(count, bool)
    ]
    return sum(counted) if counted else None


def _dcgm_findings(document: Mapping[str, Any]) -> tuple[DcgmFinding, ...]:
    dcgm = document.get("dcgm")
    return tuple(
        DcgmFinding(
            str(entry.get("subsystem")),
            entry.get("failed") is True,
            str(entry.get("sentence")),
            entry.get("power_capping") is True,
        )
        for entry in (_entries(dcgm, "findings") if isinstance(dcgm, Mapping) else ())
    )
