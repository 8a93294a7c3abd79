"""Examples of alerting's answers for /docs and /openapi.json."""

from __future__ import annotations

from typing import Any

_TIME = "2026-03-01T12:00:00Z"
_LATER = "2026-03-01T12:05:01Z"
_END = "2026-03-01T12:47:10Z"

ALERT: dict[str, Any] = {
    "incident": "7f3a9c0d5b1e2468",
    "alertname": "GpuHot",
    "group": "heat",
    "severity": "warning",
    "state": "firing",
    "scope": "gpu",
    "node": "dgx-01",
    "gpu_uuid": "GPU-5f2b8f7e-93c1-4e1b-8f6f-0b0c5f3a1d22",
    "gpu_index": 3,
    "gpu_name": "NVIDIA H100 80GB HBM3",
    "labels": {"rack": "r1"},
    "since": _TIME,
    "fired_at": _LATER,
    "last_sample_time": "2026-03-01T12:06:00Z",
    "value": 86.0,
    "peak": 91.0,
    "threshold": 80.0,
    "comparison": ">",
    "metric": "temperature_celsius",
    "unit": "celsius",
    "for_seconds": 300.0,
    "summary": "GPU 3 of dgx-01 is at 86 °C, above 80 °C for more than 5 min",
    "description": "",
    "advice": "Look at fans, air flow and the inlet temperature; clocks fall soon.",
    "reasons": [],
    "processes": ["alice python 40.1 GiB"],
    "users": ["alice"],
    "acknowledged": {"by": "bob", "at": "2026-03-01T12:07:00Z", "comment": "On my way."},
    "silenced": [],
    "count": 1,
    "first_seen": None,
    "last_seen": None,
}
ALERTS = {"time": _LATER, "total": 1, "alerts": [ALERT], "next_cursor": None}
INCIDENT = {**ALERT, "state": "ok", "resolved_at": _END, "closed": None}
INCIDENTS = {"incidents": [INCIDENT], "next_cursor": None}
EMAIL = {
    "id": "a1b2c3d4e5f60718",
    "recipient": "ops@example.org",
    "subject": "[WARNING] H100 80GB HBM3: 1 GPU on dgx-01 – temperature 86 °C > 80 °C for 5 min",
    "reason": "fired",
    "severity": "warning",
    "state": "sent",
    "message_id": "<a1b2c3d4e5f60718@gpufleet>",
    "created": "2026-03-01T12:05:31Z",
    "next_try": None,
    "settled": "2026-03-01T12:05:32Z",
    "attempts": 1,
    "error": None,
}
INCIDENT_DETAIL = {
    **INCIDENT,
    "history": [
        {
            "time": _LATER,
            "noted": _LATER,
            "kind": "fired",
            "text": ALERT["summary"],
            "by": None,
            "value": 86.0,
        }
    ],
    "mails": [EMAIL],
}
EMAILS = {
    "waiting": 0,
    "oldest_waiting": None,
    "held": 0,
    "dead": 0,
    "sent": 1,
    "emails": [EMAIL],
}
SILENCE = {
    "id": "0f1e2d3c4b5a6978",
    "kind": "silence",
    "matchers": [{"name": "node", "op": "=", "value": "dgx-01"}],
    "starts": _TIME,
    "ends": "2026-03-01T14:00:00Z",
    "repeat": None,
    "author": "bob",
    "comment": "Fans are being changed.",
    "created": _TIME,
    "active": True,
}
SILENCES = {"silences": [SILENCE]}
NEW_SILENCE = {
    "matchers": [{"name": "node", "op": "=", "value": "dgx-01"}],
    "ends": "+2h",
    "author": "bob",
    "comment": "Fans are being changed.",
}
SIGNED = {"by": "bob", "comment": "On my way."}
RULES = {
    "file": "/etc/gpufleet/rules.yml",
    "loaded_at": _TIME,
    "problems": [],
    "rules": [
        {
            "alertname": "GpuHot",
            "group": "heat",
            "expr": "temperature_celsius > 80",
            "for_seconds": 300.0,
            "keep_firing_for_seconds": 0.0,
            "clear": None,
            "severity": "warning",
            "scope": "gpu",
            "match": [],
            "enabled": True,
            "pending": 0,
            "firing": 1,
        }
    ],
}
