"""Has the chart of a mail drawn by a program of its own; without it the mail goes all the same."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.mail import phrases
from gpufleet.alerting.mail.links import BEFORE_MS
from gpufleet.alerting.mail.message import MAX_CHART_BYTES
from gpufleet.alerting.mail.plain import plain
from gpufleet.alerting.mail.render import TONES

DEADLINE_SECONDS = 20.0
MAX_LINES = 6
AFTER_MS = 5 * 60_000
"""A chart goes on so long after the end, if that is past."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """One GPU's values. ``points`` are (Unix ms, value in base units or None)."""

    label: str
    points: Sequence[tuple[int, float | None]]


def span_of(incidents: Sequence[Incident], now_ms: int) -> tuple[int, int]:
    """The time that a chart shows: from 30 min before the first one's first bad sample."""
    first = incidents[0]
    ended = first.resolved_ms or first.closed_ms
    end = now_ms if ended is None else min(now_ms, ended + AFTER_MS)
    return first.since_ms - BEFORE_MS, end


def label_of(incident: Incident) -> str:
    """``gpu-01 GPU 3``."""
    return f"{plain(incident.node, 24)} {phrases.device(incident)}".replace("$", "＄")


def spec_of(
    first: Incident, lines: Sequence[Line], span: tuple[int, int], zone: tzinfo, tone: str
) -> dict[str, Any]:
    """What gpufleet.alerting.chart reads."""
    start_ms, end_ms = span
    local = datetime.fromtimestamp(end_ms / 1000, UTC).astimezone(zone)
    offset = local.utcoffset()
    return {
        "metric": first.metric,
        "unit": first.unit,
        "threshold": first.threshold,
        "start_ms": start_ms,
        "end_ms": end_ms,
        "since_ms": max(start_ms, first.since_ms),
        "offset_minutes": 0 if offset is None else round(offset.total_seconds() / 60),
        "tone": TONES[tone].line,
        "series": [
            {"label": one.label, "points": [list(point) for point in one.points]} for one in lines
        ],
    }


def picture(spec: Mapping[str, Any], seconds: float = DEADLINE_SECONDS) -> bytes | None:
    """The PNG, or ``None``: it could not be drawn in time, in its memory, or small enough."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GPUFLEET_")  # no secrets of the hub
    }
    environment["PYTHONPATH"] = os.pathsep.join(one for one in sys.path if one)
    environment["OPENBLAS_NUM_THREADS"] = "1"
    try:
        run = subprocess.run(
            [sys.executable, "-P", "-m", "gpufleet.alerting.chart"],
            input=json.dumps(spec).encode(),
            capture_output=True,
            timeout=seconds,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        _log.warning("mail goes without its chart reason=%s", type(error).__name__)
        return None
    if run.returncode or not run.stdout.startswith(b"\x89PNG") or len(run.stdout) > MAX_CHART_BYTES:
        said = run.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = json.dumps(said[-1] if said else f"exit status {run.returncode}")
        _log.warning("mail goes without its chart reason=%s", reason)
        return None
    return run.stdout
